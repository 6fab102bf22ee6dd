"""What `--help` shows: the dozen flags that matter; and `--helpfull`: every one, by group."""

import difflib
import textwrap
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from experiments.common import fields
from experiments.common.fields import Setting

WIDTH = 100
DOZEN = 12
PLACES = ("output", "folder", "runs", "cache")
SHORT, FULL = ("-h", "-help", "--help", "--helpshort"), ("-helpfull", "--helpfull")


def wanted(arguments: Iterable[str]) -> str | None:
    """`short` or `full`, where one of the arguments asks for help; `full` goes before."""
    given = set(arguments)
    if given & set(FULL):
        return "full"
    return "short" if given & set(SHORT) else None


def short(
    program: str,
    about: str,
    defaults: Any,
    presets: Collection[str],
    more: Mapping[str, str],
    relevant: Collection[str] = (),
    sweeps: bool = False,
) -> str:
    """The flags of a program that most runs need, on one screen.

    Args:
      program: its command.
      about: its documentation, of which the first paragraph is shown.
      defaults: the configuration; its class may name in `main_flags` what is shown, which is the
        first dozen of its own fields otherwise.
      presets: their names.
      more: texts of flags that every program has, by name with their value.
      relevant: flags, or groups of them, that are shown below: those of a chosen method.
      sweeps: whether the program runs several values of a field.
    """
    known = list(fields.settings(defaults))
    first = _main(defaults, known)
    by_name = {setting.name: setting for setting in known}
    lines = [" ".join(about.partition("\n\n")[0].split()), "", f"{program} [--FLAG=VALUE ...]", ""]
    rows = [("--preset=NAME", f"settings to start from: {', '.join(presets)}")] if presets else []
    rows += [_row(by_name[name]) for name in first]
    lines += _columns(rows + [(f"--{name}", text) for name, text in more.items()])
    below = lambda name: any(name == r or name.startswith(r + ".") for r in relevant)
    chosen = [s for s in known if below(s.name) and s.name not in first]
    if chosen:
        lines += ["", "Of the chosen algorithms:", *_groups(chosen, one_line=True)]
    hidden = len(known) - len(first) - len(chosen)
    lines += [""]
    if hidden:
        lines += [f"--helpfull lists {hidden} more."]
    if any(s.name == "algorithms" for s in known):
        lines += ["--algorithms=NAME --help lists those of an algorithm."]
    if sweeps:
        lines += ["--sweep.FIELD=VALUE,VALUE runs several values of any field."]
    return "\n".join(lines)


def full(about: str, defaults: Any, presets: Collection[str], more: Mapping[str, str]) -> str:
    """All flags of a program, under the names of their groups."""
    lines = [about.strip(), ""]
    if presets:
        lines += _columns([("--preset=NAME", f"settings to start from: {', '.join(presets)}")])
    lines += _columns([(f"--{name}", text) for name, text in more.items()])
    lines += _groups(list(fields.settings(defaults)))
    lines += ["", "Beside these absl's own: --verbosity=1 tells more, --flagfile=FILE reads flags."]
    return "\n".join(lines)


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


def _main(defaults: Any, known: list[Setting]) -> list[str]:
    if declared := getattr(defaults, "main_flags", ()):
        return list(declared)
    own = [setting.name for setting in known if not setting.parent]
    places = [name for name in own if name in PLACES]
    first = [name for name in own if name not in places][: DOZEN - len(places)] + places
    inner = getattr(getattr(defaults, "experiment", None), "main_flags", ())  # of a search
    return first + [f"experiment.{name}" for name in inner][: DOZEN - len(first)]


def _row(setting: Setting) -> tuple[str, str]:
    flag = f"--{setting.name}={fields.as_text(setting.value)}"
    return flag if len(flag) < WIDTH - 2 else flag[: WIDTH - 6] + " ...", setting.text


def _groups(known: list[Setting], one_line: bool = False) -> list[str]:
    lines: list[str] = []
    for parent in dict.fromkeys(s.parent for s in known):
        of = [s for s in known if s.parent == parent]
        if parent:
            title = f"{parent}: {of[0].group[-1]}"
            lines += ["", textwrap.shorten(title, WIDTH, placeholder=" ...")]
        lines += _columns([_row(s) for s in of], one_line)
    return lines


def _columns(rows: list[tuple[str, str]], one_line: bool = False) -> list[str]:
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
