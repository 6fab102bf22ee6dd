"""The settings of a run as a person gives them: flags, a TOML file, and what its folder keeps."""

import dataclasses
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from banel_jax import checks, files
from banel_jax.commands import fields
from banel_jax.commands.help import did_you_mean
from banel_jax.models.lora import LoraConfig
from banel_jax.runs import folder as run_folder
from banel_jax.runs import naming
from banel_jax.runs.config import RunConfig

KEPT = "may_change.command"  # where config.json has the flags that are not at their defaults


@dataclass(frozen=True)
class What:
    """What a run is made of.

    Attributes:
      prior: where it starts: a folder with a language model, a model's name (smollm2), a
        prior_cache file, a task of the library (two_circles, gaussian_1d), or module:function for
        a Task, or a model and its parameters.
      oracle: what answers: module:function, "command: PROGRAM ARGUMENT ...", by-hand, or a check
        of the text ("exact: TEXT", "numeric: NUMBER", "regex: PATTERN"); by default the task's own.
      algorithm: what learns: auto, banel, policy_gradient, expert_iteration, vsd, genetic,
        gflownet, sequential_filtering; cut and prior_sampling learn nothing.
      set: KEY=VALUE of the algorithm, such as num_candidates=100; may be given often.
      text: how sequences are read: "alphabet: CHARACTERS", or module:function of sequences; by
        default what the prior says.
      known: a table of sequences or texts whose rewards are known already, which costs nothing.
      workdir: where modules and programs are looked for; by default where they were named.
      prompt: of a language model.
      max_new_tokens: of a language model's response.
      workers: calls of the oracle at a time; by default 1, or 32 of an `async` function.
      how: where a Python oracle works: here, in threads, or in processes, which a timeout can end;
        auto takes processes where there are several workers or a timeout.
      per_call: begin the oracle's program anew for each call.
      train: what learns of the prior's weights: all, or low-rank adapters over them (lora); auto
        takes adapters for a language model.
      lora: the adapters.
      controls: at the end, say what the run's controls would have met, at no evaluation.
      tensorboard: write the metrics for TensorBoard too, into the folder's tensorboard/.
      mesh: devices to spread over: data for all of them, or like data:4,model:2, where weights are
        split over the second axis; by default one device, or all of several processes.
      hosts: makes this one of several processes that run together, with the same flags: auto where
        JAX finds the others, else HOST:PORT,N,I of the first, their number, and which this is.
      accept: fields of config.json, such as environment.jax, that may be others than when the run
        began; the change is written down there, and the flag is not kept.
    """

    prior: str = ""
    oracle: str = ""
    algorithm: Literal[
        "auto",
        "banel",
        "policy_gradient",
        "expert_iteration",
        "vsd",
        "genetic",
        "gflownet",
        "prior_sampling",
        "cut",
        "sequential_filtering",
    ] = "auto"
    set: tuple[str, ...] = ()
    text: str = ""
    known: str = ""
    workdir: str = ""
    prompt: str = ""
    max_new_tokens: int = 256
    workers: int | None = None
    how: Literal["auto", "here", "threads", "processes"] = "auto"
    per_call: bool = False
    train: Literal["auto", "all", "lora"] = "auto"
    lora: LoraConfig = field(default=LoraConfig())
    controls: bool = False
    tensorboard: bool = False
    mesh: str = ""
    hosts: str = ""
    accept: tuple[str, ...] = ()

    def __post_init__(self):
        checks.integers(self, "max_new_tokens", at_least=1)
        checks.integers(self, "workers", at_least=1, none=True)


PATHS = ("prior", "known", "workdir")
NAMED = ("prior", "oracle", "text")  # that may be modules or programs
BEFORE_AUTO = "banel"  # what folders mean that keep no algorithm
UNKEPT = ("set", "folder", "accept", "hosts")  # the first on lines of its own
Values = dict[str, Any]  # by flag: a text, and for `set` a list of them


def known() -> dict[str, fields.Setting]:
    """All flags of a run."""
    settings = [*fields.settings(What()), *fields.settings(RunConfig())]
    named = [one._replace(name=one.name.removeprefix("oracle.")) for one in settings]
    kinds = {"transient": tuple[str, ...]}  # names of exceptions
    return {one.name: one._replace(kind=kinds.get(one.name, one.kind)) for one in named}


def from_toml(path: str) -> Values:
    """The flags in a TOML file: its keys are their names, and `[set]` the algorithm's settings.

    Raises:
      ValueError: in one line that names the file.
    """
    try:
        given = tomllib.loads(files.read_text(files.expand(path)))
    except (OSError, ValueError, RecursionError) as error:
        told = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"--config={path} cannot be read: {told}") from error
    algorithm = given.pop("set", {})
    if not isinstance(algorithm, dict):
        raise ValueError(f"--config={path}: set must be a table of the algorithm's settings")
    values: Values = {name: _text(value) for name, value in naming.flatten(given).items()}
    values["set"] = [f"{k}={_text(value)}" for k, value in naming.flatten(algorithm).items()]
    check_names(values, f"--config={path}: ", more=("folder",))
    return values


def _text(value: Any) -> str:
    return fields.as_text(tuple(value) if isinstance(value, list) else value)


def check_names(names: Iterable[str], where: str = "", more: Sequence[str] = ()) -> None:
    """Raises: ValueError: for a name that is no flag, with the nearest."""
    flags = [*known(), *more]
    for name in names:
        if name not in flags:
            raise ValueError(f"{where}unknown setting {name!r}{did_you_mean(name, flags)}")


def kept(folder: Path) -> Values:
    """The flags that a run's folder keeps; none where it was not begun by a command.

    Raises:
      ValueError: where its `config.json` is damaged.
    """
    path = folder / "config.json"
    lines = run_folder.in_force(path).get(KEPT, []) if path.exists() else []
    values: Values = {"set": []}
    for line in lines if isinstance(lines, list) else []:
        name, _, value = str(line).partition("=")
        values |= {name: [*values["set"], value] if name == "set" else value}
    if lines and "algorithm" not in values:
        values["algorithm"] = BEFORE_AUTO
    return {name: value for name, value in values.items() if name in known()}


def merged(*given: Values) -> Values:
    """Later ones go before; the algorithm's settings are added up."""
    values: Values = {}
    algorithm: dict[str, str] = {}
    for one in given:
        values |= one
        for pair in one.get("set", []):
            name, equals, value = pair.partition("=")
            if not equals:
                raise ValueError(
                    f"--set={pair} must be KEY=VALUE, such as --set=num_candidates=100"
                )
            algorithm[name.strip()] = value.strip()
    return values | {"set": [f"{name}={value}" for name, value in algorithm.items()]}


def to_keep(values: Values) -> Mapping[str, Any]:
    """What `run` is to write down of the flags, outside the run's identity."""
    said = {"algorithm": What().algorithm} | values  # so that another default leaves it as it is
    lines = [f"{k}={v}" for k, v in sorted(said.items()) if k not in UNKEPT]
    return {"may_change": {"command": [*lines, *(f"set={pair}" for pair in values["set"])]}}


def built(values: Values) -> tuple[What, RunConfig]:
    """The settings.

    Raises:
      ValueError: in one line that names the flag.
    """
    flags = known()
    parsed: dict[str, Any] = {}
    for name, value in values.items():
        if name not in ("set", "folder"):
            parsed[name] = fields.flag(name, flags[name].kind, value)
    in_run = {name: parsed[name] for name in parsed if name not in _own()}
    oracle = {f.name for f in dataclasses.fields(RunConfig().oracle)}
    in_run = {f"oracle.{name}" if name in oracle else name: v for name, v in in_run.items()}
    try:
        own = {k: v for k, v in parsed.items() if k in _own()}
        what = fields.replaced(What(), own | {"set": tuple(values["set"])})
        return what, fields.replaced(RunConfig(), in_run)
    except ValueError as error:
        raise ValueError(f"--{str(error).removeprefix('oracle.')}") from error


def _own() -> set[str]:
    return {setting.name for setting in fields.settings(What())}


def absolute(values: Values) -> Values:
    """With paths that mean the same in any folder, and this one as the one that names belong to."""
    paths = {name: files.expand(values[name]) for name in PATHS if values.get(name)}
    if any(name in values for name in NAMED):
        paths.setdefault("workdir", Path.cwd())
    return values | {name: str(path.absolute()) for name, path in paths.items() if path.exists()}
