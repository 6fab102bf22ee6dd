"""What `--help` shows: the dozen flags that matter; and `--helpfull`: every one, by group."""

import textwrap
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from banel_jax.commands import fields
from banel_jax.commands.fields import Setting
from banel_jax.commands.help import WIDTH, columns

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
    lines += columns(rows + [(f"--{name}", text) for name, text in more.items()])
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
        lines += columns([("--preset=NAME", f"settings to start from: {', '.join(presets)}")])
    lines += columns([(f"--{name}", text) for name, text in more.items()])
    lines += _groups(list(fields.settings(defaults)))
    lines += ["", "Beside these absl's own: --verbosity=1 tells more, --flagfile=FILE reads flags."]
    return "\n".join(lines)


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
        lines += columns([_row(s) for s in of], one_line)
    return lines
