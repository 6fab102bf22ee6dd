"""What `python -m experiments.gaussian_1d` runs."""

from experiments.common import flags
from experiments.gaussian_1d import experiment

__doc__ = experiment.__doc__

if __name__ == "__main__":
    flags.run(experiment.main, experiment.Config(), resumes=False)
