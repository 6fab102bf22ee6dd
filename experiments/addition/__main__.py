"""What `python -m experiments.addition` runs."""

from experiments.addition import experiment
from experiments.common import comparison

__doc__ = experiment.__doc__

if __name__ == "__main__":
    comparison.program(experiment.EXPERIMENT)
