"""Flags and what they are for, on a screen."""

import difflib
import textwrap
from collections.abc import Iterable

WIDTH = 100


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The flags nearest to one that does not exist, as the end of a sentence."""
    known = list(known)
    last: dict[str, list[str]] = {}
    for flag in known:
        last.setdefault(flag.rpartition(".")[2], []).append(flag)
    near = last.get(name.rpartition(".")[2], [])[:3]
    near += difflib.get_close_matches(name, known, 3)
    for part in difflib.get_close_matches(name.rpartition(".")[2], last, 2):
        near += last[part][:2]
    names = [f"--{flag}" for flag in list(dict.fromkeys(near))[:4]]
    return f"; the nearest are {', '.join(names)}" if names else ""


def columns(rows: list[tuple[str, str]], one_line: bool = False) -> list[str]:
    """Flags left, texts right, wrapped or cut; a long flag stands on a line of its own."""
    longest = 52 if one_line else 36
    column = min(max((len(flag) for flag, _ in rows), default=0), longest) + 4
    lines = []
    for flag, text in rows:
        room = WIDTH - column
        short = textwrap.shorten(text, room, placeholder=" ...")
        wrapped = [short] if one_line else textwrap.wrap(text, room) or [""]
        beside = len(flag) <= column - 4
        lines += [f"  {flag}"] if not beside else []
        lines += [f"{'  ' + flag if beside else '':<{column}}{wrapped[0]}".rstrip()]
        lines += [" " * column + line for line in wrapped[1:]]
    return lines
