"""Policy gradient: REINFORCE, negative RL (Section 3.1) and intrinsic rewards (Section 3.2).

A round samples from the policy, has all of it evaluated, and climbs the mean of
advantage(x) log pi(x). Without a reward, a baseline, a penalty or a bonus nothing moves. Beyond the
paper, both off by default: PPO's clipped ratio (Schulman et al., 2017) for several epochs, and a
replay of the successes, as in molecular design (Blaschke et al., 2020; Guo and Schwaller, 2024).
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from banel_jax import checks, diagnostics, replay, sampling, scoring, training
from banel_jax.replay import Replay
from banel_jax.training import TrainingConfig
from banel_jax.types import Algorithm, Key, Params, SequenceModel, Sequences


@dataclass(frozen=True)
class PolicyGradientConfig:
    """Settings of the policy gradient; the paper gives the two penalties alone.

    Attributes:
      num_candidates: m, reward evaluations a round.
      baseline: subtracted from every reward; 0 is REINFORCE, 1 is negative RL (Eq. 1).
      kl_coefficient: of KL(policy || base), taken off the rewards sample by sample as
        log pi(x) - log base(x) of the policy that drew them.
      centre: subtract the batch's mean from the advantages.
      bonus_weight: of the intrinsic reward, where there is one.
      bonus_for_failures: a success earns no bonus.
      clip: climb min(ratio advantage, clipped advantage) in place of advantage log pi, with the
        ratio pi(x) / pi_drawn(x) of whole sequences to the policy that drew the round, clipped to
        1 +- this; 0 for none. It keeps several epochs on one batch from going too far.
      replay_size: distinct successes that are kept, the latest; 0 for none.
      replay_weight: of the mean log-likelihood of those, as many drawn anew each round as there are
        candidates, which is climbed beside the rest.
      training: the steps on each batch. One epoch uses each sample once; the policy has then
        moved a little between minibatches. A `batch_size` of m is strictly on-policy.

    Raises:
      ValueError: in one line, for a field of another type or outside its range.
    """

    num_candidates: int = 250
    baseline: float = 0.0
    kl_coefficient: float = 0.0
    centre: bool = False
    bonus_weight: float = 1.0
    bonus_for_failures: bool = False
    clip: float = 0.0
    replay_size: int = 0
    replay_weight: float = 1.0
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(epochs=1, learning_rate=1e-4)
    )

    def __post_init__(self):
        checks.fields(self)
        checks.integers(self, "num_candidates", at_least=1)
        checks.integers(self, "replay_size", at_least=0)
        checks.reals(self, "kl_coefficient", "bonus_weight", "replay_weight", at_least=0)
        checks.reals(self, "clip", at_least=0, below=1)


class IntrinsicReward(NamedTuple):
    """A reward for novelty, which needs no oracle: pure functions over a state of fixed shapes.

    Attributes:
      init: `init(key, prior_params) -> state`.
      update: `update(key, state, sequences [m]) -> (bonus float32 [m], state, info)`: what the
        round's candidates earn, and what was learnt of them; info is float32 scalars to log.
      settings: pairs (name, value) that determine the functions, for a run's record.
    """

    init: Callable[[Key, Params], Any]
    update: Callable[[Key, Any, Sequences], tuple[Float[Array, " m"], Any, dict[str, Array]]]
    settings: tuple[tuple[str, Hashable], ...] = ()


@struct.dataclass
class State:
    """The policy and what its training carries on.

    Attributes:
      base, policy: parameters of the prior and of what samples.
      opt_state: of the policy's optimiser.
      intrinsic: of the intrinsic reward; None without one.
      successes: that are learned again; None without a replay.
    """

    base: Any
    policy: Any
    opt_state: Any
    intrinsic: Any
    successes: Replay | None = None


# Of a log ratio in nats: what is further off is clipped whatever `clip` is, or its share of the
# gradient would overflow.
FARTHEST = 20.0


def clipped_ratio(
    scores: Float[Array, " n"],
    drawn_scores: Float[Array, " n"],
    advantages: Float[Array, " n"],
    clip: float,
) -> Float[Array, " n"]:
    """PPO's ratio pi / pi_drawn, held to 1 +- `clip` on the side where the advantage is better.

    Args:
      scores: log pi(x) in nats, of which the gradient is taken.
      drawn_scores: of the policy that drew x.
      advantages: whose sign says which side that is.
      clip: above 0 and below 1.

    Returns:
      float32 [n]; times the advantage it is min(ratio advantage, clipped ratio advantage).
    """
    ratios = jnp.exp(jnp.clip(scores - drawn_scores, -FARTHEST, FARTHEST))
    better, worse = jnp.minimum(ratios, 1 + clip), jnp.maximum(ratios, 1 - clip)
    return jnp.where(advantages > 0, better, worse)


def _loss(score, c: PolicyGradientConfig) -> training.Loss:
    """What the steps on a round go down."""

    def loss(params, rows, inside):
        candidates, advantages, answered, drawn_scores, replayed = rows
        weights = inside if answered is None else inside * answered
        weighted = weights * advantages
        gains = score(params, candidates)
        if c.clip:
            gains = clipped_ratio(gains, drawn_scores, advantages, c.clip)
        terms = jnp.where(weighted == 0, 0.0, weighted * gains)  # 0 of -inf is 0
        total = -jnp.sum(terms) / jnp.maximum(jnp.sum(weights), 1e-9)
        if replayed is None:
            return total
        any_replayed = inside * sampling.found(replayed)
        again = jnp.where(any_replayed > 0, any_replayed * score(params, replayed), 0.0)
        return total - c.replay_weight * jnp.sum(again) / jnp.maximum(jnp.sum(inside), 1e-9)

    return loss


def policy_gradient(
    model: SequenceModel,
    config: PolicyGradientConfig,
    intrinsic: IntrinsicReward | None = None,
) -> Algorithm:
    """The policy gradient (Eq. 1) as ask and tell.

    A round costs m reward evaluations and, in forward passes of one sequence, 3 m (drawn, scored
    by the policy and by the base) and 3 m an epoch, beside the bonus; a replay costs as many again
    an epoch.

    Args:
      model: the prior's functions; the policy starts from the parameters `init` is given.
      config: settings.
      intrinsic: added to the rewards with `config.bonus_weight`.

    Returns:
      The algorithm: `ask` gives m candidates, `tell` takes their rewards float32 [m].
    """
    c = config
    score = partial(scoring.log_likelihood, model, chunk_size=c.training.micro_batch_size or None)

    loss = _loss(score, c)

    def init(key, prior_params):
        opt_state = training.optimizer(c.training).init(prior_params)
        start = None if intrinsic is None else intrinsic.init(key, prior_params)
        none = replay.empty(model, prior_params, c.replay_size) if c.replay_size else None
        return State(prior_params, prior_params, opt_state, start, none)

    def ask(key, state):
        return sampling.sample(model, key, state.policy, c.num_candidates)[0], state

    def tell(key, state, candidates, rewards, answered=None):
        # Split in any case: without a bonus the policy's batches are the same as with one.
        policy_key, intrinsic_key = jax.random.split(key)
        mean = jnp.mean if answered is None else partial(jnp.mean, where=answered)
        scores, base_scores = score(state.policy, candidates), score(state.base, candidates)
        advantages = rewards - c.baseline
        if c.kl_coefficient:
            advantages -= c.kl_coefficient * (scores - base_scores)
        intrinsic_state, report = state.intrinsic, dict[str, Array]()
        if intrinsic is not None:
            updated = intrinsic.update(intrinsic_key, state.intrinsic, candidates)
            bonus, intrinsic_state, report = updated
            report = {"mean_bonus": jnp.mean(bonus), **report}
            earns = 1 - rewards if c.bonus_for_failures else jnp.ones_like(rewards)
            advantages += c.bonus_weight * bonus * earns
        if c.centre:
            advantages -= mean(advantages)
        kept, again = state.successes, None
        if kept is not None:
            kept = kept.add(candidates, rewards)
            again = kept.draw(jax.random.fold_in(key, 2), c.num_candidates)
            report = {"successes_kept": jnp.sum(kept.there(), dtype=jnp.float32), **report}
        rows = (candidates, advantages, answered, scores if c.clip else None, again)
        policy, opt_state, _ = training.minimise(
            loss, c.training, policy_key, state.policy, state.opt_state, rows
        )
        info = {
            "successes": jnp.sum(rewards),
            "policy_loss": -mean(advantages * scores),  # before the steps
            "mean_advantage": mean(advantages),
            **diagnostics.proposal_diagnostics(0.0, candidates, scores, base_scores),
            **report,
        }
        learned = dict(policy=policy, opt_state=opt_state, intrinsic=intrinsic_state)
        return state.replace(successes=kept, **learned), info

    def know(key, state, sequences, rewards):
        return state.replace(successes=state.successes.add(sequences, rewards))

    def sample(key, state, n):
        return sampling.sample(model, key, state.policy, n)[0]

    def log_prob(state, sequences):
        return scoring.log_likelihood(model, state.policy, sequences)

    settings = {"name": "policy_gradient", "settings": c, "model": model.settings}
    if intrinsic is not None:
        settings["intrinsic_reward"] = intrinsic.settings
    return Algorithm(
        init, ask, tell, sample, log_prob, candidate_log_prob=log_prob,
        settings=tuple(settings.items()), model=model, know=know if c.replay_size else None,
    )  # fmt: skip
