"""What an oracle said, as what a file can hold; nothing of it may cost the reward beside it."""

import json
import math
from typing import Any

from banel_jax.checks import one_line, text_of

DEEPEST = 32  # of what is taken apart; what is deeper becomes text


def plain(value: Any, depth: int = 0) -> Any:
    """What JSON can hold of a value: arrays become lists, NaN and what else it cannot text."""
    try:
        return json.loads(json.dumps(value), parse_constant=str)
    except Exception:
        pass
    try:
        value = value.tolist() if hasattr(value, "tolist") else value  # NumPy's and JAX's
        if depth < DEEPEST and isinstance(value, dict):
            return {_name(key): plain(one, depth + 1) for key, one in value.items()}
        if depth < DEEPEST and isinstance(value, list | tuple):
            return [plain(one, depth + 1) for one in value]
        return json.loads(json.dumps(value), parse_constant=str)
    except Exception:
        return one_line(value)


def _name(key: Any) -> str:
    """A key as JSON has it, where it has such."""
    known = key is None or isinstance(key, str | int | float)
    return next(iter(plain({key: 0}))) if known else one_line(key)


def as_json(value: Any) -> str | None:
    """JSON in ASCII, None for None."""
    if value is None:
        return None
    try:
        return json.dumps(value, allow_nan=False)
    except Exception:
        return json.dumps(plain(value))


def as_text(value: Any, most: int = 1000) -> str | None:
    """What SQLite can keep as text: at most so many characters, no lone surrogates."""
    if value is None:
        return None
    return text_of(value)[:most].encode("utf-8", "backslashreplace").decode()


def as_cost(number: Any) -> float | None:
    """A finite number of at least 0; what makes no other sense is as none."""
    try:
        number = float(number)
    except Exception:
        return None
    return number if math.isfinite(number) and number >= 0 else None
