"""What the controls of a run were judged to be, kept in its folder: `controls.json`."""

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from banel_jax import files

NAME = "controls.json"


@dataclass(frozen=True)
class Control:
    """What a control would have met, as far as it can be told without an evaluation.

    Attributes:
      control: its name.
      samples: that were drawn of it.
      known: how many of them have a known answer.
      successes: of those, with reward 1.
      rate: its success rate; None where it is not told, or by bounds alone.
      low, high: the 95% interval; None where nothing is told.
      effective: how many rows drawn from it the weighted rows are worth; None where none can be
        weighted.
      would_cost: evaluations that its samples without a known answer would cost, each sequence
        once.
      by: what tells it: `rows` weighted by how likely the control draws them, `samples` that all
        have a known answer, `bounds` from those that have, or `nothing`.
      conclusion: what can be concluded, in words.
    """

    control: str
    samples: int
    known: int
    successes: int
    rate: float | None
    low: float | None
    high: float | None
    effective: float | None
    would_cost: int
    by: str
    conclusion: str

    def __post_init__(self):
        for name in ("control", "by", "conclusion"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name} is no text")
        for name in ("samples", "known", "successes", "would_cost"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 0:
                raise ValueError(f"{name} is no number of sequences")
        for name in ("rate", "low", "high", "effective"):
            value = getattr(self, name)
            if value is not None and not (
                type(value) in (int, float) and math.isfinite(value) and value >= 0
            ):
                raise ValueError(f"{name} is neither a number from 0 on nor null")


class Controls(NamedTuple):
    """Attributes:
    answered: rows of the run that had an answer when the controls were judged.
    controls: one after the other.
    """

    answered: int
    controls: list[Control]


def write(folder: Path, found: Controls) -> None:
    """Raises: OSError."""
    rows = [dataclasses.asdict(control) for control in found.controls]
    written = {"answered": found.answered, "controls": rows}
    files.write_atomically(folder / NAME, json.dumps(written, indent=2, allow_nan=False) + "\n")


def read(folder: Path) -> Controls:
    """What `write` wrote.

    Raises:
      OSError: where it cannot be read, such as FileNotFoundError.
      ValueError: where it is damaged; one line that names it.
    """
    path = folder / NAME
    stored: Any = files.read_object(path)
    try:
        answered, rows = stored["answered"], stored["controls"]
        if type(answered) is not int or not isinstance(rows, list):
            raise ValueError("answered is no number, or controls no list")
        return Controls(answered, [Control(**row) for row in rows])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{path} is damaged ({error}); delete it, or judge them anew") from error
