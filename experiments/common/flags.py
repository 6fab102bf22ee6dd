"""absl flags from the fields of a frozen dataclass, so that each default stands in one place.

A field `rounds: int = 20` becomes `--rounds=20`; the fields of a nested dataclass take its
name, `--banel.kappa=1`. Help texts come from the docstring's `Attributes:` section.
"""

import dataclasses
import logging
import re
import sys
import types
import typing
from collections.abc import Callable
from typing import Any, TypeVar

import jax
from absl import app, flags
from absl import logging as absl_logging

from experiments.common import border, mistakes

Config = TypeVar("Config")


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
    return _define(defaults, "", flag_values)


def run(
    main: Callable[[Config], Any],
    defaults: Config,
    presets: dict[str, Config] | None = None,
    sweep: Callable[[str, list[tuple[str, Config]]], Any] | None = None,
    resumes: bool = True,
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

    A person's mistake ends the program with one line; `--verbosity=1` shows where it came from.
    """
    stopped = border.GOES_ON if resumes else border.STARTS_ANEW
    border.program(lambda: _run(main, defaults, presets, sweep), stopped, _told)


def _run(main, defaults, presets, sweep):
    if presets:
        defaults = _chosen_preset(presets, defaults)
    given = [a for a in sys.argv[1:] if re.match(r"--?sweep\.", a)] if sweep else []
    sys.argv = [a for a in sys.argv if a not in given]
    read = define(defaults)

    def checked(argv):
        logging.getLogger("jax").setLevel(logging.WARNING)
        if not flags.FLAGS["verbosity"].present:
            absl_logging.set_verbosity(absl_logging.WARNING)  # checkpoints are chatty
        if len(argv) > 1:
            raise ValueError(f"unknown argument {argv[1]!r}; flags are given as --name=value")
        config = None if given else read()
        _start_jax()
        if config is None:
            sweep(*_points(given, read))
        else:
            main(config)

    app.run(checked, flags_parser=_parsed)


def _parsed(arguments):
    try:
        return flags.FLAGS(arguments)
    except flags.Error as error:
        raise ValueError(f"{error}; --help lists the flags") from error


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


def _define(defaults, prefix, flag_values):
    hints = typing.get_type_hints(type(defaults))
    help_texts = _help_texts(type(defaults).__doc__ or "")
    readers = {}
    module = sys.argv[0]  # how absl names the program, whose flags --help lists
    for field in dataclasses.fields(defaults):
        name, value = prefix + field.name, getattr(defaults, field.name)
        if dataclasses.is_dataclass(value):
            readers[field.name] = _define(value, name + ".", flag_values)
            continue
        help_text = help_texts.get(field.name, field.name)
        kind = hints[field.name]
        if kind is bool:
            flags.DEFINE_boolean(name, value, help_text, flag_values, module)
        else:
            parser = _Parser(kind, name)
            flags.DEFINE(parser, name, value, help_text, flag_values, _Serializer(), module)
        # Not through absl's FlagHolder, which refuses a None that is not the default.
        readers[field.name] = lambda name=name: flag_values[name].value
    return lambda: type(defaults)(**{name: read() for name, read in readers.items()})


class _Parser(flags.ArgumentParser):
    def __init__(self, kind, name):
        super().__init__()
        self.kind, self.syntactic_help = kind, _describe(kind, name)

    def parse(self, argument):
        return _parse(self.kind, argument) if isinstance(argument, str) else argument

    def flag_type(self):
        return self.syntactic_help


class _Serializer(flags.ArgumentSerializer):
    def serialize(self, value):
        if isinstance(value, tuple):
            return ",".join(map(str, value))
        return str(value)


def _describe(kind, name):
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind in (bool, int, float, str):
        return kind.__name__
    if origin is typing.Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return f"{_describe(arguments[0], name)}, separated by commas"
    if origin in (types.UnionType, typing.Union) and type(None) in arguments:
        rest = [a for a in arguments if a is not type(None)]
        return " or ".join([*(_describe(a, name) for a in rest), "none"])
    raise TypeError(f"no flag can be made of --{name}, of type {kind}")


def _parse(kind, text) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError(f"{text!r} is neither true nor false")
        return text.lower() == "true"
    if kind in (int, float, str):
        return kind(text)
    if origin is typing.Literal:
        matches = [a for a in arguments if str(a) == text]
        if not matches:
            raise ValueError(f"{text!r} is not {_describe(kind, '')}")
        return matches[0]
    if origin is tuple:
        return tuple(_parse(arguments[0], part) for part in text.split(",") if part)
    if text.lower() == "none":
        return None
    return _parse(next(a for a in arguments if a is not type(None)), text)


def _help_texts(docstring):
    """{field: text} from lines such as '  rounds, seeds: what they are'."""
    section = docstring.partition("Attributes:\n")[2]
    entries = re.split(r"\n(?= {6}\S| {4}\S)", "\n" + section.rstrip())
    indent = min((len(e) - len(e.lstrip()) for e in entries if e.strip()), default=0)
    texts = {}
    for entry in entries:
        match = re.match(r"([\w, ]+): (.*)", entry[indent:], re.DOTALL)
        if match:
            for name in match[1].split(","):
                texts[name.strip()] = " ".join(match[2].split())
    return texts
