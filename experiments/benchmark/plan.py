"""What a round takes on devices that are not here: memory of each and seconds, by formulas.

    python -m experiments.benchmark plan --model=llama3_1_8b --devices=h100:8
    python -m experiments.benchmark plan --model=FOLDER --devices=tpu_v5e:16 --split=2

A round of BaNEL (Algorithm 2) of a language model with adapters: m f responses drawn and scored,
the generator and the failure model fitted. Without --split layers are split over as few devices as
have room. experiments/benchmark/README.md says how far the formulas are from measurements.
"""

import dataclasses
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax.numpy as jnp

from banel_jax import checks
from banel_jax.models.language import huggingface_config
from banel_jax.models.language.decoder_config import QWEN2_5_0_5B, DecoderConfig
from banel_jax.models.lora_config import LoraConfig
from experiments.benchmark import cost_memory, cost_model
from experiments.benchmark.cost_model import Shape, Speed
from experiments.benchmark.hardware import DEVICES, Device
from experiments.common import report

MODELS = {
    "smollm2": DecoderConfig(49152, 576, 30, 9, 3, 1536),
    "qwen2_5_0_5b": QWEN2_5_0_5B,
    "qwen2_5_7b": DecoderConfig(152064, 3584, 28, 28, 4, 18944, tied=False),
    "llama3_1_8b": DecoderConfig(128256, 4096, 32, 32, 8, 14336, tied=False, qkv_bias=False),
    "llama3_1_70b": DecoderConfig(128256, 8192, 80, 64, 8, 28672, tied=False, qkv_bias=False),
}
CHUNK, TOKENS = 512, 131072  # of sampling, in rows; of scoring and training
STEP = 4e-6  # seconds to start a kernel


@dataclass(frozen=True)
class Config:
    """Settings of a plan.

    Attributes:
      model: smollm2, qwen2_5_0_5b, qwen2_5_7b, llama3_1_8b, llama3_1_70b, or a folder with
        config.json.
      devices: kind and number: a100, h100, h200, tpu_v4, tpu_v5e, tpu_v5p, tpu_v6e.
      split: devices that each layer is split over (the model axis of a mesh, docs/run.md); 0 for
        the fewest that have room.
      dtype: of weights and activations; adapters and likelihoods are float32.
      rank: of the adapters.
      num_candidates: m, reward evaluations a round.
      filter_factor: f, proposals a candidate.
      prompt_tokens: of the question.
      new_tokens: of a response, at most.
      failure_rounds: whose failures are fitted.
      failure_epochs: of that fit.
      generator_epochs: of the distillation.
      batch_size: of both.
      efficiency: share of the sheet's products, bandwidth and links that is reached.
      output: JSON file; empty for none.
    """

    model: str = "qwen2_5_7b"
    devices: str = "h100:8"
    split: int = 0
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    rank: int = 16
    num_candidates: int = 250
    filter_factor: float = 16.0
    prompt_tokens: int = 128
    new_tokens: int = 256
    failure_rounds: int = 1
    failure_epochs: int = 5
    generator_epochs: int = 10
    batch_size: int = 50
    efficiency: float = 0.5
    output: str = ""

    def __post_init__(self):
        checks.fields(self)
        checks.integers(
            self, "rank", "num_candidates", "prompt_tokens", "new_tokens", "failure_rounds",
            "failure_epochs", "generator_epochs", "batch_size", at_least=1,
        )  # fmt: skip
        checks.integers(self, "split", at_least=0)
        checks.reals(self, "filter_factor", at_least=1)
        checks.reals(self, "efficiency", above=0, at_most=1)


def decoder(config: Config) -> DecoderConfig:
    types: dict[str, Any] = dict.fromkeys(("dtype", "param_dtype"), jnp.dtype(config.dtype))
    if config.model in MODELS:
        return dataclasses.replace(MODELS[config.model], **types)
    if not Path(config.model).is_dir():
        names = ", ".join(MODELS)
        raise ValueError(f"model={config.model!r} is neither a folder nor one of {names}")
    return huggingface_config.read_config(config.model, **types)


def devices(config: Config) -> tuple[Device, int]:
    kind, _, number = config.devices.partition(":")
    if kind not in DEVICES or not (number or "1").isdigit() or int(number or 1) < 1:
        kinds = ", ".join(DEVICES)
        raise ValueError(f"devices={config.devices!r} must be like h100:8, of one of {kinds}")
    return DEVICES[kind], int(number or 1)


def meshes(config: Config, model: DecoderConfig, number: int) -> list[tuple[int, int]]:
    """Those to try, (data, model), the smallest model axis first."""
    if config.split:
        if number % config.split:
            raise ValueError(f"split={config.split} must divide the {number} devices")
        return [(number // config.split, config.split)]
    whole = (k for k in range(1, number + 1) if number % k == model.num_kv_heads % k == 0)
    return [(number // k, k) for k in whole]


def works(config: Config, shape: Shape) -> dict[str, tuple[list[cost_model.Load], dict]]:
    """By name: loads of one device, and bytes that it takes beside what is resident."""
    m = config.num_candidates
    drawn = math.ceil(m * config.filter_factor)
    at_once = max(1, TOKENS // config.new_tokens)
    on_device = lambda rows, most: min(most, math.ceil(rows / shape.data))
    in_batch = on_device(config.batch_size, at_once)
    fit = lambda rows, epochs: [
        load.times(epochs) for load in cost_model.training(shape, rows, at_once, config.batch_size)
    ]
    scored = cost_model.scoring(shape, drawn, at_once)
    return {
        "draw proposals": (
            cost_model.sampling(shape, drawn, CHUNK),
            cost_memory.sampling(shape, on_device(drawn, CHUNK)),
        ),
        "score by prior and failure model": (
            scored + scored,
            cost_memory.scoring(shape, on_device(drawn, at_once)),
        ),
        "fit the failure model": (
            fit(m * config.failure_rounds, config.failure_epochs),
            cost_memory.training(shape, in_batch),
        ),
        "distil": (fit(m, config.generator_epochs), cost_memory.training(shape, in_batch)),
    }


def plan(config: Config) -> dict[str, Any]:
    """The first mesh with room, or the last: its works, and memory by what takes it."""
    model, (device, number) = decoder(config), devices(config)
    peak = device.bfloat16 if config.dtype == "bfloat16" else device.float32
    flops, moved, sent = (config.efficiency * x for x in (peak, device.bandwidth, device.link))
    speed = Speed(flops, moved, sent, STEP)
    for data, parts in meshes(config, model, number):
        shape = Shape(
            model, LoraConfig(rank=config.rank), config.prompt_tokens, config.new_tokens, data,
            parts,
        )  # fmt: skip
        resident, rows = cost_memory.resident(shape), []
        for name, (loads, memory) in works(config, shape).items():
            needed = cost_memory.BUFFERED * (sum(resident.values()) + sum(memory.values()))
            largest = max(memory, key=lambda part: memory[part])
            rows.append(
                {"work": name, "seconds": cost_model.seconds(loads, speed), "GB": needed / 1e9,
                 "most of it": f"{largest} {memory[largest] / 1e9:.1f}"}
            )  # fmt: skip
        peak_memory = max(row["GB"] for row in rows) * 1e9
        if peak_memory <= device.memory:
            break
    return {
        "mesh": f"data:{data},model:{parts}", "rows": rows, "resident": resident,
        "seconds": sum(row["seconds"] for row in rows), "bytes": peak_memory,
        "fits": peak_memory <= device.memory,
    }  # fmt: skip


def main(config: Config) -> None:
    started = time.perf_counter()
    output = config.output and str(report.output_file(config.output))
    made, (device, number) = plan(config), devices(config)
    c = decoder(config)
    size = f"{cost_model.weights(c) / 1e9:.2f}e9 weights in {config.dtype}"
    print(f"{config.model}: {size} on {number} x {device.kind}, --mesh={made['mesh']}\n")
    report.print_table(made["rows"], ("work", "seconds", "GB", "most of it"))
    held = ", ".join(f"{name} {size / 1e9:.1f}" for name, size in made["resident"].items())
    print(
        f"\na round: {report.format_value(made['seconds'])} s for {config.num_candidates} reward "
        f"evaluations, at {config.efficiency:.0%} of the sheet\n"
        f"memory of a device: {made['bytes'] / 1e9:.1f} of {device.memory / 1e9:.0f} GB; of it all "
        f"the time, in GB: {held}"
    )
    if not made["fits"]:
        print(
            "It does not fit: take more devices, or less of what takes most of it (--new_tokens, "
            "--batch_size, --dtype)."
        )
    if output:
        settings = dataclasses.asdict(config)
        report.write_json(output, {"config": settings, **made, **report.provenance(started)})
        print(f"written: {output}")
