"""The decoder: causality, the cached step against the full pass, dropout, dtypes, gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from banel_jax.models.transformer import Decoder, TransformerConfig, causal_attention, transformer
from banel_jax.types import Sequences

SMALL = dict(num_layers=2, num_heads=2, width=8)


def random_params(config, seed=0):
    """Parameters of unit scale: those of `init` are so small that mistakes would not show."""
    params = transformer(config).init(jax.random.key(seed))
    leaves, tree = jax.tree.flatten(params)
    rng = np.random.default_rng(seed)
    noisy = [x + 0.3 * rng.standard_normal(x.shape).astype(np.float32) for x in leaves]
    return jax.tree.unflatten(tree, noisy)


def random_tokens(config, seed=1):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.integers(config.vocab_size, size=config.length), jnp.int32)


def all_true(tokens):
    return Sequences(tokens, jnp.ones(tokens.shape, bool))


@pytest.mark.parametrize("length", [1, 5, 33, 150])
def test_attention_in_blocks_equals_the_full_square(length):
    rng = np.random.default_rng(length)
    q, k, v = rng.standard_normal((3, 2, length, 4))
    scores = np.einsum("hlk,hsk->hls", q, k) / 2
    weights = np.exp(scores) * np.tril(np.ones((length, length)))
    expected = np.einsum("hls,hsk->hlk", weights / weights.sum(-1, keepdims=True), v)
    found = causal_attention(*(jnp.asarray(x, jnp.float32) for x in (q, k, v)), "highest")
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("length,heads,width", [(1, 1, 4), (7, 4, 16), (61, 2, 8)])
def test_cached_steps_equal_the_full_pass(length, heads, width):
    config = TransformerConfig(5, length, num_layers=2, num_heads=heads, width=width)
    decoder, params = Decoder(config), random_params(config)
    tokens = random_tokens(config)
    full = jax.jit(decoder.apply)({"params": params}, tokens)
    # Room beyond the length, as in the sampler's segments, must change nothing.
    zeros = jnp.zeros((heads, length + 3, width // heads))

    def step(carry, position):
        previous, cache = carry
        logits, cache = decoder.apply(
            {"params": params}, previous, position, cache, method=Decoder.step
        )
        return (tokens[position], cache), logits

    start = (jnp.int32(config.vocab_size), ((zeros, zeros),) * 2)
    _, stepped = jax.lax.scan(step, start, jnp.arange(length))
    np.testing.assert_allclose(stepped, full, atol=1e-5)


@pytest.mark.parametrize("changed", [0, 3, 40, 69])
def test_a_token_changes_no_logits_up_to_its_own(changed):
    config = TransformerConfig(5, 70, **SMALL)
    decoder, params = Decoder(config), random_params(config)
    tokens = random_tokens(config)
    other = tokens.at[changed].set((tokens[changed] + 1) % 5)
    before, after = (decoder.apply({"params": params}, t) for t in (tokens, other))
    np.testing.assert_array_equal(before[: changed + 1], after[: changed + 1])
    if changed < 69:
        assert (jnp.abs(before - after)[changed + 1 :].max(axis=-1) > 1e-6).all()


def test_log_prob_sums_the_masked_positions_alone():
    config = TransformerConfig(4, 6, **SMALL)
    params, tokens = random_params(config), random_tokens(config)
    mask = jnp.asarray([True, False, True, True, False, False])
    logits = np.asarray(Decoder(config).apply({"params": params}, tokens), np.float64)
    each = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = sum(each[t, tokens[t]] for t in (0, 2, 3))
    found = transformer(config).log_prob(params, Sequences(tokens, mask))
    assert found == pytest.approx(expected, abs=1e-5)


def test_dropout_follows_its_key_and_rests_without_one():
    config = TransformerConfig(5, 12, dropout=0.3, **SMALL)
    plain = TransformerConfig(5, 12, **SMALL)
    params, sequence = random_params(config), all_true(random_tokens(config))
    score = transformer(config).log_prob
    one, two = jax.random.split(jax.random.key(3))
    first = score(params, sequence, dropout_key=one)
    assert first == score(params, sequence, dropout_key=one)
    assert first != score(params, sequence, dropout_key=two)
    assert score(params, sequence) == transformer(plain).log_prob(params, sequence)
    assert score(params, sequence) == score(params, sequence)


def test_bfloat16_activations_give_float32_likelihoods():
    half = TransformerConfig(5, 40, dtype=jnp.bfloat16, **SMALL)
    full = TransformerConfig(5, 40, **SMALL)
    params = transformer(full).init(jax.random.key(0))
    sequence = all_true(random_tokens(full))
    rough, exact = (transformer(c).log_prob(params, sequence) for c in (half, full))
    assert rough.dtype == exact.dtype == jnp.float32
    assert rough == pytest.approx(float(exact), rel=1e-2)
    _, drawn = transformer(half).sample(jax.random.key(1), params)
    assert drawn.dtype == jnp.float32 and jnp.isfinite(drawn)


def test_gradients_reach_every_parameter_and_match_differences():
    config = TransformerConfig(5, 40, **SMALL)
    params, sequence = random_params(config), all_true(jnp.arange(40, dtype=jnp.int32) % 5)
    score = lambda p: transformer(config).log_prob(p, sequence)
    grads = jax.grad(score)(params)
    for path, leaf in jax.tree_util.tree_leaves_with_path(grads):
        assert jnp.isfinite(leaf).all() and jnp.abs(leaf).max() > 1e-6, path
    move = lambda size: jax.tree.map(lambda x, g: x + size * g, params, grads)
    squared = sum(float(jnp.sum(g**2)) for g in jax.tree.leaves(grads))
    size = 1e-2 / squared**0.5
    difference = (score(move(size)) - score(move(-size))) / (2 * size)
    assert float(difference) == pytest.approx(squared, rel=1e-2)


def test_matches_pytorch_with_the_same_parameters():
    torch = pytest.importorskip("torch")
    from experiments.benchmark.torch_reference import Decoder as TorchDecoder

    config = TransformerConfig(7, 40, num_layers=2, num_heads=2, width=8)
    params, tokens = random_params(config), random_tokens(config)
    twin = TorchDecoder(7, 40, num_layers=2, num_heads=2, width=8)
    state = {
        "token_embedding.weight": params["token_embedding"],
        "position_embedding.weight": params["position_embedding"],
        "head.weight": params["head"]["kernel"].T,
    }
    layers = {"final_norm": params["final_norm"]} | {
        f"blocks.{i}.{name}": layer
        for i in range(2)
        for name, layer in params[f"block_{i}"].items()
    }
    for name, layer in layers.items():
        weight = layer["kernel"].T if "kernel" in layer else layer["scale"]
        state |= {f"{name}.weight": weight, f"{name}.bias": layer["bias"]}
    twin.load_state_dict({k: torch.tensor(np.asarray(v).copy()) for k, v in state.items()})
    with torch.inference_mode():
        expected = twin(torch.tensor(np.asarray(tokens))[None].long())[0].numpy()
    found = Decoder(config).apply({"params": params}, tokens)
    np.testing.assert_allclose(found, expected, atol=2e-4)


@pytest.mark.parametrize(
    "wrong,field",
    [
        (dict(width=10, num_heads=4), "num_heads"),
        (dict(vocab_size=0), "vocab_size"),
        (dict(length=0), "length"),
        (dict(dropout=1.0), "dropout"),
    ],
)
def test_bad_settings_name_the_field(wrong, field):
    with pytest.raises(ValueError, match=field):
        TransformerConfig(**(dict(vocab_size=4, length=4) | wrong))


def test_an_end_token_masks_what_follows():
    config = TransformerConfig(3, 17, eos_token=2, **SMALL)
    params = random_params(config)
    drawn, _ = jax.vmap(lambda k: transformer(config).sample(k, params))(
        jax.random.split(jax.random.key(0), 50)
    )
    for tokens, mask in zip(np.asarray(drawn.tokens), np.asarray(drawn.mask), strict=True):
        ends = np.flatnonzero(tokens == 2)
        length = ends[0] + 1 if len(ends) else config.length
        assert mask[:length].all() and not mask[length:].any()
        assert (tokens[length:] == 0).all()
