"""The page of a run: one file that needs no network and no script, made from a `RunView` alone."""

from banel_jax.runs.report import controls, markup, sections, style
from banel_jax.runs.report.facts import Facts, facts, rates
from banel_jax.runs.report.numbers import count, duration, format_value, moment
from banel_jax.runs.report.view import RunView

REFRESH = 5  # seconds

SAID = {
    "running": "running",
    "complete": "complete",
    "waiting": "waiting for answers",
    "stopped": "stopped",
    "failed": "stopped by an error",
}


def page(view: RunView) -> str:
    """The page as HTML; whatever is in the folder is shown as text, and never as markup."""
    known = facts(view)
    name = view.folder.name or str(view.folder)
    running = view.standing.state == "running"
    head = markup.element("title", markup.escape(f"{name}: {SAID[view.standing.state]}"))
    refresh = f'<meta http-equiv="refresh" content="{REFRESH}">\n' * running
    body = [
        _header(view, name),
        _alerts(view),
        _tiles(view, known),
        sections.successes(view),
        controls.controls(view),
        sections.diagnostics(view),
        sections.samples(view),
        sections.open_rows(view),
        sections.failures(view),
        sections.times(view),
        _next(view, known),
        sections.settings(view),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        # Nothing is loaded and nothing runs, whatever the texts in the ledger try.
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"{refresh}{head}\n<style>{style.CSS}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in body if part)
        + "\n</body>\n</html>\n"
    )


def _header(view: RunView, name: str) -> str:
    state = view.standing.state
    told = f"as of {moment(view.time)}"
    parts = (
        markup.text("h1", name),
        markup.text("span", SAID[state], class_=f"state {state}"),
        markup.text("span", told, class_="when"),
    )
    return markup.element("header", "".join(parts))


def _alerts(view: RunView) -> str:
    said = [view.standing.why] if view.standing.why else []
    return "".join(markup.text("p", line, class_="alert") for line in (*said, *view.notes))


def _tile(value: str, *words: str) -> str:
    under = "".join(markup.text("span", line) for line in words if line)
    return markup.element("div", markup.text("b", value) + under, class_="tile")


def _of(number: int, whole: int | None) -> str:
    return f"{number:,}" if whole is None else f"{number:,} / {whole:,}"


def _tiles(view: RunView, known: Facts) -> str:
    newest = rates(view, bins=10)[-1:]
    rate = "-"
    words = "success rate: no row has an answer yet"
    if newest:
        of = newest[0]
        rate = format_value(of.value)
        rounds = f"round {of.last}" if of.first == of.last else f"rounds {of.first}-{of.last}"
        interval = f"{format_value(of.low)} to {format_value(of.high)}"
        words = f"success rate, {rounds}; 95%: {interval}"
    waiting = known.in_flight + known.pending + known.abandoned
    distinct = "" if known.distinct is None else f"{known.distinct:,} of them distinct"
    tiles = [
        _tile(_of(known.told, known.rounds), "rounds"),
        _tile(_of(known.rows, known.rows_in_all), "rows paid", _budget(view)),
        _tile(f"{known.successes:,}", "successes", distinct),
        _tile(rate, words),
        _tile(f"{known.in_flight:,}", "in flight", f"{waiting:,} wait for an answer"),
        _tile(f"{known.failed:,}", "failed: without an answer, not reward 0"),
        _tile(duration(known.seconds_per_row), "of the oracle a row"),
    ]
    if view.standing.state == "running":
        pace = known.rows_per_second
        words = "" if pace is None else f"{format_value(pace)} rows a second"
        tiles.append(_tile(duration(known.seconds_left), "left", words))
    return markup.element("div", "\n".join(tiles), class_="tiles")


def _budget(view: RunView) -> str:
    budget = view.setting("budget")
    return f"budget {budget:,}" if isinstance(budget, int) else ""


def _next(view: RunView, known: Facts) -> str:
    """What to do now."""
    state, command = view.standing.state, view.live.get("command")
    again = "Call the same bj.run(...) on this folder again"
    if command:
        again = "Run the same command again"
    words = {
        "running": "Nothing. The page is drawn again every few seconds; if its time stays behind "
        "the clock for more than a minute, the run was killed. Then",
        "complete": "All rounds are done. To go on, raise rounds;",
        "waiting": "Put the answers where they are awaited. Then",
        "stopped": f"{count(known.rows, 'row')} paid are kept, and none is paid twice.",
        "failed": "Mend what the line at the top names. What was paid is kept.",
    }[state]
    if state == "complete" and view.standing.why:
        words = "A rule ended the run. To go on, give another;"
    if words.endswith((";", "Then", "then")):
        again = f"{again[0].lower()}{again[1:]}"
    code = markup.element("code", markup.escape(command, 4_000)) if command else ""
    return markup.section("What to do next", markup.text("p", f"{words} {again}."), code)
