"""Settings of sequential filtering (Algorithm 1, `sequential_filtering.py`)."""

from dataclasses import dataclass, field
from typing import Literal

from banel_jax import checks, failures
from banel_jax.rejection import Best, Region, Threshold
from banel_jax.rejection import check as check_rejection
from banel_jax.training import TrainingConfig
from banel_jax.types import MAY_CHANGE


@dataclass(frozen=True)
class SequentialFilteringConfig:
    """Settings of Algorithm 1; factor and failures of one round as published.

    Attributes:
      num_candidates: m, reward evaluations a round.
      filter_factor: f, survivors of the earlier filters drawn a candidate. f = 1 with `best`
        samples the prior for ever.
      rejection: `best` sets each filter's threshold so that it accepts one in f; `threshold`
        accepts where the ratio is at least `threshold`, and stops the run where fewer than
        one in f pass.
      threshold: tau in nats, for `threshold`.
      kappa: sharpness of the failure models in the ratio (Eq. 5).
      length_normalised: scores a token instead of a sequence (Appendix B.2).
      failure_training: the fit of each failure model.
      failure_start: where it starts: at the prior (`base`), the last one (`carry`) or `fresh`.
      failure_rounds: fit to the failures of this many latest rounds; 1 as published.
      failure_holdout: share of the failures held out to stop that fit early, all copies of a
        sequence on one side; 0 for none.
      filter_rounds: rounds, from 1 on and rising, in which a new filter comes into force, fitted
        to what failed before it; empty for every round. The rounds between draw from the same
        posterior: a filter learns from more failures, and fewer filters cost less compute.
      max_filters: filters kept in force, the oldest dropped beyond it; the acceptance of the
        others is then estimated anew, which costs compute.
      acceptance_floor: give up below this acceptance.

    Raises:
      ValueError: in one line, for a field of another type or outside its range; for fields that do
        not go together.
    """

    num_candidates: int = 250
    filter_factor: float = 2.0
    rejection: Literal["best", "threshold"] = "best"
    threshold: float = 0.0
    kappa: float = 1.0
    length_normalised: bool = False
    failure_training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(epochs=20, learning_rate=1e-3)
    )
    failure_start: Literal["base", "carry", "fresh"] = "base"
    failure_rounds: int = 1
    failure_holdout: float = 0.0
    filter_rounds: tuple[int, ...] = ()
    max_filters: int = 32
    acceptance_floor: float = field(default=1e-4, metadata=MAY_CHANGE)

    def __post_init__(self):
        check_rejection(self)
        failures.check(self)
        checks.integers(self, "max_filters", at_least=1)
        rising = sorted({r for r in self.filter_rounds if r >= 1})
        if list(self.filter_rounds) != rising:
            raise ValueError(
                f"filter_rounds={self.filter_rounds} must be rising numbers of rounds, from 1 on: "
                "in round 0 there is no failure yet"
            )

    @property
    def region(self) -> Region:
        return {"best": Best(), "threshold": Threshold(self.threshold)}[self.rejection]
