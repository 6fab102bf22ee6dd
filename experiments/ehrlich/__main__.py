"""What `python -m experiments.ehrlich` runs."""

from experiments.common import flags
from experiments.ehrlich import screen

__doc__ = screen.__doc__

if __name__ == "__main__":
    flags.run(screen.main, screen.PRESETS["small"], screen.PRESETS)
