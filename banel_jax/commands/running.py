"""Commands that work on a run: run, ask, extend, tell."""

import os
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from banel_jax import files, hosts
from banel_jax.commands import algorithms, devices, judging, oracles, priors, settings
from banel_jax.commands.settings import Values, What
from banel_jax.oracle import AnswersPending, Ledger, Oracle, reading, tables
from banel_jax.oracle.answers import Answer, Outcome
from banel_jax.oracle.calls import Call, Row
from banel_jax.runs import folder as run_folder
from banel_jax.runs.callbacks import Callback, TensorBoard
from banel_jax.runs.loop import RunResult
from banel_jax.runs.loop import run as loop_run

AWAITED = 75  # the exit status where answers are awaited: EX_TEMPFAIL, try again later


def run(folder: Path, given: Values, oracle_name: str | None = None) -> int:
    """Begins a run, or goes on with it; by default with its own oracle.

    Raises:
      ValueError: in one line.
    """
    values = settings.merged(settings.kept(folder), settings.absolute(given))
    values |= {"oracle": oracle_name} if oracle_name else {}
    if "budget" in given and "rounds" not in values:
        values["rounds"] = "none"  # as many as it pays
    what, config = settings.built(values)
    algorithms.config(what.algorithm, what.set)  # before what takes long
    devices.connect(what)
    if Path(what.workdir).is_dir():
        os.chdir(what.workdir)
    watching = _watching(what, folder)
    prior = priors.prior(what)
    oracle = oracles.oracle(what, config, prior, folder)
    with devices.spread(what):
        learner = algorithms.learner(what, prior, config.seed)
    known, text = priors.known(what, prior), prior.text
    judge = partial(judging.judge, folder, what, prior, learner) if what.controls else None
    del prior  # large, and where adapters are trained nobody's any more
    try:
        with devices.spread(what):
            result = loop_run(
                learner.algorithm, learner.start, cast(Any, oracle), config, folder,
                configuration=settings.to_keep(values), accept=what.accept, text=text,
                known=known, callbacks=watching,
            )  # fmt: skip
    except AnswersPending as pending:
        print(_one_line(pending))
        return AWAITED
    if hosts.leads():
        _tell(folder, result)
    hosts.disconnect()
    if judge is not None:
        judge()
    return 0


def _watching(what: What, folder: Path) -> list[Callback]:
    try:
        return [TensorBoard(folder / "tensorboard")] if what.tensorboard else []
    except ValueError as error:
        raise ValueError(f"--tensorboard: {error}") from error


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _tell(folder: Path, result: RunResult) -> None:
    last = result.metrics[-1] if result.metrics else {}
    rows, successes = (int(last.get(n, 0)) for n in ("num_reward_evaluations", "num_successes"))
    how = f"stopped: {result.stopped}" if result.stopped else "done"
    print(
        f"{folder}: {how}; {len(result.metrics)} rounds, {rows} evaluations, {successes} successes"
    )


def ask(folder: Path, given: Values) -> int:
    """Proposes the next round as tables, after learning from what was told of the one before."""
    return run(folder, given, oracles.BY_HAND)


def extend(folder: Path, given: Values) -> int:
    """Goes on with more rounds, more budget, or another rule to stop."""
    _existing(folder)
    more = {"rounds", "budget"} | {name for name in given if name.startswith("stop.")}
    if not more & given.keys():
        raise ValueError(
            "extend needs --rounds or --budget, in all and not in addition, or --stop.RULE"
        )
    if "budget" in given and "rounds" not in given:
        given = given | {"rounds": "none"}
    return run(folder, given)


def _existing(folder: Path) -> None:
    if not (folder / "config.json").exists():
        raise ValueError(f"{folder} holds no run; begin one with run or ask")


def tell(folder: Path, paths: list[str]) -> int:
    """Takes answers from tables, in any order and in parts, and says what is still awaited.

    Nothing is learned from them before `ask` or `run`.

    Raises:
      ValueError: in one line that names the file and the line; nothing of it is then taken.
    """
    _existing(folder)
    with run_folder.hold(folder):
        name = run_folder.begun_as(folder / "config.json")
        with closing(Ledger(folder / "oracle.sqlite", name, True)) as ledger:
            round = ledger.last_round()
            if round < 0:
                raise ValueError(f"{folder} awaits no answers yet; give ask before tell")
            rows = reading.read(folder, rounds=round)
            evaluator = oracles.by_hand(folder)
            taken = _take(evaluator.folder, paths)
            try:
                names = [Row(ledger.name_of(r), int(r), round, i) for i, r in enumerate(rows.row)]
                said = evaluator.evaluate(Call(names, rows.sequences, None))
                _check(said, rows.reward, names)
            except BaseException:
                for path in taken:
                    path.unlink(missing_ok=True)
                raise
            _, config = settings.built(settings.merged(settings.kept(folder)))
            with closing(Oracle(evaluator, None, ledger, config.oracle)) as oracle:
                try:
                    oracle.evaluate(round, rows.sequences)
                except AnswersPending as pending:
                    print(_one_line(pending))
                    return AWAITED
    print(f"{folder}: all {len(rows)} answers of round {round} are there; ask or run goes on")
    return 0


def _take(into: Path, paths: list[str]) -> list[Path]:
    """Copies tables to where answers are read from, but those that are there already."""
    into.mkdir(parents=True, exist_ok=True)
    taken: list[Path] = []
    for given in paths:
        path = files.expand(given)
        lines = tables.kind(path) != ".parquet"
        content = path.read_bytes()
        if path.parent.absolute() == into.absolute() or not content:
            continue
        if lines and not content.endswith(b"\n"):  # it is whole, as it was handed over
            content += b"\n"
        there = sorted(into.glob("told_*"))
        if any(one.read_bytes() == content for one in there):
            continue
        target = into / f"told_{len(there) + 1:04d}_{path.stem}{path.suffix.lower()}"
        with files.replacing(target) as file:
            file.write(content)
        taken.append(target)
    return taken


def _check(said: Sequence[Outcome], rewards: np.ndarray, rows: Sequence[Row]) -> None:
    """What was learned from stays as it was."""
    for one, reward, row in zip(said, rewards, rows, strict=True):
        if isinstance(one, Answer) and not np.isnan(reward) and one.reward != reward:
            raise ValueError(
                f"{row} was answered {reward:g} before, and is {one.reward:g} now; the first stays"
            )
