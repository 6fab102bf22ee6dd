"""What the controls of a run would have met: after it, and as a command of its own."""

import os
from pathlib import Path
from typing import Any

from banel_jax.commands import algorithms, fields, priors, settings
from banel_jax.commands.algorithms import Learner
from banel_jax.commands.help import columns
from banel_jax.commands.priors import Found
from banel_jax.commands.settings import Values, What
from banel_jax.models.lora import lora
from banel_jax.runs import control_file, report
from banel_jax.runs.controls import judge_controls

FLAGS = {
    "samples": "of each control, looked up among the answers that are known; by default 1000",
    "filter_factor": "f of the likeliest and least likely cut; by default the run's own, or 2",
    "temperatures": "of the ladder, such as 0.5,1,2",
    "seed": "of the samples; by default 0",
    "told_nothing": "whether to run the algorithm again, told nothing but 0, which takes the time "
    "that it takes; by default true",
}
KINDS = {"samples": int, "filter_factor": float, "temperatures": tuple[float, ...], "seed": int}


def controls(folder: Path, given: Values) -> int:
    """Judges the controls of a run, while it runs or after it, and says what they would have met.

    Raises:
      ValueError: in one line that names the flag.
    """
    options = {name: fields.flag(name, KINDS.get(name, bool), text) for name, text in given.items()}
    values = settings.kept(folder)
    if not values.get("prior"):
        raise ValueError(
            f"{folder} holds no run that a command began; begin one with run or ask, or call "
            "judge_controls in Python"
        )
    what, config = settings.built(values)
    if Path(what.workdir).is_dir():
        os.chdir(what.workdir)
    prior = priors.prior(what)
    judge(folder, what, prior, algorithms.learner(what, prior, config.seed), **options)
    return 0


def judge(
    folder: Path,
    what: What,
    prior: Found,
    learner: Learner,
    *,
    told_nothing: bool = True,
    **options: Any,
) -> None:
    """Judges, writes `controls.json`, draws the page anew, and prints what can be concluded."""
    start = None
    if learner.adapted:
        start = lora(prior.model, prior.params, what.lora), learner.start
    algorithm = learner.algorithm if told_nothing else None
    try:
        found = judge_controls(
            folder, prior.model, prior.params, algorithm=algorithm, start=start, **options
        )
    except ValueError as error:
        name = str(error).partition("=")[0]
        raise ValueError(f"--{error}" if name in FLAGS else str(error)) from error
    print(f"{folder}: what its controls would have met, at no evaluation")
    print("\n".join(columns([(one.control, one.conclusion) for one in found])))
    print(f"kept as {folder / control_file.NAME}; page: {report.show(folder)}")
