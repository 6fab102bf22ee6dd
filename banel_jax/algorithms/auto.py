"""What to use where nothing says better: a hedge whose one learner looks at both sides.

Until a success is met, a round's candidates are shared evenly among the prior, its ladder of
temperatures, its likeliest and least likely samples, and what BaNEL's filter lets through, which
learns from all of their failures. From then on the shares follow the successes, and BaNEL's ratio
is that of a success model and a failure model.
"""

import dataclasses
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp

from banel_jax import checks
from banel_jax.algorithms.banel import banel
from banel_jax.algorithms.banel_config import BanelConfig
from banel_jax.algorithms.cuts import CutConfig
from banel_jax.algorithms.hedge import HedgeConfig, free_arms, hedge
from banel_jax.models import tempering
from banel_jax.training import TrainingConfig
from banel_jax.types import Algorithm, SequenceModel

BOTH_SIDES = BanelConfig(
    filter_factor=4.0,
    ratio_against="successes",
    replay=1.0,
    failure_rounds=30,
    failure_weighting=0.5,
    failure_training=TrainingConfig(epochs=5, learning_rate=5e-4),
    num_distilled=1000,
    generator_training=TrainingConfig(epochs=4, learning_rate=2e-3, decay_steps=80),
    distinct=True,
    prefer_new=True,
)
PARTS = 5


@dataclass(frozen=True)
class AutoConfig:
    """Settings of `auto`.

    Attributes:
      num_candidates: m, reward evaluations a round; of the parts as well, whatever they say.
      both_sides: what learns.
      cut: the likeliest and the least likely samples of the prior.
      hedge: how candidates are shared.

    Raises:
      ValueError: in one line, for a field of another type or outside its range.
    """

    num_candidates: int = 250
    both_sides: BanelConfig = BOTH_SIDES
    cut: CutConfig = field(default_factory=CutConfig)
    hedge: HedgeConfig = field(default_factory=lambda: HedgeConfig(floor=0.05, distinct=True))

    def __post_init__(self):
        checks.fields(self)
        checks.integers(self, "num_candidates", at_least=1)
        if self.num_candidates < PARTS:
            raise ValueError(
                f"num_candidates={self.num_candidates} must be at least {PARTS}, one for each part "
                "of auto; any other algorithm takes fewer"
            )


def auto(
    model: SequenceModel, config: AutoConfig, failure_model: SequenceModel | None = None
) -> Algorithm:
    """A hedge of four proposals that cost nothing and of BaNEL with a ratio of both sides.

    The chance that a candidate succeeds is at least a fifth of that of the best of the five,
    until the first success (`hedge`). A round costs m reward evaluations and what its five parts
    compute. `sample` and `log_prob` are those of the part with the largest share.

    Args:
      model: the prior's functions.
      config: settings.
      failure_model: of BaNEL; by default `model` itself.

    Returns:
      The algorithm: `ask` gives m candidates, `tell` takes their rewards float32 [m].

    Raises:
      ValueError: in one line, where the settings of the parts do not go together with m.
    """
    sized = lambda part: dataclasses.replace(part, num_candidates=config.num_candidates)
    arms = free_arms(model, tempering.ladder(model), sized(config.cut))
    arms["both_sides"] = banel(model, sized(config.both_sides), failure_model)
    mixed = hedge(arms, config.hedge)

    def best(state):
        """With all of the shares at the largest of them."""
        return state.replace(shares=jax.nn.one_hot(jnp.argmax(state.shares), len(arms)))

    return mixed._replace(
        sample=lambda key, state, n: mixed.sample(key, best(state), n),
        log_prob=lambda state, sequences: mixed.log_prob(best(state), sequences),
        settings=(*mixed.settings, ("sampled", "best")),
    )
