"""An oracle by its name: a function, a check of texts, a program, or people."""

import inspect
import shlex
from pathlib import Path
from typing import Any

from banel_jax.commands import named
from banel_jax.commands.priors import Found
from banel_jax.commands.settings import What
from banel_jax.oracle import evaluators
from banel_jax.oracle.evaluators import Evaluator
from banel_jax.oracle.evaluators.protocol import is_async
from banel_jax.runs.config import RunConfig
from banel_jax.tasks import text

BY_HAND, COMMAND, TASK = "by-hand", "command:", "task"


def oracle(what: What, config: RunConfig, prior: Found, folder: Path) -> Evaluator:
    """What a run asks.

    Args:
      what: the settings.
      config: of the run.
      prior: whose task may have an oracle of its own.
      folder: of the run.

    Raises:
      ValueError: in one line that names the flag.
    """
    name = what.oracle or (TASK if prior.reward_fn else "")
    if name == BY_HAND:
        return by_hand(folder)
    if name.startswith(COMMAND):
        return _program(name, what)
    if text.is_check(name):
        return _check(name, prior)
    if name == TASK and prior.reward_fn:
        return evaluators.as_evaluator(prior.reward_fn)
    if not name or not named.is_name(name):
        given = f"--oracle={name} is none" if name else "there is no --oracle"
        raise ValueError(
            f'{given}; give module:function, "command: PROGRAM ARGUMENT ...", a check of the text '
            'such as "numeric: 84", or by-hand'
        )
    return _function(named.found("oracle", name), name, what, config)


def by_hand(folder: Path) -> evaluators.by_hand:
    """Tables within a run's folder."""
    return evaluators.by_hand(folder / "by_hand")


def _check(name: str, prior: Found) -> Evaluator:
    if prior.text is None:
        raise ValueError(f"--oracle={name} judges texts, and the prior has none; give it --text")
    try:
        judge = text.check(name)
    except ValueError as error:
        raise ValueError(f"--oracle={error}") from error
    return evaluators.in_place(text.TextOracle(prior.text, judge))


def _program(name: str, what: What) -> Evaluator:
    try:
        argv = shlex.split(name.removeprefix(COMMAND))
        return evaluators.command(argv, what.workers or 1, what.per_call)
    except ValueError as error:
        raise ValueError(f"--oracle={name}: {error}") from error


def _function(value: Any, name: str, what: What, config: RunConfig) -> Evaluator:
    if not isinstance(value, type) and isinstance(value, Evaluator):
        return value
    if not callable(value) or inspect.isclass(value):
        raise ValueError(f"--oracle={name} is a {type(value).__name__}; name a function")
    if is_async(value):
        return evaluators.asynchronous(value, what.workers or 32)
    workers, how = what.workers or 1, what.how
    if how == "auto":
        how = "processes" if workers > 1 or config.oracle.timeout is not None else "here"
    if how == "here" and workers > 1:
        raise ValueError(f"--workers={workers} needs --how=threads or --how=processes")
    if how == "here":
        return evaluators.in_place(value)
    if how == "threads":
        return evaluators.threads(value, workers)
    return evaluators.processes(name, workers)
