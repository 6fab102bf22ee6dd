"""Which algorithms and settings a configuration chooses: whether they go, and what they read."""

from collections.abc import Collection, Mapping
from typing import Any

from banel_jax.models import table
from experiments.common.method import Method, Networks
from experiments.common.settings import Settings


def names(config: Any, field: str, known: Collection[str]) -> None:
    """Raises ValueError where the field has names that are not known."""
    unknown = [name for name in getattr(config, field) if name not in known]
    if unknown:
        raise ValueError(
            f"{field}={','.join(unknown)} is not known; choose among {', '.join(known)}"
        )


def check(config: Any, methods: Mapping[str, Method]) -> None:
    """Raises ValueError for an unknown algorithm, or settings that one of those chosen refuses."""
    names(config, "algorithms", methods)
    for name in config.chosen:  # their own checks, before anything is paid for
        methods[name].build(config.settings, config.networks)


def relevant(config: Any, methods: Mapping[str, Method]) -> list[str]:
    """The settings that the chosen algorithms read, as flags or groups of flags."""
    found: list[str] = []
    for name in config.chosen:
        found += [f"settings.{field}" for field in read_by(methods[name], config.settings)]
        if methods[name].base(config.settings) != "prior":
            found.append("broaden")
    return list(dict.fromkeys(found))


def read_by(method: Method, settings: Settings) -> list[str]:
    """What a method looks at where it is built, on a stand-in for its networks."""
    read: list[str] = []

    class Watched(Settings):
        def __getattribute__(self, name):
            if name in Settings.__dataclass_fields__:
                read.append(name)
            return object.__getattribute__(self, name)

    watched = object.__new__(Watched)
    watched.__dict__.update(vars(settings))
    stand_in = table.table(2, 2)
    method.build(
        watched,
        Networks(lambda dropout: stand_in, 1.0, 4, lambda sequences: sequences.tokens * 1.0),
    )
    method.base(watched)
    return list(dict.fromkeys(read))


def check_rounds(config: Any) -> None:
    """Raises ValueError where Algorithm 1 would end before it has all its filters."""
    filter_rounds = config.settings.filtering.filter_rounds
    if "filtering" in config.chosen and max(filter_rounds, default=0) >= config.rounds:
        raise ValueError(
            f"rounds={config.rounds} ends before settings.filtering.filter_rounds={filter_rounds}; "
            "give earlier ones, or more rounds"
        )


# What makes a run larger or smaller, or says where it lies, and changes no number of a seed.
FREE = (
    "algorithms", "seeds", "first_seed", "seeds_at_once", "block", "output", "runs", "prior_file",
    "target_file", "attacker_file", "data_dir",
)  # fmt: skip


def preset_of(config: Any, presets: Mapping[str, Any]) -> str:
    """The preset that a configuration is but for `FREE`, or `custom`."""
    kept = lambda c: {k: v for k, v in vars(c).items() if k not in FREE}
    return next((name for name, other in presets.items() if kept(other) == kept(config)), "custom")
