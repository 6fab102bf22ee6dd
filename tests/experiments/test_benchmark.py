"""The benchmark's arithmetic by hand, its rows, and that both libraries compute one thing."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from banel_jax import scoring
from banel_jax.models.language import responses
from banel_jax.models.language.responses import ResponseConfig
from banel_jax.types import Sequences
from experiments.benchmark import ceiling as benchmark_ceiling
from experiments.benchmark import compiling, overhead
from experiments.benchmark import experiment as benchmark
from experiments.benchmark import qwen2 as benchmark_qwen2
from experiments.benchmark.qwen2 import TINY, Sizes, bytes_read, flops


def test_flops_and_bytes_by_hand():
    config = dataclasses.replace(
        TINY, vocab_size=5, width=4, num_layers=2, num_heads=2, num_kv_heads=1, mlp_width=3
    )
    sizes = Sizes(prompt_tokens=2, new_tokens=2)
    # A layer: queries 16, keys and values 8 each, output 16, MLP 36 multiply-adds; to attend, 8.
    layer = lambda tokens, attended: 2 * (84 * tokens + 8 * attended)
    prompt, row = 2 * layer(2, 1 + 2), 2 * layer(2, 3 + 4) + 2 * 2 * 4 * 5
    assert flops(config, sizes, 3) == prompt + 3 * row
    # Two layers of a key and a value of 2 float32: 32 bytes a position.
    assert bytes_read(config, sizes, 3, "scoring", 1000) == 1000
    sampled = bytes_read(config, sizes, 3, "sampling", 1000)
    assert sampled == 2 * 1000 + 2 * 2 * 32 + 3 * (1 + 2) * 32


def test_both_libraries_score_alike_and_draw_whole_rows():
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from experiments.benchmark import transformers_reference as reference

    model = responses.conditioned(TINY, ResponseConfig(6), [3, 1, 4, 1])
    params = jax.tree.map(lambda x: 5 * x, model.init(jax.random.key(0)))
    twin, prompt = reference.load(TINY, params, "cpu"), torch.tensor([3, 1, 4, 1])
    for cache in (None, "static"):
        drawn = reference.sample(twin, prompt, 5, 6, 3, cache)
        assert drawn.shape == (5, 6)
    tokens = jnp.asarray(drawn.numpy(), jnp.int32)
    expected = reference.score(twin, prompt, drawn, 2)
    sequences = Sequences(tokens, jnp.ones(tokens.shape, bool))
    found = scoring.log_likelihood(model, params, sequences)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.slow
def test_rows_of_a_bfloat16_model_at_a_small_size(tmp_path, monkeypatch, capsys):
    config, sizes = benchmark_qwen2.MODELS["qwen2_0_5b"]
    small = dataclasses.replace(
        config, vocab_size=60, width=16, num_layers=1, num_heads=2, num_kv_heads=1, mlp_width=8
    )
    monkeypatch.setitem(benchmark_qwen2.MODELS, "qwen2_0_5b", (small, sizes))
    monkeypatch.setattr(benchmark_ceiling, "products", lambda: 1e9)
    path = tmp_path / "rows.json"
    benchmark.main(
        benchmark.Config(
            models=("qwen2_0_5b",), repeats=1, responses=2, new_tokens=4, bandwidth_tb=1e-9,
            peak_tflops=1e9, output=str(path),
        )
    )  # fmt: skip
    rows = json.loads(path.read_text())
    compiled = [row for row in rows if row["work"].startswith("compiling of")]
    rows = [row for row in rows if row not in compiled]
    assert {row["work"] for row in rows} == {"sampling", "scoring"}
    assert all(set(row) == set(benchmark.COLUMNS) for row in rows)
    assert len(compiled) == 4 and all(row["unit"] == "s" for row in compiled)
    weights = 2 * (60 * 16 + 2 * 16 * 16 + 2 * 16 * 8 + 3 * 16 * 8 + 16 + 16 + 3 * 16)
    for row in rows:  # memory is by far the slower of the two: TB/s of 1e-9 are 1000 bytes
        bytes_ = weights if row["work"] == "scoring" else 4 * weights + 4 * 80 * 32 + 2 * 10 * 32
        seconds = 8 / row["value"]
        np.testing.assert_allclose(row["ceiling_fraction"] * seconds * 1e3, bytes_, rtol=1e-6)
    assert "ratio" in capsys.readouterr().out


def test_a_first_call_is_compiled_once_and_then_taken_from_disk():
    events, before = [], jax.config.jax_compilation_cache_dir
    program = jax.jit(lambda x: x @ x.T + 1)
    x = jnp.ones((3, 5))
    listen = lambda event, **_: events.append(event)
    jax.monitoring.register_event_listener(listen)
    try:
        found = compiling.first_calls(lambda: program(x).block_until_ready())
    finally:
        jax.monitoring.unregister_event_listener(listen)
    assert list(found) == ["compiled", "kept on disk"] and min(found.values()) > 0
    hits, misses = (f"/jax/compilation_cache/cache_{what}" for what in ("hits", "misses"))
    assert [e for e in events if e in (hits, misses)] == [misses, hits]
    assert jax.config.jax_compilation_cache_dir == before


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"models": ("C",)}, "models: C is not one of A, B, tiny"),
        ({"works": ("resting",)}, "works: resting is not one of sampling, scoring, training"),
        ({"repeats": 0}, "repeats=0 must be at least 1"),
        ({"new_tokens": -1}, "new_tokens=-1 must not be negative"),
    ],
)
def test_settings_are_checked(settings, text):
    with pytest.raises(ValueError, match=text):
        benchmark.Config(**settings)


@pytest.mark.slow
def test_the_overhead_is_that_of_the_same_rounds(tmp_path):
    """It refuses where the loop and its pieces come to different states."""
    config = overhead.Config(demo="two_circles", rounds=1, turns=1, page=False)
    row = overhead.measure(config, tmp_path)
    assert row["loop"] > 0 < row["alone"] and row["overhead"] == row["loop"] / row["alone"] - 1
    assert (tmp_path / "turn_1/oracle.sqlite").exists()
