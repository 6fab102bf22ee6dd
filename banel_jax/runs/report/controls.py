"""The part of a run's page that says what would have happened without the method."""

from collections.abc import Sequence

from banel_jax.runs.control_file import Control
from banel_jax.runs.report import forest, markup
from banel_jax.runs.report.facts import rates
from banel_jax.runs.report.forest import Band, Interval
from banel_jax.runs.report.numbers import count, format_value
from banel_jax.runs.report.view import RunView

MOST = 30  # controls that are shown
NAMES = 4  # of controls in a sentence

NOTE = "What would have been met without the method, told without an evaluation: from rows whose "
NOTE += "odds are known, weighted by how likely a control draws them, and from samples of it whose "
NOTE += "answers are known."
MEANING = "Bars are the 95% intervals of the controls, points their rates. Where a bar has no "
MEANING += (
    "point the rate lies somewhere within it, and without a bar nothing is known. The dashed "
)
MEANING += (
    "line is the newest rate of the run, in the band of its own interval. To the right stands "
)
MEANING += "how many evaluations it would cost to know the answers of all samples of a control."
MANY = "Each interval is its own: of twenty controls one may lie beside its rate by chance."


def controls(view: RunView) -> str:
    """A figure, what it says, and its numbers; nothing where no control was judged."""
    if view.controls is None:
        return ""
    shown = view.controls.controls[:MOST]
    run = _run(view)
    rows = [
        Interval(_cut(c.control), f"would cost {c.would_cost:,}", c.conclusion, _share(c.rate),
                 _share(c.low), _share(c.high))
        for c in shown
    ]  # fmt: skip
    title = "This run beside its controls"
    drawn = forest.svg(rows, run, "success rate", f"{title}. {MEANING}")
    figure = markup.element("figure", markup.text("h3", title) + drawn)
    said = [markup.text("p", line) for line in _verdicts(shown, run)]
    notes = [markup.text("p", line, class_="note") for line in (MEANING, MANY)]
    when = f" Judged when {count(view.controls.answered, 'row')} had an answer."
    beside = markup.element("div", "".join([*said, *notes]))
    both = markup.element("div", figure + beside, class_="charts wide")
    numbers = markup.folded("The numbers", _table(shown))
    return markup.section("The controls of this run", both, numbers, note=NOTE + when)


def _table(shown: Sequence[Control]) -> str:
    columns = ("control", "known", "successes", "rate", "95% from", "to", "worth", "would cost",
               "what can be concluded")  # fmt: skip
    rows = [
        (c.control, f"{c.known:,} of {c.samples:,}", f"{c.successes:,}",
         *map(format_value, (c.rate, c.low, c.high, c.effective)), f"{c.would_cost:,}",
         c.conclusion)
        for c in shown
    ]  # fmt: skip
    return markup.table(columns, rows, prose=("control", "what can be concluded"))


def _run(view: RunView) -> Band | None:
    """The run's newest rate."""
    newest = rates(view, bins=10)[-1:]
    if not newest:
        return None
    of = newest[0]
    rounds = f"round {of.last}" if of.first == of.last else f"rounds {of.first}-{of.last}"
    told = f"{format_value(of.value)} ({format_value(of.low)} to {format_value(of.high)})"
    return Band(f"This run, {rounds}", told, of.value, of.low, of.high)


def _verdicts(shown: Sequence[Control], run: Band | None) -> list[str]:
    """What the figure says, in words."""
    if run is None:
        return ["This run has no answer yet."]
    groups = dict[str, list[str]]()
    for one in shown:
        groups.setdefault(_verdict(one, run), []).append(one.control)
    order = ("It lies above", "It is not told apart from", "It lies below", "Nothing is known of")
    said = [f"{words} {_names(groups[words])}." for words in order if words in groups]
    return [f"{run.name}: {run.told}.", *said]


def _verdict(one: Control, run: Band) -> str:
    if one.high is None or one.low is None:
        return "Nothing is known of"
    if one.high < run.low:
        return "It lies above"
    return "It lies below" if one.low > run.high else "It is not told apart from"


def _names(names: list[str]) -> str:
    told = ", ".join(map(_cut, names[:NAMES]))
    return told if len(names) <= NAMES else f"{told}, and {len(names) - NAMES} more"


def _cut(name: str, most: int = 40) -> str:
    return name if len(name) <= most else f"{name[:most]}…"


def _share(value: float | None) -> float | None:
    return None if value is None else min(max(value, 0.0), 1.0)
