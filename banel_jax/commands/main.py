"""The commands, their flags, and how they end."""

import logging
import sys
from pathlib import Path
from typing import Any

from banel_jax.runs import border, mistakes

COMMANDS = {
    "run": "begin a run in a folder, or go on with it",
    "ask": "propose the next round as tables for people; asks no oracle",
    "tell": "take answers from tables: any order, several parts, rows missing",
    "status": "how far a run is",
    "show": "its rows as a table, and its page drawn anew",
    "export": "its rows as CSV, JSONL or Parquet",
    "verify": "check every row of its ledger",
    "controls": "what would have been met without the method, told at no evaluation",
    "extend": "go on with more rounds or budget, as if asked for at once",
}
FORMS = {"tell": " RESULTS.csv ...", "export": " FILE.csv"}
WORKS, READS = ("run", "ask", "extend"), ("show", "export")
MAIN = (
    "prior", "oracle", "algorithm", "set", "text", "known", "rounds", "budget", "seed", "workers",
    "max_concurrent", "timeout", "retries", "transient", "on_failure", "memo", "cost_per_row",
    "controls", "tensorboard",
    "stop.successes", "stop.distinct_successes", "stop.success_rate", "stop.seconds", "stop.cost",
)  # fmt: skip
HELP = ("-h", "--help", "--helpshort")


def main() -> None:
    """Runs the command of this process, and ends it."""
    logging.basicConfig(format="%(message)s")  # before a library sets its own
    border.program(lambda: sys.exit(command(sys.argv[1:])), border.GOES_ON, _told)


def command(words: list[str]) -> int:
    """Does what the words say; 0 where it is done, 75 where answers are awaited.

    Raises:
      ValueError: in one line, for a person's mistake.
    """
    if not words or words[0] in (*HELP, "--helpfull"):
        print(_overview())
        return 0
    name, *rest = words
    if name not in COMMANDS:
        raise ValueError(f"there is no command {name!r}; give one of {', '.join(COMMANDS)}")
    if set(rest) & {*HELP, "--helpfull"}:
        print(_help(name, rest))
        return 0
    places, given = _parsed(name, rest)
    given.pop("verbosity", None)
    folder = _folder(name, places, given)
    logging.getLogger("jax").setLevel(logging.WARNING)
    logging.getLogger("absl").setLevel(logging.WARNING)  # checkpoints are chatty
    return _do(name, folder, places, given)


def _do(name: str, folder: Path, places: list[str], given: dict[str, Any]) -> int:
    if name in (*WORKS, "tell"):
        from banel_jax.commands import running

        _check_places(name, places, given, many=name == "tell")
        if name == "tell":
            return running.tell(folder, places)
        return getattr(running, name)(folder, given)
    if name == "controls":
        from banel_jax.commands import judging

        _check_places(name, places, given)
        return judging.controls(folder, given)
    from banel_jax.commands import reading

    if name == "export":
        if len(places) != 1:
            raise ValueError("export needs one file to write, after the folder")
        return reading.export(folder, given, places[0])
    _check_places(name, places, given)
    return getattr(reading, name)(folder, given)


def _check_places(name: str, places: list[str], given: dict[str, Any], many: bool = False) -> None:
    if many and not places:
        raise ValueError("tell needs a table of results, after the folder")
    if places and not many:
        raise ValueError(f"unknown argument {places[0]!r}; flags are given as --name=value")


def _folder(name: str, places: list[str], given: dict[str, Any]) -> Path:
    from banel_jax.runs import folder

    kept = given.pop("folder", None)
    if places:
        return folder.named(places.pop(0))
    if kept is None:
        raise ValueError(f"{name} needs the folder of a run: banel {name} FOLDER")
    return folder.named(kept)


def _parsed(name: str, words: list[str]) -> tuple[list[str], dict[str, Any]]:
    """What is given by its place, and flags by name; --a-b is --a_b."""
    from banel_jax.commands import settings

    flags = _flags(name)
    places: list[str] = []
    given: dict[str, Any] = {"set": []} if name in WORKS else {}
    config: dict[str, Any] = {}
    words = list(words)
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            places.append(word)
            continue
        flag, equals, value = word[2:].partition("=")
        flag = flag.replace("-", "_")
        if flag not in flags:
            settings.check_names([flag], "", more=[])
            raise ValueError(f"{name} takes no --{flag}; {name} --help lists its flags")
        if not equals and flags[flag] == "bool":
            value = "true"
        elif not equals:
            if not words:
                raise ValueError(f"--{flag} needs a value: --{flag}=VALUE")
            value = words.pop(0)
        if flag == "config":
            config = settings.merged(config, settings.from_toml(value))
        elif flag == "set":
            given["set"].append(value)
        else:
            given[flag] = value
    return places, settings.merged(config, given) if name in WORKS else given


def _flags(name: str) -> dict[str, str]:
    """The flags of a command, and which need no value."""
    from banel_jax.commands import judging, reading, settings

    both = {"verbosity": ""}
    if name in WORKS:
        kinds = {k: "bool" if one.kind is bool else "" for k, one in settings.known().items()}
        return kinds | both | {"config": ""}
    if name in READS:
        return {flag: "bool" if flag == "text" else "" for flag in reading.FILTERS} | both
    if name == "controls":
        return {flag: "bool" if flag == "told_nothing" else "" for flag in judging.FLAGS} | both
    return both


def _overview() -> str:
    from banel_jax.commands.help import columns

    lines = ["Learn from the failures of an expensive oracle, by command.", ""]
    lines += [f"{_program()} COMMAND FOLDER [--FLAG=VALUE ...]", ""]
    rows = [(f"{name} FOLDER{FORMS.get(name, '')}", text) for name, text in COMMANDS.items()]
    lines += columns(rows)
    lines += ["", "COMMAND --help lists its flags. The exit status is 0 when all is done, 75 where"]
    lines += ["answers are awaited, 1 for a mistake, with one line that says how to mend it."]
    return "\n".join(lines)


def _help(name: str, words: list[str]) -> str:
    from banel_jax.commands import fields, judging, reading, settings
    from banel_jax.commands.help import columns

    lines = [COMMANDS[name][0].upper() + COMMANDS[name][1:] + ".", ""]
    lines += [f"{_program()} {name} FOLDER{FORMS.get(name, '')} [--FLAG=VALUE ...]", ""]
    if name in (*READS, "controls"):
        texts = reading.FILTERS if name in READS else judging.FLAGS
        return "\n".join(lines + columns([(f"--{k}", v) for k, v in texts.items()]))
    if name not in WORKS:
        return "\n".join(lines[:-1])
    known, full = settings.known(), "--helpfull" in words
    row = lambda one: (f"--{one.name}={fields.as_text(one.value)}", one.text)
    first = ("--config=FILE.toml", "the flags below in a file, with a table [set]")
    shown = [row(known[flag]) for flag in (known if full else MAIN)]
    lines += columns([first, *shown], one_line=not full)
    if not full:
        return "\n".join([*lines, "", f"--helpfull lists {len(known) - len(MAIN)} more, and those "
                          "that --set takes for --algorithm=NAME."])  # fmt: skip
    from banel_jax.commands import algorithms

    usual = settings.What().algorithm
    given = [word.partition("=")[2] for word in words if word.startswith("--algorithm=")]
    kind = algorithms.KINDS.get([usual, *given][-1], algorithms.KINDS[usual])[0]
    lines += ["", f"--set of {kind.__name__.removesuffix('Config')}:"]
    own = [row(one) for one in fields.settings(kind())]
    return "\n".join(lines + columns([(flag[2:], text) for flag, text in own]))


def _program() -> str:
    return border.SCRIPT if Path(sys.argv[0]).name == border.SCRIPT else "python -m banel_jax"


def _told(error: BaseException) -> str | None:
    if "--verbosity=1" in sys.argv:
        return None
    return mistakes.in_one_line(error)
