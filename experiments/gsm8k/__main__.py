"""GSM8K-Hard with a language model as the prior (Section 5.2): one program, several commands.

    python -m experiments.gsm8k pretrain    # a small stand-in for Qwen2.5, on GSM8K's own text
    python -m experiments.gsm8k finetune    # a policy gradient on the training questions
    python -m experiments.gsm8k select      # the questions that a model hardly ever gets right
    python -m experiments.gsm8k run         # BaNEL, the baselines and the controls on them

Each command has its own flags: `python -m experiments.gsm8k pretrain --help`. Work is spread over
all devices that JAX finds, or as --mesh=data:4,model:2 says; `run` uses one where they are a CPU's.
"""

import functools
import sys
from collections.abc import Callable
from typing import Any

import jax

from banel_jax import parallel
from experiments.common import flags, help, methods
from experiments.gsm8k import finetune as gsm8k_finetune
from experiments.gsm8k import presets as gsm8k_presets
from experiments.gsm8k import pretrain as gsm8k_pretrain
from experiments.gsm8k import run as gsm8k_run
from experiments.gsm8k import select as gsm8k_select

# What runs it, its presets, and what sweeps over one of its fields.
COMMANDS: dict[str, tuple[Callable[[Any], None], dict[str, Any], Callable | None]] = {
    "pretrain": (gsm8k_pretrain.main, gsm8k_pretrain.PRESETS, None),
    "finetune": (gsm8k_finetune.main, gsm8k_finetune.PRESETS, None),
    "select": (gsm8k_select.main, gsm8k_select.PRESETS, None),
    "run": (gsm8k_run.main, gsm8k_presets.PRESETS, gsm8k_run.sweep),
}


def on_all_devices(function: Callable[..., None], judges: bool) -> Callable[..., None]:
    """Called under a mesh of them, unless it `judges` by Python within compiled calls on a CPU."""

    @functools.wraps(function)
    def spread(*args):
        if (
            parallel.is_spread()
            or len(jax.devices()) == 1
            or (judges and jax.default_backend() == "cpu")
        ):
            return function(*args)
        with jax.set_mesh(parallel.data_mesh()):
            return function(*args)

    return spread


def main(arguments: list[str]) -> None:
    if help.wanted(arguments[1:2]):
        print(__doc__)
        sys.exit()
    if len(arguments) < 2 or arguments[1] not in COMMANDS:
        print(__doc__, file=sys.stderr)
        sys.exit(f"give one of the commands {', '.join(COMMANDS)}")
    command = arguments.pop(1)
    run, presets, sweep = COMMANDS[command]
    spread = functools.partial(on_all_devices, judges=command == "run")
    relevant = lambda config: methods.relevant(config, gsm8k_run.METHODS)
    flags.run(
        spread(run), presets["default"], presets, sweep and spread(sweep),
        relevant=relevant if command == "run" else None,
    )  # fmt: skip


if __name__ == "__main__":
    main(sys.argv)
