"""The part of a run's page that says what would have happened without the method."""

import math

from banel_jax.runs.control_file import Control
from banel_jax.runs.report import markup
from banel_jax.runs.report.charts import Chart, Line
from banel_jax.runs.report.facts import rates
from banel_jax.runs.report.numbers import format_value
from banel_jax.runs.report.sections import figure
from banel_jax.runs.report.view import RunView

MOST = 30  # controls that are shown

NOTE = "What would have been met without the method, told without an evaluation: from rows whose "
NOTE += "odds are known, weighted by how likely a control draws them, and from samples of it whose "
NOTE += "answers are known."


def controls(view: RunView) -> str:
    """A table and a figure; nothing where no control was judged."""
    if view.controls is None:
        return ""
    shown = view.controls.controls[:MOST]
    columns = ("", "control", "known", "successes", "rate", "95% from", "to", "worth", "would cost",
               "what can be concluded")  # fmt: skip
    rows = [
        (i, c.control, f"{c.known:,} of {c.samples:,}", f"{c.successes:,}",
         *map(format_value, (c.rate, c.low, c.high, c.effective)), f"{c.would_cost:,}",
         c.conclusion)
        for i, c in enumerate(shown, 1)
    ]  # fmt: skip
    table = markup.table(columns, rows, wide=("control", "what can be concluded"))
    when = f" Judged when {view.controls.answered:,} rows had an answer."
    drawn = markup.element("div", _figure(view, shown), class_="charts wide")
    return markup.section("The controls of this run", drawn, table, note=NOTE + when)


def _figure(view: RunView, shown: list[Control]) -> str:
    """Each control's interval beside the newest rate of the run."""
    newest = rates(view, bins=10)[-1:]
    lines, bounds = list[Line](), []
    for i, control in enumerate(shown, 1):
        low, high = (_share(v) for v in (control.low, control.high))
        if control.rate:
            lines.append(Line([i], [_share(control.rate)], "", [low], [high]))
        elif control.high is not None:
            bounds.append((float(i), high, f"{control.control}: {control.conclusion}"))
    if newest:
        of, ends = newest[0], [0.5, len(shown) + 0.5]
        rounds = f"round {of.last}" if of.first == of.last else f"rounds {of.first}-{of.last}"
        lines.append(Line(ends, [of.value] * 2, f"this run, {rounds}", [of.low] * 2, [of.high] * 2,
                          colour="b"))  # fmt: skip
    values = [v for line in lines for v in line.y if v > 0]
    log = bool(values) and max(values) > 30 * min(values)
    chart = Chart(lines, "control, by its number in the table", "success rate", log, bounds,
                  zero=True)  # fmt: skip
    meaning = (
        "Points are controls with their 95% intervals, the dashed line the newest rate of the "
    )
    meaning += "run with its own. The method has gained something where that lies above all of "
    meaning += "them and the intervals do not overlap. A mark that points down is a bound: the "
    meaning += "rate lies below it. Of a control without either nothing can be concluded."
    return figure(chart, "This run beside its controls", meaning)


def _share(value: float | None) -> float:
    return math.nan if value is None else min(max(value, 0.0), 1.0)
