"""HTML by hand: whatever is put in is data, and what a browser would hide is made visible."""

import html
import re
from collections.abc import Iterable, Sequence
from typing import Any

LONGEST = 300  # characters of a text that is shown

# Control characters, half surrogates, and what turns or hides the text around it.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ud800-\udfff\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e0fff]"
)


def visible(text: Any, longest: int = LONGEST) -> str:
    """One line of a text: its newlines and tabs as signs, what cannot be seen as its code."""
    text = str(text)
    shown = text[:longest].replace("\r\n", "\n").replace("\n", "⏎").replace("\t", "⇥")
    shown = _UNSEEN.sub(lambda found: f"\\u{{{ord(found[0]):x}}}", shown)
    return shown if len(text) <= longest else f"{shown}… ({len(text):,} characters)"


def escape(text: Any, longest: int = LONGEST) -> str:
    """A text as content of an element or of a quoted attribute."""
    return html.escape(visible(text, longest), quote=True)


def element(name: str, content: str = "", **attributes: Any) -> str:
    """An element around content that is HTML; `class_` is class, `a_b` is a-b, None is left out."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value, 10_000)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return f"<{name}{given}>{content}</{name}>"


def text(name: str, content: Any, **attributes: Any) -> str:
    """An element around text."""
    return element(name, escape(content, 2_000), **attributes)


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    wide: Sequence[str] = (),
    prose: Sequence[str] = (),
) -> str:
    """A table of texts and numbers; columns named in `wide` hold what programs and models write,
    and those in `prose` sentences: both run to the left."""
    kinds = {name: "w" for name in wide} | {name: "w said" for name in prose}
    head = "".join(text("th", name, class_=kinds.get(name)) for name in columns)
    body = ""
    for row in rows:
        cells = (
            element("td", f"<bdi>{escape(value)}</bdi>", class_=kinds.get(name))
            for name, value in zip(columns, row, strict=True)
        )
        body += f"<tr>{''.join(cells)}</tr>\n"
    whole = f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table>"
    return element("div", whole, class_="scroll", tabindex=0)


def section(title: str, *content: str, note: str = "", id: str | None = None) -> str:
    intro = text("p", note, class_="note") if note else ""
    return element("section", text("h2", title) + intro + "\n".join(content) + "\n", id=id)


def folded(title: str, *content: str) -> str:
    return element("details", text("summary", title) + "\n".join(content))
