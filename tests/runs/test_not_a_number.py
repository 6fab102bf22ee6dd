"""Nothing that is no number is ever paid for."""

import jax
import jax.numpy as jnp
import nightly
import numpy as np
import pytest
from enumeration import TABLE, TRANSFORMER, table_params, transformer_params

from banel_jax.algorithms.banel import BanelConfig, banel
from banel_jax.algorithms.gflownet import GFlowNetConfig, gflownet
from banel_jax.algorithms.policy_gradient import PolicyGradientConfig, policy_gradient
from banel_jax.algorithms.prior_sampling import prior_sampling
from banel_jax.algorithms.sequential_filtering import (
    SequentialFilteringConfig,
    sequential_filtering,
)
from banel_jax.oracle import OracleConfig
from banel_jax.runs import loop
from banel_jax.training import FitInfo, TrainingConfig

M, ROUNDS = 6, 3
WILD = TrainingConfig(epochs=2, batch_size=3, learning_rate=1e30, clip_norm=0.0)
TAME = TrainingConfig(epochs=1, batch_size=3)
PRIOR = transformer_params(1)


def nan_fit(key, params, sequences, weights, held_out):
    blank = jnp.zeros(1)
    return jax.tree.map(lambda x: x * jnp.nan, params), FitInfo(blank, blank, jnp.float32(1))


DIVERGING = {
    "policy gradient": policy_gradient(TRANSFORMER, PolicyGradientConfig(M, training=WILD)),
    "gflownet": gflownet(TRANSFORMER, GFlowNetConfig(num_candidates=M, training=WILD)),
    "banel, failure model": banel(
        TRANSFORMER, BanelConfig(M, failure_training=WILD, generator_training=TAME)
    ),
    "banel, generator": banel(
        TRANSFORMER, BanelConfig(M, failure_training=TAME, generator_training=WILD)
    ),
    "banel, a fit that was brought": banel(
        TRANSFORMER, BanelConfig(M, generator_training=TAME), fit_failure_model=nan_fit
    ),
    "Algorithm 1": sequential_filtering(
        TRANSFORMER, SequentialFilteringConfig(M, max_filters=2, failure_training=WILD)
    ),
}


class Counting:
    def __init__(self):
        self.paid = 0

    def __call__(self, sequences):
        assert np.all(sequences.tokens < 3)
        self.paid += len(sequences.tokens)
        return np.arange(len(sequences.tokens)) % 2


# They end as Algorithm 2's failure model and the GFlowNet do.
NIGHTLY = ("policy gradient", "banel, generator", "banel, a fit that was brought", "Algorithm 1")


@pytest.mark.parametrize("name", nightly.params(DIVERGING, NIGHTLY))
def test_a_fit_that_diverged_ends_the_run_in_one_line_and_again_when_it_goes_on(name, tmp_path):
    oracle = Counting()
    config = loop.RunConfig(rounds=ROUNDS, oracle=OracleConfig(batch_size=M))
    said = []
    for _ in range(2):
        with pytest.raises(loop.NotANumber, match="NaN") as caught:
            loop.run(DIVERGING[name], PRIOR, oracle, config, tmp_path / "run")
        said.append(str(caught.value))
    assert "\n" not in said[0] and said[0] == said[1]
    assert oracle.paid in (M, 2 * M)  # of the rounds before; what was paid once is not paid again


@pytest.mark.parametrize("model", [TRANSFORMER, None])
def test_a_prior_of_nan_is_not_asked_for(model, tmp_path):
    algorithm = prior_sampling(TRANSFORMER, M)._replace(model=model)
    bad = {**PRIOR, "token_embedding": PRIOR["token_embedding"].at[0, 0].set(jnp.nan)}
    oracle = Counting()
    with pytest.raises(ValueError, match="NaN in token_embedding"):
        loop.run(algorithm, bad, oracle, loop.RunConfig(rounds=1), tmp_path / "run")
    assert oracle.paid == 0


def test_what_is_no_model_is_not_paid_for(tmp_path):
    wrong = TABLE._replace(log_prob=lambda *a, **k: -TABLE.log_prob(*a, **k))
    oracle = Counting()
    with pytest.raises(ValueError, match="log_prob gives"):
        loop.run(
            prior_sampling(wrong, M),
            table_params(0),
            oracle,
            loop.RunConfig(rounds=1),
            tmp_path / "r",
        )
    assert oracle.paid == 0


def test_a_score_of_nan_is_not_paid_for(tmp_path):
    """Weights may be finite and what comes of them not."""
    huge = jax.tree.map(lambda x: x * 1e30, PRIOR)
    algorithm = prior_sampling(TRANSFORMER, M)._replace(model=None)
    oracle = Counting()
    with pytest.raises(
        loop.NotANumber, match=f"{M} of {M} candidates have none; the oracle was not"
    ):
        loop.run(algorithm, huge, oracle, loop.RunConfig(rounds=1), tmp_path / "run")
    assert oracle.paid == 0


@pytest.mark.parametrize("seeds_at_once", [1, None])
def test_a_compiled_run_says_so_at_its_end(seeds_at_once):
    reward = lambda sequences: jnp.arange(len(sequences.tokens)) % 2.0
    name = "policy gradient"
    run = loop.compiled_run(DIVERGING[name], reward, ROUNDS, seeds_at_once=seeds_at_once)
    with pytest.raises(loop.NotANumber, match="NaN"):
        run(jax.vmap(jax.random.key)(jnp.arange(2)), PRIOR)


def test_a_failure_model_that_gives_probability_0_is_no_fault(tmp_path):
    """The ratio of what it cannot make is infinite: such a proposal passes."""
    one = jnp.full(table_params(0).shape, -jnp.inf).at[0, 0, 0, 0].set(0.0)
    fit = lambda *_: (one, FitInfo(jnp.zeros(1), jnp.zeros(1), jnp.float32(1)))
    algorithm = banel(TABLE, BanelConfig(M, generator_training=TAME), fit_failure_model=fit)
    config = loop.RunConfig(rounds=ROUNDS, oracle=OracleConfig(batch_size=M))
    result = loop.run(algorithm, table_params(0), Counting(), config, tmp_path / "run")
    assert result.metrics[-1]["num_reward_evaluations"] == ROUNDS * M
    assert np.isfinite(result.metrics[-1]["effective_sample_size"])
