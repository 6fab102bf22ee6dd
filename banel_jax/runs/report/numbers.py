"""Numbers and times in few characters, for people."""

import datetime
import math
import numbers
from typing import Any


def format_value(value: Any) -> str:
    """A number to three significant digits, None and NaN as '-', anything else as `str`."""
    if value is None:
        return "-"
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, numbers.Integral):
        return f"{int(value):,}"
    if isinstance(value, numbers.Real):
        value = float(value)
        if math.isnan(value):
            return "-"
        if value and not 1e-3 <= abs(value) < 1e5:
            return f"{value:.2e}"
        return f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"
    return str(value)


def duration(seconds: float | None) -> str:
    """Seconds in the two largest units that matter: '81 ms', '12.3 s', '4 min 05 s', '3 d 4 h'."""
    if seconds is None or not math.isfinite(seconds):
        return "-"
    if seconds < 0.9995:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 59.95:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes:02d} min"
    return f"{hours // 24:,} d {hours % 24} h"


def moment(time: float) -> str:
    """Unix seconds as local date and time, with the zone."""
    return datetime.datetime.fromtimestamp(time).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def count(number: int, what: str) -> str:
    """'1 row', '2,000 rows'; successes and losses become what they should."""
    many = f"{what}es" if what.endswith("s") else f"{what}s"
    return f"{number:,} {what if number == 1 else many}"
