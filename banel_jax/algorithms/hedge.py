"""An algorithm over algorithms: K of them share a round's candidates.

Nobody knows before the first success which of them will have it. Shared evenly, the chance that a
candidate succeeds is the mean of the arms', so at least 1/K of the best one's, on any task. Once
successes tell, the shares follow them (`shares.py`).

**What is promised.** Whatever the arms do, and however they change, each has a share of at least
gamma / K in every round, so a round's expected successes are at least gamma / K of those of the
best arm, and 1/K until the first success. Beyond that the shares are those of discounted Thompson
sampling, whose regret over T rounds against the best arm of each is O~(sqrt(T B)) where the arms'
rates change B times (Qi, Wang and Zhu, 2023, arXiv:2305.10718; for Gaussian posteriors and one
candidate a round) and, undiscounted, logarithmic where they never do (Kaufmann, Korda and Munos,
2012, arXiv:1205.4217); the floor adds at most gamma times the best arm's successes. The first
success makes another arm of each that learns from it, one of the B changes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from banel_jax import checks, diagnostics, failures
from banel_jax.algorithms import hedge_arms
from banel_jax.algorithms import shares as sharing
from banel_jax.algorithms.hedge_arms import free_arms as free_arms
from banel_jax.algorithms.hedge_arms import starting_at as starting_at
from banel_jax.algorithms.shares import Answers
from banel_jax.log_domain import logsumexp
from banel_jax.types import Algorithm, Evidence, Sequences

# Folded into a key: far from the numbers of sequences.
ARM, SHARES = 0x4ED60000, 0x5A4E0000


@dataclass(frozen=True)
class HedgeConfig:
    """Settings of the hedge.

    Attributes:
      floor: gamma, the part of the candidates that all arms share evenly for ever.
      discount: what an answer counts for a round later. 1 forgets nothing, for arms that do not
        change.
      share_evidence: arms that can learn from what others proposed (`Algorithm.takes_evidence`)
        are told all answers, the mixture being what drew them; the others, their own alone.
      distinct: of a round's equal candidates, of one arm or of several, the first alone is paid
        for while the arms have others. Likelihoods stay those of the mixture.

    Raises:
      ValueError: in one line, for a field of another type or outside its range.
    """

    floor: float = 0.1
    discount: float = 0.9
    share_evidence: bool = True
    distinct: bool = False

    def __post_init__(self):
        checks.fields(self)
        checks.reals(self, "floor", above=0, at_most=1)
        checks.reals(self, "discount", above=0, at_most=1)


@struct.dataclass
class State:
    """The arms' states and what is known of them.

    Attributes:
      arms: a state of each, by name.
      shares: float32 [K], by which the next candidates are shared, in the arms' order.
      answers: that the shares follow.
      proposed: [K, m, length], what each arm asked for.
      order: int32 [K, m], which of those are paid for first.
      taken: int32 [K], how many of each are.
    """

    arms: dict[str, Any]
    shares: Float[Array, " K"]
    answers: Answers
    proposed: Sequences
    order: Int[Array, "K m"]
    taken: Int[Array, " K"]


def hedge(arms: Mapping[str, Algorithm], config: HedgeConfig | None = None) -> Algorithm:
    """Any K algorithms as one.

    In a round each arm asks for m candidates, which costs compute alone, and the first n_k of
    arm k's are paid for, m in all. Each is told its own m, those that were not paid for as having
    no answer, and the others' answers where it can learn from them. A hedge of one arm is that
    arm, bit for bit. The first success makes others of the arms that learn from it: their failures
    before it no longer count.

    `sample` and `log_prob` are the mixture of the arms by their shares. A round costs m reward
    evaluations and the forward passes of all arms.

    Args:
      arms: by name, over one prior, each asking for the same m.
      config: settings.

    Returns:
      The algorithm: `ask` gives m candidates, `tell` takes their rewards float32 [m]; its info has
      what each arm tells, its `share`, `evaluations` and `successes`, under the arm's name.

    Raises:
      ValueError: in one line, for no arms, for one whose `tell` takes no `answered`, for arms over
        different models; by `init`, for arms that ask for different m or lengths, and for more
        arms than candidates.
    """
    arms, config = dict(arms), config or HedgeConfig()
    hedge_arms.check(arms)
    steps = _Hedge(arms, config)
    models = [arm.model for arm in arms.values()]
    unsaid = any(not arm.settings or None in dict(arm.settings).values() for arm in arms.values())
    settings = {"name": "hedge", "settings": config, "arms": tuple(arms)}
    settings["first_success"] = "learners begin anew"
    settings |= {name: None if unsaid else arm.settings for name, arm in arms.items()}
    return Algorithm(
        steps.init, steps.ask, steps.tell, steps.sample, steps.log_prob, steps.candidate_log_prob,
        steps.proposal_log_prob if any(a.proposal_log_prob for a in arms.values()) else None,
        tuple(settings.items()), None if None in models else models[0],
        steps.know if any(arm.know for arm in arms.values()) else None,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Hedge:
    arms: Mapping[str, Algorithm]
    config: HedgeConfig

    def init(self, key, prior_params):
        states = {name: arm.init(own, prior_params) for name, arm, own in self._each(key)}
        asked = {n: jax.eval_shape(a.ask, key, states[n])[0] for n, a in self.arms.items()}
        num_arms, m = len(self.arms), hedge_arms.num_candidates(asked)
        one = next(iter(asked.values()))
        return State(
            arms=states,
            shares=jnp.full(num_arms, 1 / num_arms, jnp.float32),
            answers=sharing.no_answers(num_arms),
            proposed=jax.tree.map(lambda x: jnp.zeros((num_arms, *x.shape), x.dtype), one),
            order=jnp.zeros((num_arms, m), jnp.int32),
            taken=jnp.zeros(num_arms, jnp.int32),
        )

    def ask(self, key, state):
        asked = {name: arm.ask(own, state.arms[name]) for name, arm, own in self._each(key)}
        proposed = jax.tree.map(lambda *x: jnp.stack(x), *(x for x, _ in asked.values()))
        m = proposed.mask.shape[1]
        state = state.replace(
            arms={name: arm for name, (_, arm) in asked.items()},
            proposed=proposed,
            order=self._order(proposed),
            taken=sharing.allocate(jax.random.fold_in(key, SHARES), state.shares, m),
        )
        arm, place = _taken(state)
        return jax.tree.map(lambda x: x[arm, place], proposed), state

    def _order(self, proposed):
        """Copies last, of what any arm would pay for at the same time or before."""
        num_arms, m = proposed.mask.shape[:2]
        if not self.config.distinct:
            return jnp.broadcast_to(jnp.arange(m, dtype=jnp.int32), (num_arms, m))
        in_turn = jax.tree.map(lambda x: x.swapaxes(0, 1).reshape(-1, x.shape[-1]), proposed)
        copy = diagnostics.copies(in_turn).reshape(m, num_arms).T
        return jnp.argsort(copy, axis=1, stable=True).astype(jnp.int32)

    def tell(self, key, state, candidates, rewards, answered=None):
        at = _taken(state)
        heard = jnp.ones_like(rewards, bool) if answered is None else answered
        own = jax.tree.map(lambda all, x: all.at[at].set(x), state.proposed, candidates)
        blank = jnp.zeros(state.order.shape)
        own_rewards = blank.astype(rewards.dtype).at[at].set(rewards)
        own_answered = blank.astype(bool).at[at].set(heard)
        successes = jnp.sum(own_rewards, axis=1)
        failed = jax.vmap(failures.failed)(own, own_rewards, own_answered)
        answers = state.answers.add(self.config.discount, successes, jnp.sum(failed, axis=1))
        answers = self._taught(state.answers, answers)
        evidence = self._evidence(state, candidates, rewards, heard)
        states, info = {}, {"successes": jnp.sum(rewards)}
        for k, (name, arm, own_key) in enumerate(self._each(key)):
            told = jax.tree.map(lambda x, k=k: x[k], (own, own_rewards, own_answered))
            if len(self.arms) == 1:
                told = (candidates, rewards, *([] if answered is None else [answered]))
            elif evidence is not None and arm.takes_evidence:
                told = (*told, evidence)
            states[name], one = arm.tell(own_key, state.arms[name], *told)
            one |= {"share": state.shares[k], "evaluations": jnp.float32(state.taken[k])}
            one |= {"successes": successes[k]}
            info |= {f"{name}_{title}": value for title, value in one.items()}
        shares = sharing.shares(jax.random.fold_in(key, SHARES), answers, self.config.floor)
        return state.replace(arms=states, answers=answers, shares=shares), info

    def _evidence(self, state, candidates, rewards, answered):
        wanted = any(arm.takes_evidence for arm in self.arms.values())
        if not (wanted and self.config.share_evidence and len(self.arms) > 1):
            return None
        drawn_by = self.candidate_log_prob(state, candidates)
        return Evidence(candidates, rewards, answered, drawn_by)

    def _taught(self, before, answers):
        """Failures before the first success say nothing of what that makes of arms that learn."""
        first = ~jnp.any(before.successes > 0) & jnp.any(answers.successes > 0)
        learns = [arm.takes_evidence and self.config.share_evidence for arm in self.arms.values()]
        forgotten = first & jnp.array(learns)
        return answers.replace(failures=jnp.where(forgotten, 0.0, answers.failures))

    def know(self, key, state, known, rewards):
        arms = {
            name: arm.know(own, state.arms[name], known, rewards) if arm.know else state.arms[name]
            for name, arm, own in self._each(key)
        }
        return state.replace(arms=arms)

    def sample(self, key, state, n):
        drawn = [arm.sample(own, state.arms[name], n) for name, arm, own in self._each(key)]
        log_shares = jnp.log(state.shares)
        chosen = jax.random.categorical(jax.random.fold_in(key, SHARES), log_shares, shape=(n,))
        return jax.tree.map(lambda *x: jnp.stack(x)[chosen, jnp.arange(n)], *drawn)

    def log_prob(self, state, sequences):
        return self._mixture(state, sequences, lambda arm: arm.log_prob)

    def candidate_log_prob(self, state, sequences):
        return self._mixture(state, sequences, lambda arm: arm.candidate_log_prob)

    def proposal_log_prob(self, state, sequences):
        given = lambda arm: arm.proposal_log_prob or arm.log_prob
        return self._mixture(state, sequences, given)

    def _mixture(self, state, sequences, density):
        each = [density(arm)(state.arms[name], sequences) for name, arm in self.arms.items()]
        return logsumexp(jnp.log(state.shares)[:, None] + jnp.stack(each), axis=0)

    def _each(self, key):
        """(name, arm, key) of each; one that is alone has the hedge's own key."""
        for k, (name, arm) in enumerate(self.arms.items()):
            yield name, arm, key if len(self.arms) == 1 else jax.random.fold_in(key, ARM + k)


def _taken(state: State) -> tuple[Int[Array, " m"], Int[Array, " m"]]:
    """Of each candidate that is paid for, whose it is and its place among those of that arm."""
    ends = jnp.cumsum(state.taken)
    rows = jnp.arange(state.order.shape[1], dtype=jnp.int32)
    arm = jnp.searchsorted(ends, rows, side="right").astype(jnp.int32)
    return arm, state.order[arm, rows - (ends - state.taken)[arm]]
