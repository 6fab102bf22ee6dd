"""A run's page, read as a browser reads it."""

import html.parser

from banel_jax.runs.report import Reader, page

VOID = {"meta", "br"}


class Parsed(html.parser.HTMLParser):
    """Elements, texts and table cells of a page; every element must be closed where it should."""

    def __init__(self, text):
        super().__init__()
        self.names, self.attributes, self.texts, self.tables = [], [], [], []
        self._within: list[str] = []
        self.feed(text)
        assert not self._within

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self._within.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self._within.pop() == tag

    def handle_data(self, data):
        if "style" not in self._within:
            self.texts.append(data)
        if "td" in self._within or "th" in self._within:
            self.tables[-1][-1][-1] += data

    def rows(self, *columns):
        """Of the first table with these columns, as dicts."""
        for head, *rows in self.tables:
            if set(columns) <= set(head):
                return [dict(zip(head, row, strict=True)) for row in rows]
        raise AssertionError(f"no table has {columns}")

    @property
    def text(self):
        return " ".join(self.texts)


def drawn(folder, standing=None, **more):
    return Parsed(page(Reader(folder, **more).read(standing)))
