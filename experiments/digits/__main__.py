"""What `python -m experiments.digits` runs."""

from experiments.common import comparison
from experiments.digits import experiment

__doc__ = experiment.__doc__

if __name__ == "__main__":
    comparison.program(experiment.EXPERIMENT)
