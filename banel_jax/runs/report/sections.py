"""The parts of a run's page."""

import math

from banel_jax.runs.report import charts, markup
from banel_jax.runs.report.charts import Chart, Line
from banel_jax.runs.report.facts import Rate, by_round, rates
from banel_jax.runs.report.ledger_table import SHOWN, Row
from banel_jax.runs.report.numbers import count, duration, format_value
from banel_jax.runs.report.readings import readings
from banel_jax.runs.report.view import RunView

PHASES = ("ask", "oracle", "tell", "evaluate", "checkpoint")
LAST = 10  # rounds in the table of numbers


def figure(chart: Chart, title: str, meaning: str, now: str = "") -> str:
    head = markup.text("h3", title)
    if now:
        head = markup.text("span", now, class_="now") + head
    caption = markup.text("figcaption", meaning)
    return markup.element("figure", head + charts.svg(chart, f"{title}. {meaning}") + caption)


def _empty(words: str) -> str:
    return markup.text("p", words, class_="empty")


def successes(view: RunView) -> str:
    """Rate and sums of what was paid."""
    counted = rates(view)
    title = "What was paid and met"
    if not counted:
        return markup.section(title, _empty("No row has an answer yet."))
    figures = markup.element("div", _rate(counted) + _sums(view), class_="charts wide")
    columns = ("rounds", "rows answered", "successes", "success rate", "95% from", "to")
    rows = [
        (f"{r.first}-{r.last}" if r.last > r.first else r.first, f"{r.answered:,}",
         f"{r.successes:,}", *map(format_value, (r.value, r.low, r.high)))
        for r in counted
    ]  # fmt: skip
    return markup.section(title, figures, markup.folded("The numbers", markup.table(columns, rows)))


def _rate(counted: list[Rate]) -> str:
    usual = sorted(rate.answered for rate in counted)[len(counted) // 2]
    whole = [rate for rate in counted if 2 * rate.answered >= usual]
    few, counted = len(counted) - len(whole), whole
    met = [rate for rate in counted if rate.successes]
    values = [rate.value for rate in met]
    highest = max(rate.high for rate in counted)
    log = bool(met) and min(values) < highest / 30
    middle = lambda rate: (rate.first + rate.last) / 2
    x = [middle(rate) for rate in counted]
    missing = lambda rate, value: value if rate.successes else math.nan
    bounds = [
        (middle(rate), rate.high, f"no success in {rate.answered:,} rows: below {rate.high:.3g}")
        for rate in counted if not rate.successes
    ]  # fmt: skip
    band = lambda part: [missing(rate, getattr(rate, part)) for rate in counted]
    line = Line(x, band("value"), "", band("low"), band("high"))
    chart = Chart([line], "round", "successes / rows answered", log, bounds, zero=True)
    pooled = counted[0].last - counted[0].first + 1
    meaning = "The line is the share of answered rows with reward 1, the band its exact 95% "
    meaning += "interval (Clopper-Pearson)."
    if pooled > 1:
        meaning += f" {pooled} rounds are counted together in each point."
    if bounds:
        meaning += " A mark that points down stands where nothing succeeded: the rate is below it."
    if few:
        meaning += f" Left out: {count(few, 'point')} of less than half of the usual rows."
    return figure(chart, "Success rate by round", meaning)


def _sums(view: RunView) -> str:
    counts = by_round(view)
    rows, met, distinct = [0], [0], [0]
    for round, succeeded, answered in counts:
        rows.append(rows[-1] + answered)
        met.append(met[-1] + succeeded)
        new = view.paid.rounds[round].distinct if view.paid else 0
        distinct.append(distinct[-1] + new)
    lines = [Line(rows, met, "successes", step=True)]
    meaning = "Since the beginning, by rows answered. A line that bends upwards is learning."
    if view.paid:
        lines.append(Line(rows, distinct, "distinct", colour="b", step=True))
        meaning += " Far below the other, the distinct ones say that the same is found again."
    chart = Chart(lines, "rows answered", "successes in all", zero=True, counts=True)
    return figure(chart, "Successes", meaning, f"{met[-1]:,}")


def diagnostics(view: RunView) -> str:
    """A chart for each metric, and how it is read."""
    title = "Diagnostics"
    if not view.records:
        return markup.section(title, _empty("No round is complete yet."))
    names = list(dict.fromkeys(name for record in view.records for name in record))
    x = [record.get("round", float(i)) for i, record in enumerate(view.records)]
    figures = ""
    for reading in readings(names):
        values = [[r.get(name, math.nan) for r in view.records] for name in reading.names]
        finite = [v for part in values for v in part if math.isfinite(v)]
        log = reading.log and bool(finite) and min(finite) > 0 and max(finite) / min(finite) > 30
        labels = (
            [name.replace("_", " ") for name in reading.names] if len(reading.names) > 1 else ("",)
        )
        lines = [
            Line(x, part, label, colour=colour)
            for part, label, colour in zip(values, labels, "abc", strict=False)
        ]
        chart = Chart(lines, "round", "", log)
        figures += figure(chart, reading.title, reading.meaning, format_value(values[0][-1]))
    if not figures:
        return ""
    newest = view.records[-LAST:]
    rows = [[format_value(record.get(name)) for name in names] for record in newest]
    more = markup.folded(
        f"The numbers of the last {count(len(newest), 'round')}", markup.table(names, rows),
        markup.text("p", "All of them are in metrics.jsonl and metrics.csv.", class_="note"),
    )  # fmt: skip
    return markup.section(title, markup.element("div", figures, class_="charts"), more)


def _rows(view: RunView, rows: tuple[Row, ...], *columns: str) -> str:
    """A table of rows; a column that none of them fills is left out."""
    of = {
        "row": lambda row: f"{row.row:,}",
        "round": lambda row: row.round,
        "state": lambda row: row.state,
        "reward": lambda row: "" if row.reward is None else f"{row.reward:g}",
        "score": lambda row: "" if row.score is None else _score(row.score),
        "asked": lambda row: f"{row.attempts} times" if row.attempts > 1 else "",
        "for": lambda row: "" if row.started is None else duration(view.time - row.started),
        "awaited": lambda row: row.reason or "",
        "sequence": view.shown,
    }
    cells = {name: [of[name](row) for row in rows] for name in columns}
    there = [name for name in columns if any(cell != "" for cell in cells[name])]
    table = zip(*(cells[name] for name in there), strict=True)
    return markup.table(there, table, wide=("sequence", "score", "awaited"))


def _score(score: object) -> str:
    return format_value(score) if isinstance(score, int | float) else str(score)


def samples(view: RunView) -> str:
    """Sequences of the newest round, and those that succeeded."""
    if view.paid is None or not view.paid.latest:
        return ""
    newest = view.paid.latest[0].round
    many = view.paid.rounds[newest].done
    most = len(view.paid.latest)
    note = "Successes stand first." if many > most else ""
    columns = ("row", "reward", "score", "sequence")
    shown = f"{most} of {count(many, 'row')}" if many > most else count(many, "row")
    parts = [_rows(view, view.paid.latest, *columns)]
    if view.paid.successes:
        columns = ("row", "round", "score", "sequence")
        title = f"The newest {count(len(view.paid.successes), 'success')}"
        parts.append(markup.folded(title, _rows(view, view.paid.successes[::-1], *columns)))
    return markup.section(f"Samples of round {newest}: {shown} with an answer", *parts, note=note)


def open_rows(view: RunView) -> str:
    """What the oracle has, and what it is to be given."""
    if view.paid is None or not view.paid.open:
        return ""
    states = ("running", "pending", "abandoned")
    totals = {state: view.paid.total(state) for state in states}
    told = ", ".join(f"{number:,} {state}" for state, number in totals.items() if number)
    note = "Running: the oracle has it. Pending: proposed, and not asked yet. Abandoned: asked, "
    note += "and not known whether it answered; it is asked again, and counts once."
    more = sum(totals.values()) > SHOWN
    title = f"In flight: {told}" + (f" (the first {SHOWN})" if more else "")
    columns = ("row", "round", "state", "for", "asked", "awaited", "sequence")
    return markup.section(title, _rows(view, view.paid.open, *columns), note=note)


def failures(view: RunView) -> str:
    """Rows without an answer, by reason."""
    if view.paid is None or not view.paid.failures:
        return ""
    rows = [(f"{number:,}", f"{row:,}", reason) for reason, number, row in view.paid.failures]
    table = markup.table(("rows", "newest row", "reason"), rows, wide=("reason",))
    note = "A failure is no reward of 0: what becomes of its row is said by on_failure."
    return markup.section(f"Failed: {count(view.paid.total('failed'), 'row')}", table, note=note)


def times(view: RunView) -> str:
    """Where the time goes."""
    title = "Where the time goes"
    names = dict.fromkeys([*PHASES, *(k for t in view.timings for k in t if k != "round")])
    totals = {name: sum(t.get(name, 0.0) for t in view.timings) for name in names}
    totals = {name: seconds for name, seconds in totals.items() if seconds > 0}
    whole = sum(totals.values())
    if not whole:
        return markup.section(title, _empty("No round is complete yet."))
    shares = [(name, seconds / whole) for name, seconds in totals.items()]
    bar = "".join(
        f'<i class="p{i % 6}" style="width:{100 * share:.2f}%" '
        f'title="{markup.escape(f"{name} {share:.1%}")}"></i>'
        for i, (name, share) in enumerate(shares)
    )
    swatch = lambda i: f'<span class="swatch p{i % 6}"></span>'
    n = len(view.timings)
    body = "".join(
        f'<tr><td class="w">{swatch(i)}{markup.escape(name)}</td><td>{duration(totals[name])}</td>'
        f"<td>{share:.1%}</td><td>{duration(totals[name] / n)}</td></tr>"
        for i, (name, share) in enumerate(shares)
    )
    head = "<tr><th class='w'>phase</th><th>in all</th><th>share</th><th>a round</th></tr>"
    note = "ask: proposing; oracle: waiting for answers; tell: learning; evaluate: measuring; "
    note += "checkpoint: writing the state."
    table = f'<div class="scroll"><table>{head}{body}</table></div>'
    split = markup.element("div", bar, class_="split")
    return markup.section(f"{title}: {duration(whole)} in {count(n, 'round')}", split, table,
                          note=note)  # fmt: skip


def settings(view: RunView) -> str:
    if not view.settings:
        return ""
    rows = [(name, value) for name, value in sorted(view.settings.items())]
    table = markup.table(("setting", "value"), rows, wide=("setting", "value"))
    return markup.section("Settings", markup.folded(count(len(rows), "setting"), table))
