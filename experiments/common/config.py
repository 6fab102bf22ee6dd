"""The settings that experiments share, each written once.

Their texts are found by `fields.settings` in the classes that an experiment's own derives from.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from banel_jax import checks
from experiments.common import choice, methods
from experiments.common.broadening import BroadenConfig
from experiments.common.methods import METHODS, Method, Networks, Settings


@dataclass(frozen=True, kw_only=True)
class SeedsConfig:
    """Of whatever runs several seeds for some rounds.

    Attributes:
      rounds: of every method.
      seeds: how many runs of each method.
      first_seed: the seeds are this one and those that follow.
      output: folder for the figures and summary.json.
    """

    rounds: int = 30
    seeds: int = 5
    first_seed: int = 0
    output: str = ""

    def __post_init__(self):
        checks.fields(self)
        checks.integers(self, "rounds", "seeds", at_least=1)
        checks.seeds(self, "first_seed")

    @property
    def every_seed(self) -> range:
        return range(self.first_seed, self.first_seed + self.seeds)


@dataclass(frozen=True, kw_only=True)
class MethodsConfig(SeedsConfig):
    """Of a comparison of methods that have names.

    Attributes:
      algorithms: which to run, by name; empty for all.
      rounds: of num_candidates reward evaluations each, of every algorithm.
      seeds: how many runs of each algorithm.
      broaden: the broadened prior.
      output: folder of the tables and figures.
      runs: folder of the trained models and of the runs themselves.
    """

    known: ClassVar[Mapping[str, Method]] = METHODS
    of_methods: ClassVar[tuple[str, ...]] = ("algorithms", "settings")  # alone

    algorithms: tuple[str, ...] = ()
    runs: str = ""
    broaden: BroadenConfig = field(default_factory=BroadenConfig)

    def __post_init__(self):
        super().__post_init__()
        choice.names(self, "algorithms", self.known)

    @property
    def chosen(self) -> tuple[str, ...]:
        return self.algorithms or tuple(self.known)

    @property
    def bases(self) -> frozenset[str]:
        """What the chosen ones start from."""
        settings: Any = getattr(self, "settings")  # noqa: B009 (a field or a property)
        return frozenset(self.known[name].base(settings) for name in self.chosen)

    def preparation(self) -> tuple[Any, ...]:
        """Equal where the same is prepared: most fields are of the methods alone."""
        names = [field.name for field in dataclasses.fields(self)]
        kept = [getattr(self, name) for name in names if name not in self.of_methods]
        return (*kept, self.bases)


@dataclass(frozen=True, kw_only=True)
class ComparisonConfig(MethodsConfig):
    """Of one whose networks follow from its settings alone.

    Attributes:
      seeds_at_once: in one compiled call, computed as one batch. All of them use a GPU best, 1
        a CPU.
      block: rounds in a compiled call; what it did is on disk before the next.
      settings: of the algorithms.
    """

    seeds_at_once: int = 5
    block: int = 5
    settings: Settings = field(default_factory=Settings)

    def __post_init__(self):
        super().__post_init__()
        checks.integers(self, "seeds_at_once", "block", at_least=1)
        methods.check(self, self.known)

    @property
    def networks(self) -> Networks:
        raise NotImplementedError
