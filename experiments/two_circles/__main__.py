"""What `python -m experiments.two_circles` runs."""

from experiments.common import flags
from experiments.two_circles import experiment

__doc__ = experiment.__doc__

if __name__ == "__main__":
    flags.run(experiment.main, experiment.Config(), resumes=False)
