"""What `python -m experiments.benchmark` runs, and with `plan` as its first word."""

import importlib
import sys

from experiments.common import flags

if __name__ == "__main__":
    planned = sys.argv[1:2] == ["plan"]
    if planned:
        del sys.argv[1]
    module = importlib.import_module(f"experiments.benchmark.{'plan' if planned else 'experiment'}")
    __doc__ = module.__doc__ or ""
    flags.run(module.main, module.Config(), resumes=False)
