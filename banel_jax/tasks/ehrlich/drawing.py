"""Ehrlich functions drawn at random, by the procedure of the paper and of holo-bench.

The numbers are NumPy's, so that a seed draws another function here than it does there.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from banel_jax import checks
from banel_jax.tasks.ehrlich.function import Ehrlich, check_quantisation

BAND = 0.4  # of the vocabulary, that a token can move to, to either side
TEMPERATURE = 0.5  # of the normal logits of a move


@dataclass(frozen=True)
class EhrlichConfig:
    """Size of an Ehrlich function, and its seed.

    Attributes:
      vocab_size: v.
      length: L.
      num_motifs: c.
      motif_length: k.
      quantisation: q, levels of a motif, whose tokens count in steps of ceil(k / q); these must
        divide k.
      epistasis: how much less a motif in part counts than its share of tokens; 0 for none, at
        most 4.
      seed: of the chain, the motifs and their spacings. Functions of one seed and v share the
        chain.

    Raises:
      ValueError: in one line, for a field of another type or outside its range, and where the
        motifs do not fit into the sequence.
    """

    vocab_size: int = 32
    length: int = 32
    num_motifs: int = 4
    motif_length: int = 4
    quantisation: int = 4
    epistasis: float = 0.0
    seed: int = 0

    def __post_init__(self):
        checks.fields(self)
        checks.integers(self, "vocab_size", "motif_length", at_least=2)
        checks.integers(self, "length", "num_motifs", at_least=1)
        checks.reals(self, "epistasis", at_least=0, at_most=4)
        checks.seeds(self, "seed")
        check_quantisation(self.motif_length, self.quantisation)
        if self.num_motifs * self.motif_length > self.length:
            raise ValueError(
                f"num_motifs={self.num_motifs} of motif_length={self.motif_length} do not fit into "
                f"length={self.length}"
            )


def draw(config: EhrlichConfig) -> Ehrlich:
    """The function of these settings.

    Each token can move to itself and to at least a band of others. The motifs are one draw of the
    chain, cut to pieces, so that a sequence with all of them is feasible; their tokens may repeat.
    """
    chain_rng, rng = np.random.default_rng(config.seed).spawn(2)
    transitions = transition_matrix(chain_rng, config.vocab_size)
    initial = stationary(transitions)
    c, k = config.num_motifs, config.motif_length
    tokens = [rng.choice(config.vocab_size, p=initial)]
    while len(tokens) < c * k:
        tokens.append(rng.choice(config.vocab_size, p=transitions[tokens[-1]]))
    weights = rng.random((c, k - 1))
    slack = (config.length - c * k) // c
    spacings = 1 + np.floor(slack * weights / weights.sum(axis=1, keepdims=True)).astype(int)
    return Ehrlich(
        initial, transitions, np.reshape(tokens, (c, k)), spacings, config.length,
        config.quantisation, config.epistasis,
    )  # fmt: skip


def transition_matrix(rng: np.random.Generator, vocab_size: int) -> Float[np.ndarray, "v v"]:
    """Probabilities of moves, some of them banned, by which every token can be reached."""
    weights = np.exp(rng.standard_normal((vocab_size, vocab_size)) / TEMPERATURE)
    band = int(vocab_size * BAND)
    apart = np.arange(vocab_size) - np.arange(vocab_size)[:, None]
    near = np.minimum(apart % vocab_size, -apart % vocab_size) <= band
    while True:
        allowed = near[rng.permutation(vocab_size)] | np.eye(vocab_size, dtype=bool)
        if _connected(allowed):
            break
    weights = np.where(allowed, weights, 0)
    return weights / weights.sum(axis=1, keepdims=True)


def stationary(transitions: Float[np.ndarray, "v v"]) -> Float[np.ndarray, " v"]:
    """The distribution that a move leaves as it is."""
    v = len(transitions)
    equations = np.vstack([np.eye(v) - transitions.T, np.ones(v)])
    found = np.linalg.lstsq(equations, np.append(np.zeros(v), 1.0), rcond=None)[0].clip(0)
    return found / found.sum()


def _connected(allowed: Bool[np.ndarray, "v v"]) -> bool:
    """Whether each token leads to each; a token that can stay makes the chain aperiodic, too."""
    reached = allowed
    for _ in range(len(allowed).bit_length()):
        reached = reached @ reached
    return bool(reached.all())
