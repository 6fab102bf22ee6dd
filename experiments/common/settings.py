"""Settings of all algorithms of a comparison, and whose they are."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from banel_jax.algorithms.auto import BOTH_SIDES
from banel_jax.algorithms.banel import BanelConfig
from banel_jax.algorithms.cuts import CutConfig
from banel_jax.algorithms.expert_iteration import ExpertIterationConfig
from banel_jax.algorithms.genetic import GeneticConfig
from banel_jax.algorithms.gflownet import GFlowNetConfig
from banel_jax.algorithms.hedge import HedgeConfig
from banel_jax.algorithms.policy_gradient import PolicyGradientConfig
from banel_jax.algorithms.pseudo_count import POLICY as PSEUDO_COUNT_POLICY
from banel_jax.algorithms.pseudo_count import PseudoCountConfig
from banel_jax.algorithms.rnd import POLICY as RND_POLICY
from banel_jax.algorithms.rnd import RndConfig
from banel_jax.algorithms.sequential_filtering import SequentialFilteringConfig
from banel_jax.algorithms.vsd import VsdConfig
from banel_jax.training import TrainingConfig

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
# What its centred advantages push down is the failures; without a success nothing moves.
PPO = PolicyGradientConfig(
    clip=0.2, centre=True, training=TrainingConfig(epochs=4, learning_rate=1e-3)
)
REINFORCE_REPLAY = PolicyGradientConfig(
    replay_size=1000, training=TrainingConfig(epochs=1, learning_rate=1e-3)
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
      both_sides: the same with a model of the successes too; starts from `ours_base`.
      ours_base: what `ours` and `ours_f1` start from, the prior or the prior broadened by its
        temperature ladder.
      ours_failure_dropout: of the failure models of `ours` and `filtering`.
      filtering: Algorithm 1.
      cut: the likeliest and the least likely cut of the prior, arms of the hedges.
      hedge: how `hedge` and `hedge_free` share a round among their arms.
      policy_gradient: REINFORCE.
      reinforce_replay: REINFORCE with a replay of the successes met.
      ppo: several epochs on a round, with PPO's clipped ratio.
      expert_iteration: the prior fitted to all successes.
      cbas: the same, each weighted by the prior over what it was drawn from.
      vsd: variational search distributions.
      genetic: the genetic algorithm.
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
    both_sides: BanelConfig = BOTH_SIDES
    ours_base: Literal["prior", "broadened"] = "prior"
    ours_failure_dropout: float = 0.1
    filtering: SequentialFilteringConfig = FILTERING
    cut: CutConfig = field(default_factory=CutConfig)
    hedge: HedgeConfig = field(default_factory=lambda: HedgeConfig(distinct=True))
    policy_gradient: PolicyGradientConfig = field(default_factory=PolicyGradientConfig)
    reinforce_replay: PolicyGradientConfig = REINFORCE_REPLAY
    ppo: PolicyGradientConfig = PPO
    expert_iteration: ExpertIterationConfig = field(default_factory=ExpertIterationConfig)
    cbas: ExpertIterationConfig = field(
        default_factory=lambda: ExpertIterationConfig(importance=1.0)
    )
    vsd: VsdConfig = field(default_factory=VsdConfig)
    genetic: GeneticConfig = field(default_factory=GeneticConfig)
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


def sized(setting: Any, settings: Settings) -> Any:
    """A setting with the number of candidates that all have."""
    return dataclasses.replace(setting, num_candidates=settings.num_candidates)
