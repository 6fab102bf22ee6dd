"""Intervals one below the other, beside that of the run: a forest plot as inline SVG."""

from collections.abc import Sequence
from typing import NamedTuple

from banel_jax.runs.report import markup
from banel_jax.runs.report.charts import Axis, label

WIDTH, LEFT, RIGHT = 420, 6, 10
TOP, ROW, FOOT = 4, 30, 36  # heights: above the rows, of each, and of the axis
WIDE = 1e-9  # of the largest value: a smaller one stands at the edge, without a point


class Interval(NamedTuple):
    """A rate with its 95% interval; None for what is not known.

    Attributes:
      name: to the left.
      note: to the right.
      told: in words, for whoever points at it.
    """

    name: str
    note: str
    told: str
    rate: float | None
    low: float | None
    high: float | None


class Band(NamedTuple):
    """The run's own rate with its 95% interval: what to call it, and how to tell it."""

    name: str
    told: str
    rate: float
    low: float
    high: float


def svg(rows: Sequence[Interval], run: Band | None, x_label: str, title: str) -> str:
    """The rows from above; the run's own as a band through all of them."""
    values = [v for row in rows for v in (row.rate, row.high) if v]
    values += [v for v in (run.rate, run.high) if v] if run else []
    values = [v for v in values if v > WIDE * max(values)]
    log = bool(values) and max(values) > 30 * min(values)
    edge = min(values) / 1.5 if log else 0.0
    across = Axis([*values, edge], LEFT, WIDTH - RIGHT, log, zero=True)
    place = lambda v: across(max(v, edge))
    bottom = TOP + ROW * len(rows)
    drawn = _run(run, place, bottom) if run else ""
    for value, words in across.ticks(most=6):
        x = across(value)
        drawn += f'<path d="M{x:.1f} {TOP}V{bottom}" class="grid"/>'
        drawn += label(x, bottom + 15, words, "mid" if x > LEFT + 9 else "start")
    drawn += f'<path d="M{LEFT} {bottom}H{WIDTH - RIGHT}" class="axis"/>'
    drawn += label((LEFT + WIDTH - RIGHT) / 2, bottom + 32, x_label, "mid name")
    for i, row in enumerate(rows):
        drawn += _row(row, place, TOP + ROW * i)
    return markup.element(
        "svg", markup.text("title", title) + drawn, viewBox=f"0 0 {WIDTH} {bottom + FOOT}",
        role="img", aria_label=title,
    )  # fmt: skip


def _run(run: Band, place, bottom: int) -> str:
    low, high = (place(v) for v in (run.low, run.high))
    drawn = f'<path d="M{low:.1f} {TOP}V{bottom}H{high:.1f}V{TOP}Z" class="band b"/>'
    if run.rate:
        drawn += f'<path d="M{place(run.rate):.1f} {TOP}V{bottom}" class="line b"/>'
    return drawn


def _row(row: Interval, place, top: int) -> str:
    drawn = label(LEFT, top + 12, row.name, "key halo")
    drawn += label(WIDTH - RIGHT, top + 12, row.note, "end halo")
    if row.high is None:
        return drawn
    y, low, high = top + 21, place(row.low or 0.0), place(row.high)
    point = markup.text("title", row.told)
    bar = f'<path d="M{low:.1f} {y}H{max(high, low + 1):.1f}" class="bar a">{point}</path>'
    x = LEFT if row.rate is None else place(row.rate)
    if x == LEFT:
        return drawn + bar
    return f'{drawn}{bar}<circle cx="{x:.1f}" cy="{y}" r="3" class="a">{point}</circle>'
