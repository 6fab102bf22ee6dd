"""Settings of BaNEL (Algorithm 2, `banel.py`)."""

import math
from dataclasses import dataclass, field
from typing import Literal

from banel_jax import checks, failures, successes
from banel_jax.rejection import regions
from banel_jax.training import TrainingConfig
from banel_jax.types import MAY_CHANGE


@dataclass(frozen=True)
class BanelConfig:
    """Settings of Algorithm 2; the defaults are the paper's for MNIST (Appendix B.2).

    Attributes:
      num_candidates: m, reward evaluations a round.
      filter_factor: f, proposals a kept sample; f = 1 is self-distillation without a filter.
        m times f must be a whole number.
      kappa: sharpness of the failure model in the ratio (Eq. 5).
      rejection: `best` keeps the best m of m f; `threshold` accepts where the ratio is at
        least `threshold`; `importance` resamples with weights proportional to the ratio.
      threshold: tau in nats, for `threshold`.
      acceptance_floor: give up a round below this acceptance, for `threshold` and past filters.
      length_normalised: scores a token instead of a sequence (Appendix B.2).
      ratio_against: numerator of the ratio, the `base` or the current `generator` (Figure 9);
        `nothing` ranks by 1 / p_phi alone; `successes` is a model of the successes met, which
        starts at the base: without a success the run is that of `base`, bit for bit.
      num_distilled: filtered samples to distil on, at least m of which m are evaluated;
        0 for m itself, as published. More cost compute alone.
      generator_training: the distillation.
      reset_generator: distil into the base each round instead of the current generator.
      distinct: of equal proposals in a round one alone is ranked, and the others come last. The
        oracle is not paid twice for one sequence while there are others that passed, and the
        generator cannot narrow to a few. Likelihoods of the filtered distribution are those of
        the threshold that this sets, copies counted for what they are.
      prefer_new: what was paid for before comes last as well, as far as it is kept
        (`failure_rounds`, `replay_size`); needs `distinct`.
      fall_back: a round that meets less than this share of the successes of the best one so far is
        not distilled, and the generator goes back to the one whose proposals were the best, so
        that a gain is not lost again; 0, as published, to distil every round.
      drop_successes: leave successes out of the distillation, the paper's test of learning
        from failures alone. The failure model never sees them.
      failure_training: the fit of the failure model.
      failure_start: where that fit starts: at the `base`, at the last failure model (`carry`)
        or `fresh` parameters.
      failure_rounds: fit to the failures of this many latest rounds; 1 as published. With as
        many as there are rounds none is ever forgotten.
      failure_weighting: a failure x counts min(1, (p_base(x) / p(x))^this) in that fit, p being
        what it was drawn from. At 1 the failure model learns p_base given failure, the posterior
        of Section 4.1, wherever the rounds have looked; at 0, as published, a region counts the
        more the more it was looked at, so that a found weakness is closed by the failures in it.
      failure_holdout: share of the failures held out to stop that fit early, all copies of a
        sequence on one side; 0 for none.
      success_training: the fit of the success model, from the base to each different success.
      replay_size: different successes that are kept, the latest ones.
      successes_needed: different successes from which on there is a success model.
      success_mix: share of the base in it, so that it is never a list of what was seen.
      replay: share of what is distilled that is successes met, in turn and each as often as the
        others, once there is one, be it in the first round. At f = 1 and a replay of 1 this is
        expert iteration.
      past_filters: how many earlier filters stay in force beside the newest.

    Raises:
      ValueError: in one line, for a field of another type or outside its range; for fields that do
        not go together.
    """

    num_candidates: int = 250
    filter_factor: float = 2.0
    kappa: float = 1.0
    rejection: Literal["best", "threshold", "importance"] = "best"
    threshold: float = 0.0
    acceptance_floor: float = field(default=1e-4, metadata=MAY_CHANGE)
    length_normalised: bool = False
    ratio_against: Literal["base", "generator", "nothing", "successes"] = "base"
    num_distilled: int = 0
    generator_training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(epochs=15, learning_rate=1e-4)
    )
    reset_generator: bool = True
    distinct: bool = False
    prefer_new: bool = False
    fall_back: float = 0.0
    drop_successes: bool = False
    failure_training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(epochs=50, learning_rate=1e-3)
    )
    failure_start: Literal["base", "carry", "fresh"] = "base"
    failure_rounds: int = 1
    failure_weighting: float = 0.0
    failure_holdout: float = 0.0
    success_training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(epochs=5, learning_rate=1e-3)
    )
    replay_size: int = 1000
    successes_needed: int = 3
    success_mix: float = 0.0
    replay: float = 0.0
    past_filters: int = 0

    def __post_init__(self):
        regions.check(self)
        failures.check(self)
        successes.check(self)
        checks.integers(self, "past_filters", "num_distilled", at_least=0)
        if self.num_distilled and self.num_distilled < self.num_candidates:
            raise ValueError(
                f"num_distilled={self.num_distilled} is below num_candidates="
                f"{self.num_candidates}; give at least that, or 0 for as many"
            )
        checks.whole("num_distilled * filter_factor", self.distilled * self.filter_factor)
        checks.reals(self, "fall_back", at_least=0, at_most=1)
        checks.reals(self, "failure_weighting", at_least=0)
        if self.distinct and self.rejection != "best":
            raise ValueError(
                f"distinct=True needs rejection=best: {self.rejection} ranks no proposals"
            )
        if self.prefer_new and not self.distinct:
            raise ValueError("prefer_new=True needs distinct=True")
        fit = self.generator_training
        steps = fit.epochs * math.ceil(self.distilled / fit.batch_size)
        if fit.decay_steps and fit.decay_steps < steps:
            raise ValueError(
                f"generator_training.decay_steps={fit.decay_steps} are fewer than the {steps} of "
                f"its epochs over num_distilled={self.distilled}; the rest would learn nothing: "
                f"give {steps}"
            )
        if self.past_filters and self.rejection == "importance":
            raise ValueError(
                f"past_filters={self.past_filters} needs rejection=best or threshold: importance "
                "weights leave no filter to keep"
            )
        if self.past_filters and self.ratio_against in ("generator", "successes"):
            raise ValueError(
                f"past_filters={self.past_filters} needs ratio_against=base: what an earlier "
                "filter compared with is gone"
            )
        if self.models_successes and self.rejection == "threshold":
            raise ValueError("ratio_against=successes needs rejection=best or importance")
        if self.replay and self.drop_successes:
            raise ValueError(f"replay={self.replay} is of what drop_successes=True leaves out")

    @property
    def distilled(self) -> int:
        return self.num_distilled or self.num_candidates

    @property
    def models_successes(self) -> bool:
        return self.ratio_against == "successes"

    @property
    def numerator(self) -> Literal["base", "generator", "nothing"]:
        """Of the ratio until there is a success."""
        return "base" if self.ratio_against == "successes" else self.ratio_against

    @property
    def keeps_successes(self) -> bool:
        return self.models_successes or self.replay > 0

    @property
    def region(self) -> regions.Region:
        chosen = {
            "best": regions.Best(self.distinct),
            "threshold": regions.Threshold(self.threshold),
            "importance": regions.Importance(),
        }
        return chosen[self.rejection]

    @property
    def filters(self) -> bool:
        """Whether anything is ever rejected: at f = 1 the failure model has no influence."""
        return self.filter_factor > 1 or self.rejection != "best"
