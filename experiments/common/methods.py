"""The algorithms of a comparison: how each is built, and what it computes."""

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax.algorithms.banel import BanelConfig, banel
from banel_jax.algorithms.gflownet import GFlowNetConfig, gflownet
from banel_jax.algorithms.policy_gradient import PolicyGradientConfig, policy_gradient
from banel_jax.algorithms.prior_sampling import prior_sampling
from banel_jax.algorithms.pseudo_count import POLICY as PSEUDO_COUNT_POLICY
from banel_jax.algorithms.pseudo_count import PseudoCountConfig, pseudo_count
from banel_jax.algorithms.rnd import POLICY as RND_POLICY
from banel_jax.algorithms.rnd import RndConfig, rnd
from banel_jax.algorithms.sequential_filtering import (
    SequentialFilteringConfig,
    sequential_filtering,
)
from banel_jax.models import table, tempering
from banel_jax.models.transformer import TransformerConfig, transformer
from banel_jax.training import TrainingConfig
from banel_jax.types import Algorithm, SequenceModel, Sequences, Task

PUBLISHED = BanelConfig()  # whose defaults are the paper's

# The failure model starts from nothing, so it learns what failures have in common and little
# more; one that starts from the prior's weights knows all that the prior knows, and their ratio
# says nothing. Half its weight in the ratio keeps what both find unlikely from passing.
_FRESH = TrainingConfig(epochs=12, batch_size=10, learning_rate=1e-3)
OURS = BanelConfig(
    filter_factor=8.0,
    kappa=0.5,
    failure_start="fresh",
    failure_rounds=2,
    failure_training=_FRESH,
    num_distilled=500,
    generator_training=TrainingConfig(epochs=6, learning_rate=3e-4),
)
# A few weak filters: what passes many of them looks like the targets, and another failure model
# would learn to reject those.
FILTERING = SequentialFilteringConfig(
    filter_factor=2.0,
    kappa=0.5,
    failure_start="fresh",
    failure_rounds=4,
    failure_training=dataclasses.replace(_FRESH, epochs=6),
    filter_rounds=(12, 16, 20, 24),
    max_filters=6,
    acceptance_floor=5e-5,
)
# At 1e-4, the rate of the other policies, RND loses its 0s within eight rounds.
SLOWER_RND_POLICY = dataclasses.replace(
    RND_POLICY, training=dataclasses.replace(RND_POLICY.training, learning_rate=1e-5)
)


@dataclass(frozen=True)
class Settings:
    """Settings of all algorithms; the fields up to generator_learning_rate are the paper's own.

    Attributes:
      num_candidates: m, reward evaluations a round, of every algorithm.
      filter_factor: f of `banel` and of its variants.
      kappa: of `banel` and of its variants.
      length_normalised: of `banel` and its variants, on GSM8K alone.
      ratio_against: of `banel` and its variants (Figure 9).
      failure_start: where the failure model of `banel` and its variants starts, which the paper
        does not say.
      failure_epochs: of the failure model's fit in `banel` and its variants.
      failure_learning_rate: of that fit; not in the paper.
      generator_epochs: of the distillation in `banel`, its variants and `banel_f1`.
      generator_learning_rate: of that; not in the paper.
      ours: this project's variant of Algorithm 2.
      ours_base: what `ours` and `ours_f1` start from, the prior or the prior broadened by its
        temperature ladder.
      ours_failure_dropout: of the failure models of `ours` and `filtering`.
      filtering: Algorithm 1.
      policy_gradient: REINFORCE.
      negative_rl: Eq. 1.
      rnd: the bonus of random network distillation.
      rnd_policy: the policy gradient under it.
      pseudo_count: the count-based bonus.
      pseudo_count_policy: the policy gradient under it.
      gflownet_tb: trajectory balance (Eq. 2).
      gflownet_vargrad: its VarGrad form (Eq. 3).
      rtb: relative trajectory balance, whose target is the prior times the reward.
    """

    set_for_all: ClassVar[tuple[str, ...]] = ("num_candidates",)

    num_candidates: int = PUBLISHED.num_candidates
    filter_factor: float = PUBLISHED.filter_factor
    kappa: float = PUBLISHED.kappa
    length_normalised: bool = False
    ratio_against: Literal["base", "generator"] = "base"
    failure_start: Literal["base", "carry", "fresh"] = "fresh"
    failure_epochs: int = PUBLISHED.failure_training.epochs
    failure_learning_rate: float = PUBLISHED.failure_training.learning_rate
    generator_epochs: int = PUBLISHED.generator_training.epochs
    generator_learning_rate: float = PUBLISHED.generator_training.learning_rate
    ours: BanelConfig = OURS
    ours_base: Literal["prior", "broadened"] = "prior"
    ours_failure_dropout: float = 0.1
    filtering: SequentialFilteringConfig = FILTERING
    policy_gradient: PolicyGradientConfig = field(default_factory=PolicyGradientConfig)
    negative_rl: PolicyGradientConfig = field(
        default_factory=lambda: PolicyGradientConfig(baseline=1.0)
    )
    rnd: RndConfig = field(default_factory=RndConfig)
    rnd_policy: PolicyGradientConfig = SLOWER_RND_POLICY
    pseudo_count: PseudoCountConfig = field(default_factory=PseudoCountConfig)
    pseudo_count_policy: PolicyGradientConfig = PSEUDO_COUNT_POLICY
    gflownet_tb: GFlowNetConfig = field(
        default_factory=lambda: GFlowNetConfig(objective="trajectory_balance")
    )
    gflownet_vargrad: GFlowNetConfig = field(
        default_factory=lambda: GFlowNetConfig(objective="vargrad")
    )
    rtb: GFlowNetConfig = field(
        default_factory=lambda: GFlowNetConfig(
            objective="trajectory_balance", relative_to_prior=True
        )
    )

    def published(self) -> BanelConfig:
        """Algorithm 2 with the settings of Appendix B.2; successes are left out as there."""
        fit = lambda epochs, rate: TrainingConfig(epochs=epochs, learning_rate=rate)
        return BanelConfig(
            num_candidates=self.num_candidates,
            filter_factor=self.filter_factor,
            kappa=self.kappa,
            length_normalised=self.length_normalised,
            ratio_against=self.ratio_against,
            failure_training=fit(self.failure_epochs, self.failure_learning_rate),
            generator_training=fit(self.generator_epochs, self.generator_learning_rate),
            failure_start=self.failure_start,
            drop_successes=True,
        )


@dataclass(frozen=True)
class Networks:
    """What a task gives its algorithms to work with.

    Attributes:
      model: the prior's functions, by the dropout to train it with; one object for one number, so
        that nothing is compiled twice.
      flops: of one forward pass over a sequence.
      observed: numbers in what random network distillation sees of a sequence.
      observe: what it sees of sequences, float32 [n, observed]; None for its tokens as indicators.
      failure_model: of Algorithm 2, where it is not the prior's.
    """

    model: Callable[[float], SequenceModel]
    flops: float
    observed: int
    observe: Callable[[Sequences], jax.Array] | None = None
    failure_model: SequenceModel | None = None


class Method(NamedTuple):
    """One algorithm of the comparison.

    Attributes:
      title: in tables and figures.
      control: whether it is one: what it reaches is no gain from negative evidence.
      build: `build(settings, networks) -> Algorithm`.
      work: `work(settings, metrics) -> sequences`, the forward passes of the sequence model
        that one seed takes, a training step counted as three; evaluation is left out.
      base: what it starts from.
      other_flops: `other_flops(settings, networks)`, of one candidate's passes through other
        networks, their training counted likewise.
      sees_rewards: whether it is told the rewards; one that is not gets 0 for every answer.
    """

    title: str
    control: bool
    build: Callable[[Settings, Networks], Algorithm]
    work: Callable[[Settings, Mapping[str, np.ndarray]], float]
    base: Callable[[Settings], str] = lambda settings: "prior"
    other_flops: Callable[[Settings, Networks], float] = lambda settings, networks: 0.0
    sees_rewards: bool = True

    def task(self, task: Task) -> Task:
        """The task as this method gets to see it."""
        nothing = lambda sequences: jnp.zeros(sequences.tokens.shape[0])
        return task if self.sees_rewards else task._replace(reward_fn=nothing)

    @property
    def configuration(self) -> dict[str, Any]:
        """What determines the numbers beside the algorithm's settings."""
        return {} if self.sees_rewards else {"told": False}


@cache
def network(config: TransformerConfig, dropout: float = 0.0) -> SequenceModel:
    return transformer(dataclasses.replace(config, dropout=dropout))


def of_transformer(
    config: TransformerConfig,
    observed: int,
    observe: Callable[[Sequences], jax.Array] | None = None,
) -> Networks:
    """Where prior and failure model are this decoder."""
    return Networks(partial(network, config), flops_per_sequence(config), observed, observe)


def _sampling(settings, networks, ladder=False):
    model = networks.model(0.0)
    return prior_sampling(tempering.ladder(model) if ladder else model, settings.num_candidates)


def _banel(setting, settings, networks):
    return banel(networks.model(0.0), setting(settings), networks.failure_model)


def _ours(setting, settings, networks):
    failure_model = networks.failure_model or networks.model(settings.ours_failure_dropout)
    return banel(networks.model(0.0), setting(settings), failure_model)


def _sized(setting, settings):
    return dataclasses.replace(setting, num_candidates=settings.num_candidates)


def _filtering(settings, networks):
    failure_model = networks.model(settings.ours_failure_dropout)
    return sequential_filtering(
        networks.model(0.0), _sized(settings.filtering, settings), failure_model
    )


def _policy(name, settings, networks):
    return policy_gradient(networks.model(0.0), _sized(getattr(settings, name), settings))


def _rnd(settings, networks):
    policy = _sized(settings.rnd_policy, settings)
    return rnd(networks.model(0.0), policy, settings.rnd, networks.observe)


def _pseudo_count(settings, networks):
    policy = _sized(settings.pseudo_count_policy, settings)
    return pseudo_count(networks.model(0.0), policy, settings.pseudo_count)


def _gflownet(name, settings, networks):
    return gflownet(networks.model(0.0), _sized(getattr(settings, name), settings))


def ours(settings: Settings) -> BanelConfig:
    return _sized(settings.ours, settings)


def _published(settings, **changes):
    return dataclasses.replace(settings.published(), **changes)


def _rounds(metrics):
    return metrics["round"].shape[1]


def _sampling_work(settings, metrics):
    return settings.num_candidates * _rounds(metrics)


def _banel_work(setting, settings, metrics):
    c, rounds = setting(settings), _rounds(metrics)
    drawn = c.distilled * c.filter_factor
    total = rounds * drawn * 2  # drawn and scored by the base
    total += 3 * c.distilled * c.generator_training.epochs * (rounds - 1)
    if not c.filters:
        return total
    total += rounds * drawn
    if c.past_filters:  # what is drawn for one that passes, each scored by the first filters
        drawn_all = drawn / np.maximum(_passed(metrics, c.filter_factor), 1e-9)
        total += np.mean(np.sum(3 * (drawn_all - drawn), axis=1))
    failures = c.num_candidates * np.minimum(np.arange(1, rounds + 1), c.failure_rounds)
    return total + 3 * np.mean(np.sum(failures * metrics["failure_epochs"], axis=1))


def _passed(metrics, factor):
    """Share of the generator's samples that passed the past filters."""
    return np.minimum(metrics["acceptance"] * factor, 1.0)


def _filtering_work(settings, metrics):
    c = _sized(settings.filtering, settings)
    rounds = np.arange(_rounds(metrics))
    due = np.isin(rounds, c.filter_rounds) if c.filter_rounds else rounds > 0
    # A round of a new filter chooses among f times as many as it needs.
    factor = np.where(due, c.filter_factor, 1.0)
    wanted = c.num_candidates * np.where(due | (not c.filter_rounds), c.filter_factor, 1.0)
    drawn = wanted / np.maximum(_passed(metrics, factor), 1e-9)
    met = 1 / (1 - 1 / c.filter_factor) if c.filter_factor > 1 else len(rounds)  # filters a sample
    total = np.mean(np.sum(drawn * (1 + met) + wanted, axis=1))
    failures = c.num_candidates * np.minimum(rounds + 1, c.failure_rounds)
    return total + 3 * np.mean(np.sum(failures * metrics["failure_epochs"], axis=1))


def _policy_work(name, settings, metrics, extra=0.0):
    # Drawn, scored by the policy and by the base, then trained on.
    epochs = getattr(settings, name).training.epochs
    return settings.num_candidates * _rounds(metrics) * (3 + 3 * epochs + extra)


def _rnd_flops(settings, networks):
    c = settings.rnd
    widths = [networks.observed, *[c.width] * (c.num_layers - 1), c.num_features]
    products = lambda widths: 2 * sum(a * b for a, b in itertools.pairwise(widths))
    target = products(widths)
    predictor = products(widths + [c.num_features] * c.predictor_extra_layers)
    # The predictor errs before and after, and learns in between.
    return target + predictor * (2 + 3 * c.epochs)


def _variants(**changes):
    setting = partial(_published, **changes)
    return partial(_banel, setting), partial(_banel_work, setting)


def ours_f1(settings: Settings) -> BanelConfig:
    """No filter; where copies go last, among as many proposals, chance alone decides the rest."""
    c = ours(settings)
    return dataclasses.replace(
        c,
        filter_factor=c.filter_factor if c.distinct else 1.0,
        kappa=0.0,
        ratio_against="nothing",
        rejection="best",  # a fixed threshold or weights would filter at f = 1 too
        past_filters=0,
        failure_training=_NO_FIT,
    )


def _ours_by_prior(settings):
    """No failure model: what ranking by likelihood alone would do."""
    return dataclasses.replace(
        ours(settings), kappa=0.0, rejection="best", failure_training=_NO_FIT
    )


# A control that needs no failure model is the same whatever that model's settings are.
_NO_FIT = TrainingConfig(epochs=0)
_OURS_BASE = lambda settings: settings.ours_base


def variant_of_ours(
    title: str, control: bool, setting: Callable[[Settings], BanelConfig]
) -> Method:
    """Algorithm 2 with what `ours` starts from and its failure model's dropout."""
    return Method(
        title, control, partial(_ours, setting), partial(_banel_work, setting), _OURS_BASE
    )


METHODS: dict[str, Method] = {
    "prior": Method("prior", True, _sampling, _sampling_work),
    "ladder": Method("tempered ladder", True, partial(_sampling, ladder=True), _sampling_work),
    "broadened": Method(
        "broadened prior", True, _sampling, _sampling_work, lambda settings: "broadened"
    ),
    "banel_f1": Method(
        "BaNEL, no filter (f = 1)",
        True,
        *_variants(
            filter_factor=1.0,
            ratio_against="base",
            failure_start="base",
            failure_training=_NO_FIT,
        ),
    ),
    "ours_f1": variant_of_ours("ours, chance in place of the filter (f = 1)", True, ours_f1),
    "ours_by_prior": variant_of_ours(
        "ours, ranked by the prior alone (kappa = 0)", True, _ours_by_prior
    ),
    "banel": Method("BaNEL, as published", False, *_variants()),
    "banel_base": Method(
        "BaNEL, failure model from the prior", False, *_variants(failure_start="base")
    ),
    "importance": Method("BaNEL, importance weights", False, *_variants(rejection="importance")),
    "inverse": Method("BaNEL, 1 / p_phi", False, *_variants(ratio_against="nothing")),
    "ours": variant_of_ours("BaNEL, ours", False, ours),
    "filtering": Method("Algorithm 1", False, _filtering, _filtering_work, _OURS_BASE),
    "policy_gradient": Method(
        "policy gradient",
        False,
        partial(_policy, "policy_gradient"),
        partial(_policy_work, "policy_gradient"),
    ),
    "negative_rl": Method(
        "negative RL", False, partial(_policy, "negative_rl"), partial(_policy_work, "negative_rl")
    ),
    "rnd": Method("RND", False, _rnd, partial(_policy_work, "rnd_policy"), other_flops=_rnd_flops),
    # The density model learns each candidate, which scores it first, and scores it again.
    "pseudo_count": Method(
        "pseudo-count", False, _pseudo_count, partial(_policy_work, "pseudo_count_policy", extra=4)
    ),
    "gflownet_tb": Method(
        "GFlowNet, trajectory balance",
        False,
        partial(_gflownet, "gflownet_tb"),
        partial(_policy_work, "gflownet_tb"),
    ),
    "gflownet_vargrad": Method(
        "GFlowNet, VarGrad",
        False,
        partial(_gflownet, "gflownet_vargrad"),
        partial(_policy_work, "gflownet_vargrad"),
    ),
    "rtb": Method(
        "relative trajectory balance",
        False,
        partial(_gflownet, "rtb"),
        partial(_policy_work, "rtb"),
    ),
}


def flops_per_sequence(config: TransformerConfig) -> float:
    """Of one forward pass over a sequence: its matrix products, attention among them."""
    length, width = config.length, config.width
    dense = 2 * length * width * (config.num_layers * width * (4 + 2 * config.mlp_ratio))
    attention = config.num_layers * 2 * 2 * length**2 * width / 2  # causal: half of the square
    return dense + attention + 2 * length * width * config.vocab_size


def flops(config: Any, method: Method, metrics: Mapping[str, np.ndarray]) -> float:
    """Of one seed, from an experiment's configuration and what its rounds measured."""
    per_sequence = config.networks.flops
    candidates = config.rounds * config.settings.num_candidates
    other = candidates * method.other_flops(config.settings, config.networks)
    return float(method.work(config.settings, metrics) * per_sequence + other)


def check(config: Any, methods: Mapping[str, Method]) -> None:
    """Raises ValueError for an unknown algorithm, or settings that one of those chosen refuses."""
    unknown = [name for name in config.algorithms if name not in methods]
    if unknown:
        raise ValueError(
            f"algorithms={','.join(unknown)} is not known; choose among {', '.join(methods)}"
        )
    for name in config.chosen:  # their own checks, before anything is paid for
        methods[name].build(config.settings, config.networks)


def relevant(config: Any, methods: Mapping[str, Method]) -> list[str]:
    """The settings that the chosen algorithms read, as flags or groups of flags."""
    found: list[str] = []
    for name in config.chosen:
        found += [f"settings.{field}" for field in _read_by(methods[name], config.settings)]
        if methods[name].base(config.settings) == "broadened":
            found.append("broaden")
    return list(dict.fromkeys(found))


def _read_by(method: Method, settings: Settings) -> list[str]:
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
