"""What BaNEL (Algorithm 2, `banel.py`) carries from round to round."""

from typing import Any

from flax import struct
from jaxtyping import Array, Float, Int

from banel_jax import rejection
from banel_jax.failures import Failures
from banel_jax.replay import Replay
from banel_jax.types import Sequences


@struct.dataclass
class State:
    """The models and what passes from `ask` to `tell`.

    Attributes:
      round: int32, rounds told so far.
      most_successes: float32, of a round.
      base, generator, failure_model: parameters of p_theta, p_theta_i, p_phi_i.
      best_generator: which proposed in the latest round of most successes; None if never needed.
      failures: what the failure model is fitted to.
      success_model: parameters of p_S; None where the ratio does not look at successes.
      successes: those met; None if never needed.
      filters: that proposals must pass before the newest ranks them.
      batch: [num_distilled], what passed the filter; the candidates come first.
      threshold, log_normaliser: of the filter that the latest `ask` applied.
      report: diagnostics of the latest `ask`.
    """

    round: Int[Array, ""]
    most_successes: Float[Array, ""]
    base: Any
    generator: Any
    failure_model: Any
    best_generator: Any
    failures: Failures
    success_model: Any
    successes: Replay | None
    filters: rejection.Filters
    batch: Sequences
    threshold: Float[Array, ""]
    log_normaliser: Float[Array, ""]
    report: dict[str, Array]

    def paid(self) -> Sequences:
        """What was paid for, as far as it is kept, beside empty rows."""
        asked = self.failures.sequences  # of each round all of them
        return asked if self.successes is None else asked.followed_by(self.successes.sequences)
