"""What `python -m experiments.mnist` runs."""

from experiments.common import comparison
from experiments.mnist import experiment

__doc__ = experiment.__doc__

if __name__ == "__main__":
    comparison.program(experiment.EXPERIMENT)
