"""What `python -m experiments.mnist` runs."""

from experiments.common import flags, methods
from experiments.mnist import experiment

__doc__ = experiment.__doc__

if __name__ == "__main__":
    flags.run(
        experiment.main, experiment.PRESETS["paper"], experiment.PRESETS, experiment.sweep,
        relevant=lambda config: methods.relevant(config, experiment.METHODS),
    )  # fmt: skip
