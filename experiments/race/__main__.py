"""The race: evaluations to the first success, to half, to many different ones, method by method.

    python -m experiments.race

runs the cells that are not recorded yet, each a task, a method, a number of candidates and a seed,
as far as --minutes go; the same command goes on with the others. Then

    python -m experiments.race table

puts together what is recorded: table.json, a table to read, and a figure. Settings are those that
did best in `python -m experiments.race search`, on other seeds. experiments/race/README.md says
what is measured.
"""

from experiments.common import flags
from experiments.race import cells, search, table
from experiments.race.config import PRESETS, Config

COMMANDS = {"cells": cells.main, "search": search.main, "table": table.main}


def main(config: Config) -> None:
    COMMANDS[config.command](config)


if __name__ == "__main__":
    flags.run(main, Config(), PRESETS, positional=("command",))
