"""The three seams: a generative model, an algorithm, a task.

Letters for dimensions, here and in the whole package: n sequences, m candidates
paid for in a round, f the filter factor, length tokens in a sequence, V the vocabulary.
"""

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

Params = Any  # a pytree of arrays
State = Any  # a pytree of arrays of fixed shapes
Key = jax.Array  # a typed PRNG key, jax.random.key(seed)

# Metadata of a dataclass field that changes no number: a run may go on with another value of it.
MAY_CHANGE = {"may_change": True}


@struct.dataclass
class Sequences:
    """Token sequences, one or a batch of them.

    Attributes:
      tokens: int32 [*batch, length].
      mask: bool [*batch, length]; True at the positions whose probabilities count. Prompts
        and padding are False, so no token id carries control flow.
    """

    tokens: Int[Array, "*batch length"]
    mask: Bool[Array, "*batch length"]

    def followed_by(self, others: "Sequences") -> "Sequences":
        """[n + k, length], of [n] and of the k others."""
        return jax.tree.map(lambda *parts: jnp.concatenate(parts), self, others)


class LogProb(Protocol):
    def __call__(
        self,
        params: Params,
        sequence: Sequences,
        *,
        temperature: Any = 1.0,
        dropout_key: Key | None = None,
    ) -> Float[Array, ""]: ...


class Sample(Protocol):
    def __call__(
        self, key: Key, params: Params, *, temperature: Any = 1.0
    ) -> tuple[Sequences, Float[Array, ""]]: ...


class SequenceModel(NamedTuple):
    """A generative model with a tractable likelihood, as pure functions of ONE sequence.

    Batches come from `jax.vmap`; `sampling.sample` and `scoring.log_likelihood` do it in
    chunks of bounded memory. Any three functions with these signatures are a model.

    Attributes:
      init: `init(key) -> params`.
      log_prob: `log_prob(params, sequence, *, temperature=1.0, dropout_key=None) -> float32`,
        the log-likelihood in nats of the masked positions of one sequence. With a
        temperature T each conditional is p(token | prefix)^(1/T), renormalised. A dropout
        key asks for the training-time likelihood; models without dropout ignore it.
      sample: `sample(key, params, *, temperature=1.0) -> (sequence, log_prob)`, one draw by
        ancestral sampling and its log-likelihood at that temperature.
      settings: what determines the functions (a frozen dataclass, say), for a run's record;
        a run is not resumed with others. None says nothing of them.
      takes_low_rank: whether `log_prob` takes `models.low_rank.LowRank` in place of kernels, so
        that a gradient in adapters needs none in what they adapt.
    """

    init: Callable[[Key], Params]
    log_prob: LogProb
    sample: Sample
    settings: Hashable = None
    takes_low_rank: bool = False


class Evidence(NamedTuple):
    """What a round was answered, whoever proposed it.

    Attributes:
      sequences: [m].
      rewards: float32 [m] in {0, 1}; 0 where there is no answer.
      answered: bool [m]; None where all are.
      log_probs: float32 [m], their log-likelihoods in nats under what drew them.
    """

    sequences: Sequences
    rewards: Float[Array, " m"]
    answered: Bool[Array, " m"] | None
    log_probs: Float[Array, " m"]


class Algorithm(NamedTuple):
    """What learns from rewards, in the manner of optax: pure functions over a state.

    All shapes are fixed, so each function compiles once and whole. The oracle stands between
    `ask` and `tell`, outside every algorithm.

    Attributes:
      init: `init(key, prior_params) -> state`.
      ask: `ask(key, state) -> (candidates [m], state)`, the sequences to pay the oracle for.
      tell: `tell(key, state, candidates, rewards, answered=None) -> (state, info)`, with rewards
        float32 [m] in {0, 1}; info is a dict of float32 scalars to log. `answered`, bool [m],
        is given where evaluations failed: what has no answer has reward 0 there and teaches
        nothing. None says that all have one; an algorithm whose evaluations never fail may
        leave it out.
      sample: `sample(key, state, n) -> Sequences [n]`, from the model as it stands; for
        evaluation alone, n static.
      log_prob: `log_prob(state, sequences [n]) -> float32 [n]`, the log-likelihood in nats
        of what `sample` draws from; exact, but for a filter's normaliser where there is one,
        which is estimated from the proposals.
      candidate_log_prob: the same for the distribution that the candidates of the latest
        `ask` were drawn from; takes the state that `ask` returned.
      proposal_log_prob: the same for what the newest filter was given, before it rejected;
        takes the state that `ask` returned. None where that is what `sample` draws from.
      settings: pairs (name, frozen dataclass or plain value) that determine the functions,
        for a run's record; a run is not resumed with others.
      model: the prior's functions, which a run then checks before anything is paid for.
      know: `know(key, state, sequences [K], rewards float32 [K]) -> state`, the first state told
        what was known before the run; its shapes may be others from then on. None for what
        learns from its own rounds alone.
      takes_evidence: whether `tell` takes `evidence`, an `Evidence`, after `answered`: what others
        proposed is then learned from too, where the algorithm need not have drawn it itself. It
        has the algorithm's own candidates in it.

    No field of a state may be NaN: where one is, a fit has diverged, and the loop ends.
    """

    init: Callable[[Key, Params], State]
    ask: Callable[[Key, State], tuple[Sequences, State]]
    tell: Callable[..., tuple[State, dict[str, Array]]]
    sample: Callable[[Key, State, int], Sequences]
    log_prob: Callable[[State, Sequences], Float[Array, " n"]]
    candidate_log_prob: Callable[[State, Sequences], Float[Array, " n"]]
    proposal_log_prob: Callable[[State, Sequences], Float[Array, " n"]] | None = None
    settings: tuple[tuple[str, Hashable], ...] = ()
    model: SequenceModel | None = None
    know: Callable[[Key, State, Sequences, Float[Array, " K"]], State] | None = None
    takes_evidence: bool = False


class Task(NamedTuple):
    """What an experiment needs to know of a problem.

    Attributes:
      prior: the pre-trained model's functions.
      prior_params: its parameters.
      reward_fn: `reward_fn(sequences [n]) -> float32 [n]` in {0, 1}, a JAX function. For a
        real experiment a Python callable of the same signature takes its place.
      targets: the sequences of reward 1 where they can be enumerated (success rates are then
        exact), else None.
      render: `render(sequences [n])`, what a person sees: images [n, height, width] or strings.
    """

    prior: SequenceModel
    prior_params: Params
    reward_fn: Callable[[Sequences], Float[Array, " n"]]
    targets: Sequences | None
    render: Callable[[Sequences], Any]
