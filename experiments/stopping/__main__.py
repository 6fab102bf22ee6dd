"""When to stop without a success: how much of a run's best round rules on what can be seen keep.

    python -m experiments.stopping

runs what is not recorded yet, as far as --minutes go; the same command goes on with the others.

    python -m experiments.stopping table

judges every rule on what is recorded. experiments/stopping/README.md says what was found.
"""

from experiments.common import flags
from experiments.stopping import table, trajectories
from experiments.stopping.config import PRESETS, Config

COMMANDS = {"run": trajectories.main, "table": table.main}


def main(config: Config) -> None:
    COMMANDS[config.command](config)


if __name__ == "__main__":
    flags.run(main, Config(), PRESETS, positional=("command",))
