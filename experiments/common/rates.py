"""Success rates by Monte Carlo, and controls that cost no evaluation."""

from collections.abc import Callable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from banel_jax.success_rate import clopper_pearson

R = TypeVar("R")


class Rate(NamedTuple):
    """A success rate by Monte Carlo: so many successes among so many samples."""

    successes: int
    samples: int

    @property
    def value(self) -> float:
        return self.successes / self.samples

    @property
    def interval(self) -> tuple[float, float]:
        return clopper_pearson(self.successes, self.samples)


def rate_of(told: Mapping[str, Any]) -> Rate:
    """A rate from its entry in a summary.json."""
    return Rate(round(told["success_rate"] * told["samples"]), told["samples"])


def rates_of(told: Mapping[str, Any]) -> dict[float, Rate]:
    """Rates by setting, likewise."""
    return {float(setting): rate_of(rate) for setting, rate in told.items()}


def as_told(rate: Rate) -> dict[str, Any]:
    """The entry of a rate there."""
    return {"success_rate": rate.value, "interval": rate.interval, "samples": rate.samples}


class FreeControl(NamedTuple, Generic[R]):
    """A control that costs no evaluation.

    Attributes:
      kind: what it is.
      setting: the best value, chosen by looking at the success rate; None where there is none.
      rate: that it has there.
    """

    kind: str
    setting: float | None
    rate: R

    @property
    def label(self) -> str:
        """Whatever its setting is."""
        return self.kind if self.setting is None else f"{self.kind}, chosen by looking"

    @property
    def title(self) -> str:
        return self.label if self.setting is None else f"{self.label} ({self.setting:g})"


def best_of(
    kind: str, rates: Mapping[float, R], size: Callable[[Any], float] = lambda rate: rate.value
) -> FreeControl[R]:
    """The setting of the highest rate, `size` being what it is compared by."""
    best = max(rates, key=lambda setting: size(rates[setting]))
    return FreeControl(kind, best, rates[best])


def check_base(prior: Rate) -> None:
    """Raises ValueError where there is nothing to give gains over."""
    if not prior.successes:
        raise ValueError(
            f"none of num_prior={prior.samples} samples of the prior succeeds, so there is "
            "nothing to compare with; raise num_prior"
        )


def log10_gain(rates, base: float, samples: int) -> np.ndarray:
    """Decades over the base; a rate below one in so many samples counts as half of one."""
    return np.log10(np.maximum(np.asarray(rates), 0.5 / samples) / base)
