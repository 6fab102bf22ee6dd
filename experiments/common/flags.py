"""absl flags from the fields of a frozen dataclass, so that each default stands in one place.

A field `rounds: int = 20` becomes `--rounds=20`; the fields of a nested dataclass take its
name, `--banel.kappa=1`. Help texts come from the docstring's `Attributes:` section.
"""

import logging
import re
import sys
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

import jax
from absl import app, flags
from absl import logging as absl_logging

from banel_jax import parallel
from banel_jax.commands import fields
from banel_jax.commands.help import did_you_mean
from banel_jax.runs import border, mistakes
from experiments.common import compilation, help

Config = TypeVar("Config")
CACHE, MESH = "compilation_cache", "mesh"  # flags of every program


def define(defaults: Config, flag_values: flags.FlagValues = flags.FLAGS) -> Callable[[], Config]:
    """Defines a flag for every field of a configuration.

    Args:
      defaults: instance of a dataclass. Fields may be bool, int, float, str, Literal, tuples
        of these of any length (given with commas), any of them or None (given as `none`),
        and dataclasses.
      flag_values: where to define them.

    Returns:
      A function that, once flags are parsed, builds the configuration.

    Raises:
      TypeError: if a field has another type.
    """
    known = list(fields.settings(defaults))
    module = sys.argv[0]  # how absl names the program
    for name, kind, value, text, _ in known:
        if kind is bool:
            flags.DEFINE_boolean(name, value, text, flag_values, module)
        else:
            flags.DEFINE(_Parser(kind, name), name, value, text, flag_values, _Serializer(), module)
    # Not through absl's FlagHolder, which refuses a None that is not the default.
    return lambda: fields.replaced(defaults, {s.name: flag_values[s.name].value for s in known})


def run(
    main: Callable[[Config], Any],
    defaults: Config,
    presets: dict[str, Config] | None = None,
    sweep: Callable[[str, list[tuple[str, Config]]], Any] | None = None,
    resumes: bool = True,
    relevant: Callable[[Config], Collection[str]] | None = None,
    positional: Sequence[str] = (),
) -> None:
    """Parses the flags into a configuration, runs `main` on it and ends the process.

    Args:
      main: the program.
      defaults: of every flag.
      presets: other defaults by name, for `--preset=NAME`; flags given beside it go before.
      sweep: `sweep(field, [(value, configuration), ...])`, run in place of `main` where
        `--sweep.FIELD=VALUE,VALUE` is given. FIELD is a flag's name, or its last part where
        no other flag ends so.
      resumes: stopped, the same command goes on where it was; said where it is stopped.
      relevant: the flags, or groups of them, that matter to what a configuration runs; `--help`
        shows them where `--algorithms` is given.
      positional: flags that may also be given without their names, in this order.

    A person's mistake ends the program with one line; `--verbosity=1` shows where it came from.
    """
    stopped = border.GOES_ON if resumes else border.STARTS_ANEW
    border.program(
        lambda: _run(main, defaults, presets, sweep, relevant, positional), stopped, _told
    )


def _run(main, defaults, presets, sweep, relevant, positional=()):
    if presets:
        defaults = _chosen_preset(presets, defaults)
    kept = "folder for what is compiled; empty for none, by default in the user's cache"
    spread = "devices to spread over, such as data:4,model:2 (docs/run.md); by default one"
    for name, text in {CACHE: kept, MESH: spread}.items():
        flags.DEFINE_string(name, None, text, module_name=sys.argv[0])
    given = [a for a in sys.argv[1:] if re.match(r"--?sweep\.", a)] if sweep else []
    sys.argv = [a for a in sys.argv if a not in given]
    read = define(defaults)
    if kind := help.wanted(sys.argv[1:]):
        print(_help(kind, defaults, presets or {}, sweep, relevant, read, positional))
        return

    def checked(argv):
        logging.getLogger("jax").setLevel(logging.WARNING)
        if not flags.FLAGS["verbosity"].present:
            absl_logging.set_verbosity(absl_logging.WARNING)  # checkpoints are chatty
        if len(argv) > 1 + len(positional):
            last = argv[1 + len(positional)]
            raise ValueError(f"unknown argument {last!r}; flags are given as --name=value")
        for name, value in zip(positional, argv[1:], strict=False):
            flags.FLAGS[name].parse(value)
        compilation.keep(flags.FLAGS[CACHE].value)
        config = None if given else read()
        _start_jax()
        with parallel.under(flags.FLAGS[MESH].value):
            if config is None:
                sweep(*_points(given, read))
            else:
                main(config)

    app.run(checked, flags_parser=_parsed)


def _parsed(arguments):
    try:
        return flags.FLAGS(arguments)
    except flags.UnrecognizedFlagError as error:
        near = did_you_mean(error.flagname, flags.FLAGS)
        line = f"Unknown command line flag {error.flagname!r}{near}; --helpfull lists all flags"
        raise ValueError(line) from error
    except flags.Error as error:
        raise ValueError(f"{error}; --help lists the flags") from error


def _help(kind, defaults, presets, sweep, relevant, read, positional):
    about = sys.modules["__main__"].__doc__ or ""
    forms = {CACHE: "FOLDER", MESH: "AXES"}
    more = {f"{name}={form}": flags.FLAGS[name].help for name, form in forms.items()}
    if kind == "full":
        return help.full(about, defaults, presets, more)
    given = [a for a in sys.argv if a not in help.SHORT]
    chosen: Collection[str] = ()
    if relevant and any(re.match(r"--?algorithms\b", a) for a in given):
        _parsed(given)
        chosen = relevant(read())
    program = " ".join([border.program_name(), *(name.upper() for name in positional)])
    return help.short(program, about, defaults, presets, more, chosen, sweep is not None)


def _start_jax():
    try:
        jax.devices()
    except RuntimeError as error:
        raise ValueError(f"JAX cannot start: {error}") from error


def _told(error):
    if flags.FLAGS.is_parsed() and flags.FLAGS.verbosity > 0:
        return None
    return mistakes.in_one_line(error, {name: flags.FLAGS[name].value for name in flags.FLAGS})


def _points(given, read):
    """(field, [(value, configuration)]) of the one `--sweep.FIELD=VALUES` that is given."""
    if len(given) > 1:
        raise ValueError(f"{' '.join(given)}: sweep one field at a time")
    name, _, values = given[0].lstrip("-").removeprefix("sweep.").partition("=")
    every = [n for n in flags.FLAGS if n == name] or [
        n for n in flags.FLAGS if n.rpartition(".")[2] == name
    ]
    if len(every) != 1 or not values:
        known = f"; there are {', '.join(every)}" if every else ""
        raise ValueError(
            f"{given[0]} names no one field and its values{known}; give it as "
            "--sweep.FIELD=VALUE,VALUE, with FIELD as --help lists them"
        )
    points = []
    for value in values.split(","):
        try:
            flags.FLAGS[every[0]].parse(value)
        except flags.IllegalFlagValueError as error:
            raise ValueError(f"{given[0]}: {error}") from error
        points.append((value, read()))
    if len(points) > 1 and all(config == points[0][1] for _, config in points):
        raise ValueError(f"{given[0]}: {every[0]} is no setting, or its values are all the same")
    return every[0], points


def _chosen_preset(presets, defaults):
    """The preset named in the arguments, from which all other flags take their defaults."""
    names = ", ".join(presets)
    flags.DEFINE_string("preset", None, f"settings to start from: {names}", module_name=sys.argv[0])
    chosen = [a for a in sys.argv[1:] if re.match(r"--?preset\b", a)]
    if not chosen:
        return defaults
    name = chosen[-1].partition("=")[2]
    if name not in presets:
        sys.exit(f"error: {chosen[-1]!r} names no preset; give --preset=NAME with one of {names}")
    return presets[name]


class _Parser(flags.ArgumentParser):
    def __init__(self, kind, name):
        super().__init__()
        self.kind, self.syntactic_help = kind, fields.describe(kind, name)

    def parse(self, argument):
        return fields.parse(self.kind, argument) if isinstance(argument, str) else argument

    def flag_type(self):
        return self.syntactic_help


class _Serializer(flags.ArgumentSerializer):
    def serialize(self, value):
        return fields.as_text(value)
