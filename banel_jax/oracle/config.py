"""How a run asks its oracle."""

from dataclasses import dataclass
from typing import Any, Literal

from banel_jax import checks

MOST_BACKOFF = 60.0


@dataclass(frozen=True)
class OracleConfig:
    """How the oracle is asked; all of it may change when a run goes on.

    Attributes:
      batch_size: rows in a call. None for what loses nothing: one row, or all of a round where
        an oracle takes them one after another anyway.
      max_concurrent: calls at a time; None for as many as the evaluator has workers.
      timeout: seconds that a call may take, from when a worker has taken it up; the worker is
        then ended with all that it started. None for no bound.
      retries: how often a call is asked again that ended by a transient exception.
      backoff: seconds before it is asked again, doubled each time up to 60.
      transient: types of exceptions that may pass, or their names, dotted or not; kept as names.
        A call out of time is a `TimeoutError`, and a worker that died a `WorkerDied`.
      on_failure: of a row that has failed for good. "stop" ends the run in order with one line,
        and the row is asked for again when it goes on; "drop" learns nothing from the row; "zero"
        counts it as a reward of 0; "later" asks again after all other rows, as long as that brings
        at least one answer, and then stops.
      cost_per_row: in the user's currency, where the oracle tells none.
      memo: whether a sequence that was answered before is answered from the ledger: "off";
        "free", and it counts as no evaluation; "counted", and it does.

    Raises:
      ValueError: in one line, for a field of another type or outside its range.
    """

    batch_size: int | None = None
    max_concurrent: int | None = None
    timeout: float | None = None
    retries: int = 0
    backoff: float = 1.0
    transient: tuple[Any, ...] = ()
    on_failure: Literal["stop", "drop", "zero", "later"] = "stop"
    cost_per_row: float = 0.0
    memo: Literal["off", "free", "counted"] = "off"

    def __post_init__(self):
        checks.integers(self, "batch_size", "max_concurrent", at_least=1, none=True)
        checks.reals(self, "timeout", above=0, none=True)
        checks.integers(self, "retries", at_least=0)
        checks.reals(self, "backoff", "cost_per_row", at_least=0)
        checks.one_of(self, "on_failure", ("stop", "drop", "zero", "later"))
        checks.one_of(self, "memo", ("off", "free", "counted"))
        given = self.transient
        given = tuple(given) if isinstance(given, tuple | list) else (given,)
        object.__setattr__(self, "transient", tuple(map(_name, given)))
        if self.retries and not self.transient:
            raise ValueError(
                f"retries={self.retries} needs transient, the exceptions after which a call is "
                "asked again, such as transient=(ConnectionError,)"
            )

    def wait_after(self, attempts: int) -> float:
        """Seconds before a call that was made so often is made again."""
        return min(MOST_BACKOFF, self.backoff * 2.0 ** min(attempts - 1, 60))


def _name(kind: Any) -> str:
    if isinstance(kind, type) and issubclass(kind, BaseException):
        return f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(kind, str) and all(part.isidentifier() for part in kind.split(".")):
        return kind
    raise ValueError(f"transient={kind!r} must be a type of exceptions, or its name")
