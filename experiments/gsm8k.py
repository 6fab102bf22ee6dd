"""GSM8K-Hard with a language model as the prior (Section 5.2): one program, several commands.

    python -m experiments.gsm8k pretrain    # a small stand-in for Qwen2.5, on GSM8K's own text
    python -m experiments.gsm8k finetune    # a policy gradient on the training questions
    python -m experiments.gsm8k select      # the questions that a model hardly ever gets right

Each command has its own flags: `python -m experiments.gsm8k pretrain --help`.
"""

import sys
from collections.abc import Callable
from typing import Any

from experiments import flags, gsm8k_finetune, gsm8k_pretrain, gsm8k_select

COMMANDS: dict[str, tuple[Callable[[Any], None], dict[str, Any]]] = {
    "pretrain": (gsm8k_pretrain.main, gsm8k_pretrain.PRESETS),
    "finetune": (gsm8k_finetune.main, gsm8k_finetune.PRESETS),
    "select": (gsm8k_select.main, gsm8k_select.PRESETS),
}


def main(arguments: list[str]) -> None:
    if len(arguments) < 2 or arguments[1] not in COMMANDS:
        print(__doc__, file=sys.stderr)
        sys.exit(f"give one of the commands {', '.join(COMMANDS)}")
    command = arguments.pop(1)
    run, presets = COMMANDS[command]
    flags.run(run, presets["default"], presets)


if __name__ == "__main__":
    main(sys.argv)
