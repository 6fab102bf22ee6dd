"""The methods of the digits, which all start from one base."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from banel_jax.algorithms.banel import BanelConfig, banel
from banel_jax.types import Algorithm, SequenceModel
from experiments.common import methods
from experiments.common.methods import Method, Settings


@dataclass(frozen=True, kw_only=True)
class Networks(methods.Networks):
    """Those of the task; what ours distils has the dropout that the prior was pretrained with.

    Attributes:
      generator: the prior with that dropout.
    """

    generator: SequenceModel


def _ours(setting: Callable[[Settings], BanelConfig], settings, networks) -> Algorithm:
    failure_model = networks.model(settings.ours_failure_dropout)
    return banel(networks.generator, setting(settings), failure_model)


def _named(name: str, title: str, **changes) -> Method:
    return methods.METHODS[name]._replace(
        title=title, base=lambda settings: settings.ours_base, **changes
    )


def _variant(name: str, title: str, setting: Callable[[Settings], BanelConfig]) -> Method:
    return _named(name, title, build=partial(_ours, setting))


_READ = {"ours": ("ours", "failure_dropout"), "filtering": ("filtering", "failure_dropout")}


def relevant(config) -> list[str]:
    """The flags, or groups of them, that the chosen methods read beside what all of them do."""
    found = [flag for n in config.chosen for flag in _READ.get(n.partition("_")[0], ())]
    return list(dict.fromkeys(found + ["broaden"] * (config.base == "broadened")))


_OURS = _variant("ours", "Algorithm 2, ours", methods.ours)
METHODS: dict[str, Method] = {
    "prior": _named("prior", "prior"),
    "ladder": _named("ladder", "tempered ladder"),
    "banel_f1": _named("banel_f1", "published, f = 1"),
    "banel": _named("banel", "Algorithm 2, published"),
    "ours_f1": _variant("ours_f1", "Algorithm 2, ours, f = 1", methods.ours_f1),
    "ours": _OURS,
    "filtering": _named("filtering", "Algorithm 1, ours"),
    "ours_told_nothing": _OURS._replace(
        title="ours, told nothing", control=True, sees_rewards=False
    ),
}
