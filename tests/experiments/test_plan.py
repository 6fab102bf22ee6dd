"""Plans for many devices: the formulas against shapes, XLA's account and counts by hand."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import pytest

from banel_jax.models.language import responses
from banel_jax.models.language.decoder_config import DecoderConfig
from banel_jax.models.language.responses import ResponseConfig
from banel_jax.models.lora import LoraConfig, lora
from experiments.benchmark import cost_model, plan, plan_cases, plan_check, qwen2
from experiments.benchmark.cost_model import Load, Shape, Speed
from experiments.benchmark.hardware import DEVICES, Device, by_kind
from experiments.benchmark.plan_cases import Measured

TIED = DecoderConfig(40, 16, 3, 4, 2, 24)
SMALL = Measured(300, 64, 2, 4, 2, 256, 16, 64, 32)


@pytest.mark.parametrize(
    "config", [TIED, dataclasses.replace(TIED, tied=False, gated=False, head_dim=8)]
)
def test_weights_are_those_of_the_model(config):
    model = responses.conditioned(config, ResponseConfig(2), [1])
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    found = jax.tree_util.tree_leaves_with_path(shapes)
    matrices = [x for path, x in found if "kernel" in str(path) or x.shape[0] == config.vocab_size]
    assert cost_model.weights(config) == sum(x.size for x in matrices)
    settings = LoraConfig(rank=5)
    adapters = jax.eval_shape(lambda p: lora(model, p, settings).init(jax.random.key(0)), shapes)
    expected = sum(x.size for x in jax.tree.leaves(adapters))
    assert cost_model.adapter_weights(config, settings) == expected


@pytest.mark.parametrize("work", ["sampling", "scoring"])
def test_products_are_nearly_as_few_as_they_can_be(work):
    """Against the benchmark's count, which has attention to no more than what stands before."""
    config, sizes = qwen2.MODELS["stand_in"]
    shape = Shape(config, None, sizes.prompt_tokens, sizes.new_tokens)
    loads = getattr(cost_model, work)(shape, 64, 64)
    least = qwen2.flops(config, sizes, 64)
    assert least < sum(load.flops for load in loads) < 1.02 * least


def test_devices_and_parts_divide_the_work():
    whole = Shape(TIED, LoraConfig(), 4, 8)
    spread = dataclasses.replace(whole, data=4, parts=2)
    for work in (cost_model.sampling, cost_model.scoring):
        one, many = work(whole, 64, 64), work(spread, 64, 64)
        prompt = sum(load.flops for load in cost_model.forward(whole, 1, 4, 0))
        flops = lambda loads: sum(load.flops for load in loads)
        assert flops(many) - prompt / 2 == pytest.approx((flops(one) - prompt) / 8)
        # Two sums a layer of 16 rows of 16 float32, of which half is sent there and back again.
        tokens = 16 * 8 + 4
        assert sum(load.sent for load in many) == 3 * 2 * tokens * 16 * 4
        assert sum(load.sent for load in one) == 0


def test_seconds_by_hand():
    loads = [Load(flops=6.0, moved=8.0), Load(sent=5.0, steps=2.0).times(2)]
    speed = Speed(flops=2.0, moved=4.0, sent=10.0, step=0.5)
    assert cost_model.seconds(loads, speed) == 3 + 1 + 2
    assert cost_model.seconds(loads, speed._replace(overlaps=False)) == 3 + 2 + 1 + 2


def test_memory_is_that_of_the_compiled_program():
    """Of activations, the compiler's account; the whole check is `plan_check`."""
    rows = plan_check.memory_rows([SMALL])
    assert [row["work"] for row in rows] == ["sampling", "scoring", "training"]
    for row in rows[1:]:
        assert 0.75 < row["ratio"] < 1.33, row


def test_speeds_are_recovered_from_seconds_that_they_make():
    speed = Speed(3e10, 7e9, 1.0, 2e-6, overlaps=False)
    loads = [plan_check.formulas(case, "sampling")[0] for case in plan_cases.SECONDS]
    found = plan_check.fitted([(one, cost_model.seconds(one, speed)) for one in loads])
    assert found[:2] == pytest.approx(speed[:2], rel=1e-3)
    assert found.step == pytest.approx(speed.step, rel=1e-2)


def test_layers_are_split_over_as_few_devices_as_have_room():
    config = plan.Config(model="llama3_1_70b", devices="h100:64")
    found = plan.plan(config)
    assert found["fits"] and found["mesh"] == "data:8,model:8"
    tight = plan.plan(dataclasses.replace(config, split=4))
    assert not tight["fits"] and tight["mesh"] == "data:16,model:4"
    assert plan.plan(plan.Config(model="qwen2_5_7b", devices="h100:8"))["mesh"] == "data:8,model:1"
    # 70.6e9 weights of two bytes over eight devices.
    assert found["resident"]["weights"] == pytest.approx(2 * 70.55e9 / 8, rel=1e-3)


def test_a_plan_is_printed_and_written(tmp_path, capsys):
    path = tmp_path / "plan.json"
    plan.main(plan.Config(model="llama3_1_70b", devices="h100:4", output=str(path)))
    text, written = capsys.readouterr().out, json.loads(path.read_text())
    assert "It does not fit" in text and "data:1,model:4" in text
    assert written["seconds"] == pytest.approx(sum(row["seconds"] for row in written["rows"]))
    assert written["config"]["devices"] == "h100:4" and not written["fits"]


def test_a_folder_is_a_model(tmp_path):
    from banel_jax.models.language import huggingface

    config = dataclasses.replace(TIED, tied=True)
    model = responses.conditioned(config, ResponseConfig(2), [1])
    huggingface.save(tmp_path / "model", config, model.init(jax.random.key(0)))
    read = plan.decoder(plan.Config(model=str(tmp_path / "model"), dtype="float32"))
    assert cost_model.weights(read) == cost_model.weights(config)
    assert read.dtype == jnp.float32


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"model": "gpt5"}, "model='gpt5' is neither a folder nor one of smollm2, "),
        ({"devices": "h100:0"}, "devices='h100:0' must be like h100:8, of one of a100, "),
        ({"devices": "rtx"}, "devices='rtx' must be like h100:8"),
        ({"split": 3}, "split=3 must divide the 8 devices"),
        ({"efficiency": 0.0}, "efficiency=0.0 must be positive"),
    ],
)
def test_settings_are_checked(settings, text):
    with pytest.raises(ValueError, match=text):
        plan.plan(plan.Config(**settings))


def test_devices_are_known_by_jaxs_names():
    assert by_kind("NVIDIA H200") is DEVICES["h200"] and by_kind("abacus") is None
    assert all(isinstance(d, Device) and d.bfloat16 > d.float32 for d in DEVICES.values())
