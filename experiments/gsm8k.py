"""GSM8K-Hard with a language model as the prior (Section 5.2): one program, several commands.

    python -m experiments.gsm8k pretrain    # a small stand-in for Qwen2.5, on GSM8K's own text

Each command has its own flags: `python -m experiments.gsm8k pretrain --help`.
"""

import sys

from experiments import flags, gsm8k_pretrain

COMMANDS = {"pretrain": (gsm8k_pretrain.main, gsm8k_pretrain.PRESETS)}


def main(arguments: list[str]) -> None:
    if len(arguments) < 2 or arguments[1] not in COMMANDS:
        print(__doc__, file=sys.stderr)
        sys.exit(f"give one of the commands {', '.join(COMMANDS)}")
    command = arguments.pop(1)
    run, presets = COMMANDS[command]
    flags.run(run, presets["default"], presets)


if __name__ == "__main__":
    main(sys.argv)
