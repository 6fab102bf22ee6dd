"""How long a run has worked in all, its earlier starts included."""

import time
from collections.abc import Callable

from banel_jax.oracle import Ledger
from banel_jax.runs.timings import Timings


class Clock:
    """Counts on from what the timings of earlier rounds say.

    Args:
      timings: of the rounds that are done.
    """

    def __init__(self, timings: Timings):
        self._before, self._begun = sum(timings.seconds().values()), time.monotonic()

    def seconds(self) -> float:
        return self._before + time.monotonic() - self._begun

    def reached(self, ledger: Ledger) -> dict[str, Callable[[], float]]:
        """What the rules that end a run look at, see `stops.LIMITS`."""
        return {
            "successes": lambda: ledger.totals()[1],
            "distinct_successes": ledger.distinct_successes,
            "seconds": self.seconds,
            "cost": ledger.cost,
        }
