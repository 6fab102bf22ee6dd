"""Small charts as inline SVG, whose colours are the page's, light and dark."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from banel_jax.runs.report import markup
from banel_jax.runs.report.numbers import format_value

WIDTH, HEIGHT = 420, 220
LEFT, RIGHT, TOP, BOTTOM = 48, 10, 26, 38  # margins, within which the ticks stand
MOST = 160  # points of a line; more are drawn as means, with the range of what each stands for


@dataclass(frozen=True)
class Line:
    """Values by x, both [n]; NaN is a gap.

    Attributes:
      x, y: what is drawn.
      label: in the legend.
      low, high: of the band around it, or None.
      colour: a class of the page's style.
      step: the value holds until the next x.
    """

    x: Sequence[float]
    y: Sequence[float]
    label: str = ""
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    colour: str = "a"
    step: bool = False


@dataclass(frozen=True)
class Chart:
    """Lines over one pair of axes.

    Attributes:
      lines: of it.
      x_label, y_label: of the axes; `y_label` stands above the chart.
      log: the y axis is logarithmic; what is not positive is left out.
      bounds: (x, y, note) of marks that point down, for what lies somewhere below.
      whole: x counts something, so that ticks are whole numbers.
      zero: the y axis begins at 0.
      counts: y counts something.
    """

    lines: Sequence[Line]
    x_label: str
    y_label: str
    log: bool = False
    bounds: Sequence[tuple[float, float, str]] = field(default=())
    whole: bool = True
    zero: bool = False
    counts: bool = False


def ticks(low: float, high: float, most: int = 5, whole: bool = False) -> list[float]:
    """Round numbers within [low, high], at most so many and at least one."""
    step = 10.0 ** math.floor(math.log10((high - low) / most))
    step *= next(k for k in (1, 2, 5, 10, 20) if (high - low) / (step * k) <= most)
    step = max(step, 1.0) if whole else step
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)] or [low]


def decades(low: float, high: float, most: int = 5) -> list[float]:
    """Powers of ten within [low, high], both exponents; halves where there would be one or two."""
    first, last = math.ceil(low - 1e-9), math.floor(high + 1e-9)
    every = max(1, math.ceil((last - first + 1) / most))
    found = [float(k) for k in range(first, last + 1, every)]
    if len(found) > 2:
        return found
    finer = [k + math.log10(m) for k in range(first - 1, last + 1) for m in (1, 2, 5)]
    return [k for k in finer if low - 1e-9 <= k <= high + 1e-9] or [low]


def thinned(line: Line) -> Line:
    """A line of at most MOST points: means of neighbours, the band being their range."""
    n = len(line.x)
    if n <= MOST or line.low is not None:
        return line
    edges = [n * k // MOST for k in range(MOST + 1)]
    parts = [slice(a, b) for a, b in itertools.pairwise(edges)]
    if line.step:  # it rises only: the last of each says all
        last = [part.stop - 1 for part in parts]
        x, y = [line.x[i] for i in last], [line.y[i] for i in last]
        return Line(x, y, line.label, colour=line.colour, step=True)
    finite = [[v for v in line.y[part] if math.isfinite(v)] for part in parts]
    of = lambda f: [float(f(part)) if part else math.nan for part in finite]
    middle = [(line.x[part.start] + line.x[part.stop - 1]) / 2 for part in parts]
    mean = lambda part: sum(part) / len(part)
    return Line(middle, of(mean), line.label, of(min), of(max), line.colour)


class Axis:
    """From values to coordinates."""

    def __init__(
        self, values: Sequence[float], start: float, end: float, log=False, zero=False, whole=False
    ):
        self.log = log
        placed = [self._plain(v) for v in values]
        placed = [v for v in placed if math.isfinite(v)] or [0.0, 1.0]
        low, high = min(placed), max(placed)
        low = min(low, 0.0) if zero and not log else low
        if high - low < 1e-9 * max(abs(low), abs(high), 1e-9):
            room = 0.5 if log or whole else abs(high) / 2 or 1.0
            low, high = (low if low == 0 and not whole else low - room), high + room
        self.low, self.high, self.start, self.end = low, high, start, end

    def _plain(self, value: float) -> float:
        if not self.log:
            return float(value)
        return math.log10(value) if value > 0 else math.nan

    def __call__(self, value: float) -> float:
        share = (self._plain(value) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, whole: bool = False, most: int = 5) -> list[tuple[float, str]]:
        if self.log:
            return [(10**k, format_value(10**k)) for k in decades(self.low, self.high, most)]
        found = ticks(self.low, self.high, most, whole)
        fine = len(found) > 1 and found[1] - found[0] < 1e-2 * max(map(abs, found))
        return [(v, f"{v:.6g}" if fine else _short(v)) for v in found]


def _short(value: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if unit == 'k' else size):.3g}{unit}"
    return f"{value:.4g}"


def svg(chart: Chart, title: str) -> str:
    """The chart; `title` says in words what is to be seen, for those who do not see it."""
    lines = [thinned(line) for line in chart.lines]
    xs = [x for line in chart.lines for x in line.x] + [x for x, _, _ in chart.bounds]
    ys = [v for line in lines for part in (line.y, line.low, line.high) for v in _of(part)]
    ys += [y for _, y, _ in chart.bounds]
    across = Axis(xs, LEFT, WIDTH - RIGHT, whole=chart.whole)
    up = Axis(ys, HEIGHT - BOTTOM, TOP, chart.log, chart.zero)
    drawn = _grid(chart, across, up)
    if not any(map(math.isfinite, ys)):
        drawn = label(WIDTH / 2, HEIGHT / 2, "no value yet", "mid")
    for line in lines:
        drawn += _band(line, across, up) + _path(line, across, up)
    for x, y, note in chart.bounds:
        left, top = across(x), up(y)
        points = f"{left - 4:.1f},{top - 7:.1f} {left + 4:.1f},{top - 7:.1f} {left:.1f},{top:.1f}"
        drawn += f'<polygon points="{points}" class="bound">{markup.text("title", note)}</polygon>'
    drawn += _legend(lines, 16 + 6.4 * len(chart.y_label) if chart.y_label else LEFT)
    return markup.element(
        "svg", markup.text("title", title) + drawn, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img",
        aria_label=title,
    )  # fmt: skip


def _of(values: Sequence[float] | None) -> list[float]:
    return [] if values is None else [float(v) for v in values]


def label(x: float, y: float, words: str, kind: str) -> str:
    return markup.text("text", words, x=f"{x:.1f}", y=f"{y:.1f}", class_=kind)


def _grid(chart: Chart, across: Axis, up: Axis) -> str:
    drawn = label(0, 11, chart.y_label, "name") if chart.y_label else ""
    for value, words in up.ticks(chart.counts):
        y = up(value)
        drawn += f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" class="grid"/>'
        drawn += label(LEFT - 6, y + 4, words, "end")
    for value, words in across.ticks(chart.whole, 6):
        drawn += label(across(value), HEIGHT - BOTTOM + 16, words, "mid")
    drawn += f'<path d="M{LEFT} {HEIGHT - BOTTOM}H{WIDTH - RIGHT}" class="axis"/>'
    return drawn + label((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, chart.x_label, "mid name")


def _runs(line: Line, axis: Axis, *parts: Sequence[float]) -> list[list[int]]:
    """The stretches of a line in which all of the parts can be placed."""
    found: list[list[int]] = [[]]
    for i in range(len(line.x)):
        if all(math.isfinite(axis(part[i])) for part in parts):
            found[-1].append(i)
        elif found[-1]:
            found.append([])
    return [run for run in found if run]


def _path(line: Line, across: Axis, up: Axis) -> str:
    drawn = ""
    for run in _runs(line, up, line.y):
        points = [(across(line.x[i]), up(line.y[i])) for i in run]
        path = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
        for x, y in points[1:]:
            path += f"H{x:.1f}V{y:.1f}" if line.step else f"L{x:.1f} {y:.1f}"
        drawn += f'<path d="{path}" class="line {line.colour}"/>'
        if (len(line.x) <= 40 and not line.step) or len(points) == 1:
            for i, (x, y) in zip(run, points, strict=True):
                told = markup.text("title", f"{line.x[i]:,g}: {format_value(float(line.y[i]))}")
                drawn += f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" class="{line.colour}">{told}'
                drawn += "</circle>"
    return drawn


def _band(line: Line, across: Axis, up: Axis) -> str:
    if line.low is None or line.high is None:
        return ""
    drawn = ""
    floor = 10**up.low if up.log else up.low
    low = [max(v, floor) if math.isfinite(v) else v for v in map(float, line.low)]
    for run in _runs(line, up, line.high):
        there = [f"{across(line.x[i]):.1f} {up(line.high[i]):.1f}" for i in run]
        back = [f"{across(line.x[i]):.1f} {up(low[i]):.1f}" for i in reversed(run)]
        drawn += f'<path d="M{"L".join([*there, *back])}Z" class="band {line.colour}"/>'
        if len(run) == 1:  # a band of no width is a bar
            drawn += f'<path d="M{there[0]}L{back[0]}" class="bar {line.colour}"/>'
    return drawn


def _legend(lines: Sequence[Line], x: float) -> str:
    named = [line for line in lines if line.label]
    if len(lines) < 2:
        return ""
    drawn = ""
    for line in named:
        drawn += f'<path d="M{x:.0f} 7h14" class="line {line.colour}"/>'
        drawn += label(x + 18, 11, line.label, "key")
        x += 32 + 6.0 * len(line.label)
    return drawn
