"""Settings of the screening of Ehrlich functions, and its presets."""

from dataclasses import dataclass, field

from banel_jax import checks
from banel_jax.tasks.ehrlich import EhrlichConfig, EhrlichPriorConfig
from banel_jax.training import TrainingConfig


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the screening.

    Attributes:
      sizes: of the functions, each `v-L-c-k-q`: tokens of the vocabulary, tokens of a sequence,
        motifs, tokens of a motif, levels of a motif.
      functions: of a size; the first seeds of which no motif has a token twice.
      bands: success rates, falling: for each two neighbours the threshold of a function whose rate
        lies between them, if there is one.
      num_screened: draws of a function's chain by which thresholds are chosen.
      num_drawn: further ones, by which the rates of the chain and of the prior are estimated.
      num_sampled: samples of the prior itself, beside.
      batch: draws in a compiled call; the numbers of draws are rounded up to it.
      prior: the transformer and its fit.
      seed: of all samples.
      output: folder of instances.json.
      runs: folder of the fitted priors.
    """

    sizes: tuple[str, ...] = (
        "8-32-2-4-4", "8-32-4-4-4", "12-24-3-4-4", "16-24-4-3-3", "20-32-2-4-4", "20-32-4-4-4",
        "32-32-4-4-4",
    )  # fmt: skip
    functions: int = 1
    bands: tuple[float, ...] = (1e-2, 1e-3, 1e-4, 1e-5)
    num_screened: int = 1_000_000
    num_drawn: int = 3_000_000
    num_sampled: int = 10_000
    batch: int = 200_000
    prior: EhrlichPriorConfig = field(default_factory=EhrlichPriorConfig)
    seed: int = 0
    output: str = "runs/ehrlich/results"
    runs: str = "runs/ehrlich"

    def __post_init__(self):
        checks.fields(self)
        numbers = ("functions", "num_screened", "num_drawn", "num_sampled", "batch")
        checks.integers(self, *numbers, at_least=1)
        checks.seeds(self, "seed")
        falling = all(a > b for a, b in zip(self.bands, self.bands[1:], strict=False))
        if len(self.bands) < 2 or not falling or not 0 < self.bands[-1] < self.bands[0] <= 1:
            raise ValueError(f"bands={self.bands} must be two or more rates in (0, 1], falling")
        for size in self.sizes:
            of_size(size, 0)


def of_size(size: str, seed: int) -> EhrlichConfig:
    """The settings of a function of this size, `v-L-c-k-q`.

    Raises:
      ValueError: for another text, and for a size that no function has.
    """
    parts = size.split("-")
    if len(parts) != 5 or not all(part.isdecimal() for part in parts):
        raise ValueError(f"sizes: {size!r} must be five whole numbers, such as 8-32-4-4-4")
    v, length, c, k, q = map(int, parts)
    return EhrlichConfig(v, length, c, k, q, seed=seed)


PRESETS: dict[str, Config] = {
    "small": Config(),
    "smoke": Config(
        sizes=("4-8-2-3-3",),
        bands=(1.0, 0.1, 0.01),
        num_screened=2000,
        num_drawn=4000,
        num_sampled=400,
        batch=2000,
        prior=EhrlichPriorConfig(
            num_layers=1,
            num_heads=1,
            width=8,
            num_sequences=600,
            held_out=100,
            pretraining=TrainingConfig(epochs=4, batch_size=25, learning_rate=1e-2),
        ),
        output="runs/ehrlich_smoke/results",
        runs="runs/ehrlich_smoke",
    ),
}
