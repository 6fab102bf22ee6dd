"""Adapters: nothing at first, then what the merged parameters are, and the base untouched."""

import re
from functools import partial

import another_process
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from enumeration import ALL, EVERY, TRANSFORMER, assert_frequencies, probabilities

from banel_jax import sampling, scoring, training
from banel_jax.algorithms.banel import BanelConfig, banel
from banel_jax.algorithms.prior_sampling import prior_sampling
from banel_jax.models.lora import Adapter, LoraConfig, lora, lora_algorithm, merge, targets
from banel_jax.models.transformer import TransformerConfig, transformer
from banel_jax.runs import loop
from banel_jax.training import TrainingConfig
from banel_jax.types import SequenceModel

BASE = jax.tree.map(lambda x: 6 * x, TRANSFORMER.init(jax.random.key(3)))
CONFIG = LoraConfig(rank=2, alpha=3.0)
ADAPTED = lora(TRANSFORMER, BASE, CONFIG)
START = ADAPTED.init(jax.random.key(0))
FIT = TrainingConfig(epochs=2, batch_size=8, learning_rate=0.05)
PATHS = [f"block_0/{name}/kernel" for name in ("attention_out", "mlp_in", "mlp_out", "qkv")]
equal = np.testing.assert_array_equal


def changed(params, seed=0, size=0.3):
    """Adapters of which neither factor is zero."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.float32(rng.normal(size=x.shape) * size), params)


def by_hand(base, params, scale):
    """The merged parameters in float64 NumPy, for a transformer of one block."""
    full = jax.tree.map(lambda x: np.asarray(x, np.float64), base)
    for path, (a, b) in params.items():
        block, layer, name = path.split("/")
        full[block][layer][name] += scale * np.asarray(a, float) @ np.asarray(b, float)
    return full


def same(left, right):
    jax.tree.map(equal, left, right)


def reward(sequences):
    return (sequences.tokens[:, 0] == 1).astype("float32")


def test_attention_and_mlp_kernels_are_adapted_embeddings_and_head_are_not():
    assert sorted(START) == PATHS
    shapes = {path.split("/")[1]: (a.shape, b.shape) for path, (a, b) in START.items()}
    assert shapes["qkv"] == ((8, 2), (2, 24)) and shapes["mlp_out"] == ((32, 2), (2, 8))
    for a, b in START.values():
        assert np.abs(a).min() > 0 and not b.any()
    a = lora(TRANSFORMER, BASE, LoraConfig(rank=400)).init(jax.random.key(1))[PATHS[2]].a
    np.testing.assert_allclose([a.mean(), a.var() * 32], [0, 1], atol=0.05)


def is_the_base(adapted, adapters, config):
    """Its weights are the base's bit for bit. What two programs compute of them may differ in the
    last bit, for a processor's fastest product of a matrix depends on where the matrix is from."""
    same(jax.jit(lambda base, a: merge(base, a, config))(BASE, adapters), BASE)
    score = partial(scoring.log_likelihood, temperature=1.5)
    expected = score(TRANSFORMER, BASE, ALL)
    np.testing.assert_allclose(score(adapted, adapters, ALL), expected, rtol=1e-6)
    draw = lambda m, p: sampling.sample(m, jax.random.key(1), p, 50, temperature=0.7)[0]
    same(draw(adapted, adapters), draw(TRANSFORMER, BASE))


@pytest.mark.parametrize("config", [CONFIG, LoraConfig(rank=0)])
def test_before_training_it_is_the_base(config):
    adapted = lora(TRANSFORMER, BASE, config)
    is_the_base(adapted, adapted.init(jax.random.key(0)), config)


@pytest.mark.parametrize("zeroed", ["a", "b"])
def test_zeroed_b_is_the_base_whatever_a_is_and_so_is_zeroed_a(zeroed):
    adapters = {
        path: pair._replace(**{zeroed: jnp.zeros_like(getattr(pair, zeroed))})
        for path, pair in changed(START).items()
    }
    is_the_base(ADAPTED, adapters, CONFIG)


def test_the_merged_export_is_w_plus_the_scaled_product_and_scores_alike():
    params = changed(START)
    full = merge(BASE, params, CONFIG)
    jax.tree.map(
        lambda found, expected: np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-6),
        full,
        by_hand(BASE, params, 3.0 / 2),
    )
    found = scoring.log_likelihood(ADAPTED, params, ALL)
    np.testing.assert_allclose(found, scoring.log_likelihood(TRANSFORMER, full, ALL), rtol=1e-6)
    assert np.abs(found - scoring.log_likelihood(TRANSFORMER, BASE, ALL)).max() > 0.1
    np.testing.assert_allclose(probabilities(ADAPTED, params).sum(), 1, rtol=1e-5)


def test_samples_follow_the_adapted_likelihood():
    params = changed(START)
    drawn, log_probs = sampling.sample(ADAPTED, jax.random.key(2), params, 5000)
    assert_frequencies(drawn, probabilities(ADAPTED, params))
    np.testing.assert_allclose(
        log_probs, scoring.log_likelihood(ADAPTED, params, drawn), rtol=1e-4, atol=1e-5
    )


def test_stacked_kernels_are_adapted_layer_by_layer():
    stack = jnp.arange(24.0).reshape(2, 3, 4)
    base = {"layers": {"kernel": stack, "bias": jnp.ones((2, 4))}, "table": jnp.ones((5, 3))}
    config = LoraConfig(rank=1, alpha=2.0)
    a, b = np.random.default_rng(0).normal(size=(2, 2, 4)).astype(np.float32)
    a = a[:, :3, None]
    b = b[:, None, :]
    full = merge(base, {"layers/kernel": Adapter(a, b)}, config)
    for layer in range(2):
        expected = stack[layer] + 2.0 * np.outer(a[layer], b[layer])
        np.testing.assert_allclose(full["layers"]["kernel"][layer], expected, rtol=1e-6)
    assert full["layers"]["bias"] is base["layers"]["bias"] and full["table"] is base["table"]
    dummy = SequenceModel(lambda key: base, None, None)
    new = lora(dummy, base, config).init(jax.random.key(0))["layers/kernel"]
    assert new.a.shape == (2, 3, 1) and new.b.shape == (2, 1, 4)


def test_a_kernel_keeps_its_type():
    base = {"kernel": jnp.ones((2, 2), jnp.bfloat16)}
    adapter = Adapter(jnp.full((2, 1), 0.5), jnp.ones((1, 2)))
    full = merge(base, {"kernel": adapter}, LoraConfig(rank=1, alpha=1.0))["kernel"]
    assert full.dtype == jnp.bfloat16
    equal(np.float32(full), 1.5)


def test_a_fit_moves_adapters_alone_and_the_optimiser_knows_no_other():
    before = jax.tree.map(np.array, BASE)
    loss = lambda m, p: -scoring.log_likelihood(m, p, rows).mean()
    rows = jax.tree.map(lambda x: x[EVERY[:, 0] == 2], ALL)
    fit = jax.jit(partial(training.fit, ADAPTED, FIT))
    fitted, _ = fit(jax.random.key(5), START, rows, jnp.ones(27))
    same(BASE, before)
    assert all(np.abs(fitted[path].b).max() > 1e-3 for path in PATHS)
    assert loss(ADAPTED, fitted) < loss(ADAPTED, START) - 0.3
    moments = training.optimizer(FIT).init(START)
    count = lambda tree: sum(x.size for x in jax.tree.leaves(tree))
    assert count(optax.tree.get(moments, "mu")) == count(START) < count(BASE)


def test_no_gradient_reaches_the_base():
    one = jax.tree.map(lambda x: x[7], ALL)

    def score(base, params):
        return lora(TRANSFORMER, base, CONFIG).log_prob(params, one)

    of_base, of_adapters = jax.jit(jax.grad(score, (0, 1)))(BASE, changed(START))
    assert all(not g.any() for g in jax.tree.leaves(of_base))
    assert all(np.abs(g).max() > 1e-4 for g in jax.tree.leaves(of_adapters))


def test_dropout_keys_and_temperatures_pass_through():
    config = TransformerConfig(3, 4, 1, 2, 8, dropout=0.5)
    model = transformer(config)
    adapted, params = lora(model, BASE, CONFIG), changed(START)
    full = merge(BASE, params, CONFIG)
    one = jax.tree.map(lambda x: x[7], ALL)
    for settings in ({"dropout_key": jax.random.key(1)}, {"temperature": 2.0}, {}):
        found = adapted.log_prob(params, one, **settings)
        np.testing.assert_allclose(found, model.log_prob(full, one, **settings), rtol=1e-5)
        assert (found == adapted.log_prob(params, one)) == (not settings)


def test_settings_tell_bases_and_ranks_apart():
    other = jax.tree.map(lambda x: x + 1e-6, BASE)
    records = [
        lora(TRANSFORMER, base, config).settings
        for base, config in ((BASE, CONFIG), (other, CONFIG), (BASE, LoraConfig(rank=3)))
    ]
    assert len(set(records)) == 3 and records[0] == lora(TRANSFORMER, BASE, CONFIG).settings


def build(model, base=None):
    config = BanelConfig(
        num_candidates=6, filter_factor=2.0, generator_training=FIT, failure_training=FIT
    )
    return banel(model, config)


@pytest.fixture(scope="module")
def algorithm():
    return lora_algorithm(TRANSFORMER, BASE, CONFIG, build)


def test_algorithm_2_over_one_base(algorithm, tmp_path):
    result = loop.run(algorithm, START, reward, loop.RunConfig(rounds=2), tmp_path)
    assert [record["num_reward_evaluations"] for record in result.metrics] == [6, 12]
    assert result.metrics[-1]["num_successes"] < 12
    state = result.state
    assert sorted(state.generator) == sorted(state.failure_model) == PATHS
    for params in (state.generator, state.failure_model):
        assert all(np.asarray(params[path].b).any() for path in PATHS)
    same(state.base, START)
    full = merge(BASE, state.generator, CONFIG)
    expected = scoring.log_likelihood(TRANSFORMER, full, ALL)
    np.testing.assert_allclose(algorithm.log_prob(state, ALL), expected, rtol=1e-5)


def test_it_is_the_algorithm_over_a_constant_base(algorithm):
    plain, key = build(ADAPTED), jax.random.key(0)
    state = plain.init(key, START)
    same(jax.tree.leaves(algorithm.init(key, START)), jax.tree.leaves(state))
    state = state.replace(
        round=jnp.int32(1), generator=changed(START, 1), failure_model=changed(START, 2)
    )

    def ask(a):
        candidates, asked = a.ask(key, state)
        return candidates, asked.threshold, a.candidate_log_prob(asked, candidates)

    (found, *numbers), (expected, *others) = (
        jax.jit(partial(ask, a))() for a in (algorithm, plain)
    )
    same(found, expected)
    for left, right in zip(numbers, others, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4)
    assert np.isfinite(numbers[1]).any()
    assert algorithm.proposal_log_prob is None and algorithm.settings == plain.settings
    doubled = jax.tree.map(lambda x: 2 * x, BASE)
    assert lora_algorithm(TRANSFORMER, doubled, CONFIG, build).settings != plain.settings


@pytest.mark.slow
def test_it_is_told_what_is_known_as_the_algorithm_over_a_constant_base(algorithm):
    key, rewards = jax.random.key(0), jnp.zeros(len(ALL.tokens))
    told = [
        jax.jit(lambda state, a=a: a.know(key, state, ALL, rewards))(a.init(key, START))
        for a in (algorithm, build(ADAPTED))
    ]
    assert any(np.asarray(told[0].failure_model[path].b).any() for path in PATHS)
    for left, right in zip(*map(jax.tree.leaves, told), strict=True):
        if jnp.issubdtype(left.dtype, jnp.floating):
            np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-6)
    no_one = lora_algorithm(TRANSFORMER, BASE, CONFIG, lambda m, base: prior_sampling(m, 6))
    assert no_one.know is None


@pytest.mark.slow
def test_seeds_share_the_base_in_a_compiled_run(algorithm):
    run = loop.compiled_run(algorithm, reward, rounds=2)
    states, metrics = jax.eval_shape(run, jax.random.split(jax.random.key(0), 2), START)
    assert metrics["num_reward_evaluations"].shape == (2, 2)
    size = lambda tree: sum(x.size for x in jax.tree.leaves(tree))
    assert size(states.generator) == size(states.base) == 2 * size(START)
    assert size(states) < 7 * size(START)  # three models a seed, and some sequences


def constants(function, *args):
    """How many array constants of 300 bytes or more the program of a function has."""
    return len(re.findall(r'dense<"0x[0-9A-F]{600,}', jax.jit(function).lower(*args).as_text()))


def test_no_base_is_baked_into_the_algorithms_programs(algorithm):
    key, state = jax.random.key(0), jax.eval_shape(algorithm.init, jax.random.key(0), START)
    candidates, _ = jax.eval_shape(algorithm.ask, key, state)
    rewards = jnp.zeros(6)
    assert constants(algorithm.ask, key, state) == 0
    assert constants(algorithm.tell, key, state, candidates, rewards) == 0
    assert constants(build(ADAPTED).ask, key, state) > 0  # what the others are not


def test_the_base_is_an_argument_where_lora_is_called_inside():
    def score(base, params, sequences):
        return scoring.log_likelihood(lora(TRANSFORMER, base, CONFIG), params, sequences)

    params = changed(START)
    assert constants(score, BASE, params, ALL) == 0
    found = jax.jit(score)(BASE, params, ALL)
    np.testing.assert_allclose(found, scoring.log_likelihood(ADAPTED, params, ALL), rtol=1e-5)


def test_the_callers_base_may_go_and_no_second_copy_is_kept():
    base = jax.tree.map(jnp.copy, BASE)
    algorithm = lora_algorithm(TRANSFORMER, base, CONFIG, build)
    state = algorithm.init(jax.random.key(0), START)
    expected = algorithm.log_prob(state, ALL)
    for leaf in jax.tree.leaves(base):
        leaf.delete()
    equal(algorithm.log_prob(state, ALL), expected)


PROGRAM = """
import jax, tests.models.test_lora as t
from banel_jax import parallel

def numbers():
    algorithm = t.lora_algorithm(t.TRANSFORMER, t.BASE, t.CONFIG, t.build)
    state = algorithm.init(jax.random.key(0), t.START)
    state = state.replace(generator=t.changed(t.START))
    return jax.jit(lambda state: algorithm.log_prob(state, t.ALL))(state)

one = numbers()
with jax.set_mesh(parallel.data_mesh()):
    assert parallel.num_devices() == 2
    two = numbers()
    assert len(two.devices()) == 2
t.np.testing.assert_allclose(one, two, rtol=1e-5)
"""


@pytest.mark.slow
def test_two_devices_give_the_numbers_of_one():
    another_process.printed(PROGRAM, devices=2)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"rank": -1}, "rank=-1 must not be negative"),
        ({"alpha": 0.0}, r"alpha=0\.0 must be positive"),
        ({"targets": "("}, r"targets='\(' is no regular expression"),
        ({"exclude": "["}, r"exclude='\[' is no regular expression"),
    ],
)
def test_settings_are_checked(settings, text):
    with pytest.raises(ValueError, match=text):
        LoraConfig(**settings)


def test_what_cannot_be_adapted_is_named():
    with pytest.raises(ValueError, match=r"targets='nowhere' .* finds no parameter.*block_0"):
        lora(TRANSFORMER, BASE, LoraConfig(targets="nowhere"))
    with pytest.raises(ValueError, match=r"finds block_0/attention_norm/bias of shape \[8\]"):
        lora(TRANSFORMER, BASE, LoraConfig(targets="block_0"))
    everything = targets(BASE, LoraConfig(targets="kernel|embedding", exclude=""))
    assert set(everything) == {*PATHS, "head/kernel", "token_embedding", "position_embedding"}
    with pytest.raises(ValueError, match="differ at block_0/mlp_in/kernel"):
        merge(BASE, {PATHS[0]: START[PATHS[0]]}, CONFIG)
    with pytest.raises(ValueError, match=r"rank=3, but the adapter of .* has rank 2"):
        merge(BASE, START, LoraConfig(rank=3))
