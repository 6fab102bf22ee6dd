"""What `python -m experiments.digits` runs."""

from experiments.common import flags
from experiments.digits import experiment
from experiments.digits.config import PRESETS

__doc__ = experiment.__doc__

if __name__ == "__main__":
    flags.run(experiment.main, PRESETS["demo"], PRESETS)
