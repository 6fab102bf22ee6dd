"""What a run is told, and what it ends with."""

from dataclasses import dataclass, field
from typing import NamedTuple

from banel_jax import checks
from banel_jax.oracle import OracleConfig
from banel_jax.runs.stops import Stop
from banel_jax.types import MAY_CHANGE, State


@dataclass(frozen=True)
class RunConfig:
    """Settings of a run; all but the seed and the rounds in flight may be others when it goes on.

    Attributes:
      rounds: of ask, evaluate, tell; a run that is complete goes on when they are raised, as if
        they had been asked for at once. None to go on until the budget or `stop` ends it.
      seed: of all random numbers, below 2**32.
      budget: reward evaluations allowed in all; None for what the rounds ask for.
      oracle: how the oracle is asked: how many rows in a call and calls at a time, how long,
        and what becomes of a row that failed.
      stop: what ends the run before its rounds do.
      rounds_in_flight: rounds that are proposed before the oldest of them is answered. With 2 the
        device proposes while the oracle works, and each round is proposed by a generator that has
        not learned from the one before.
      checkpoint_every: rounds between checkpoints. The last round always has one.
      ledger_patience: seconds to wait while another program has locked the ledger.

    Raises:
      ValueError: in one line, for a field of another type or outside its range.
    """

    rounds: int | None = field(default=30, metadata=MAY_CHANGE)
    seed: int = 0
    budget: int | None = field(default=None, metadata=MAY_CHANGE)
    oracle: OracleConfig = field(default=OracleConfig(), metadata=MAY_CHANGE)
    stop: Stop = field(default=Stop(), metadata=MAY_CHANGE)
    rounds_in_flight: int = 1
    checkpoint_every: int = field(default=1, metadata=MAY_CHANGE)
    ledger_patience: float = field(default=30.0, metadata=MAY_CHANGE)

    def __post_init__(self):
        checks.fields(self, infinite=("ledger_patience",))
        checks.integers(self, "rounds", at_least=1, below=2**31, none=True)
        checks.integers(self, "rounds_in_flight", "checkpoint_every", at_least=1)
        checks.integers(self, "budget", at_least=0, none=True)
        checks.seeds(self, "seed")
        checks.reals(self, "ledger_patience", at_least=0, infinite=True)
        if self.rounds is None and self.budget is None and self.stop == Stop():
            raise ValueError("rounds=None has no end; give a budget or a stop")


class RunResult(NamedTuple):
    """What a run ends with.

    Attributes:
      state: the algorithm's.
      metrics: a record of numbers for each round, the lines of `metrics.jsonl`.
      stopped: which rule of `RunConfig.stop` ended it; None where all its rounds are done.
    """

    state: State
    metrics: list[dict[str, float]]
    stopped: str | None = None
