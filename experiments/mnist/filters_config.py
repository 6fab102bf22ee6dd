"""Settings of the exhibit on filters alone: the ways to filter, and presets."""

from dataclasses import dataclass, field

from banel_jax import checks
from banel_jax.training import TrainingConfig
from experiments.mnist import config as mnist


@dataclass(frozen=True)
class Variant:
    """One way to filter.

    Attributes:
      training, dropout, members: of the failure model's fit.
      fresh: start it from nothing instead of the weights of what is filtered.
      kappa: its weight in the ratio; 0 ranks by the prior alone, a control.
      soft: let through by a logistic curve of the ratio instead of a cut.
      base: what is filtered.
    """

    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(epochs=20, learning_rate=1e-3)
    )
    dropout: float = 0.2
    members: int = 1
    fresh: bool = False
    kappa: float = 1.0
    soft: bool = False
    base: str = "prior"


_FRESH = TrainingConfig(epochs=12, batch_size=10, learning_rate=1e-3)
VARIANTS = {
    "by the prior alone (control)": Variant(TrainingConfig(epochs=0), kappa=0.0),
    "overfitted": Variant(TrainingConfig(epochs=50, learning_rate=1e-3), dropout=0.0),
    "regularised": Variant(),
    "regularised, 3 members": Variant(members=3),
    "regularised, soft": Variant(soft=True),
    "regularised, broadened base": Variant(base="broadened"),
    "from nothing": Variant(_FRESH, dropout=0.1, fresh=True),
    "from nothing, kappa = 0.5": Variant(_FRESH, dropout=0.1, fresh=True, kappa=0.5),
}


@dataclass(frozen=True)
class Config:
    """Settings of the exhibit.

    Attributes:
      experiment: the task, its prior, the broadened prior and the folders.
      seeds: of samples and fits.
      filters: in a row, each of f = 2.
      num_failures: that each failure model is fitted to, drawn from what passed so far. They take
        no part in what follows, or an overfitted model would seem to reject what it should not.
      num_samples: of the base, which the filters thin out.
      num_targets: the likeliest under the base, over which gains are summed; and as many at
        random, of which the share that passes is told.
      softness: nats over which a soft filter lets more through.
    """

    experiment: mnist.Config = field(default_factory=mnist.Config)
    seeds: int = 5
    filters: int = 8
    num_failures: int = 250
    num_samples: int = 100_000
    num_targets: int = 2000
    softness: float = 1.0

    def __post_init__(self):
        checks.fields(self)
        checks.integers(self, "seeds", "filters", "num_targets", at_least=1)
        checks.reals(self, "softness", above=0)
        left = self.num_samples
        for _ in range(self.filters):
            left = (left - self.num_failures) // 2
        if left < 1:
            raise ValueError(
                f"num_samples={self.num_samples} leaves none after {self.filters} filters; give "
                "more, or fewer filters or failures"
            )


PRESETS = {name: Config(experiment=mnist.PRESETS[name]) for name in ("paper", "cpu", "cpu14")} | {
    "smoke": Config(
        mnist.PRESETS["smoke"], seeds=1, filters=2, num_failures=20, num_samples=80, num_targets=50
    )
}
