"""What `python -m experiments.benchmark` runs."""

from experiments.benchmark import experiment
from experiments.common import flags

__doc__ = experiment.__doc__

if __name__ == "__main__":
    flags.run(experiment.main, experiment.Config(), resumes=False)
