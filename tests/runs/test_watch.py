"""What looks on while a run runs: status, page, table, callbacks, the line on a terminal."""

import contextlib
import csv
import json
import logging
import os
import sys
import time
import types

import jax.numpy as jnp
import made_up_run
import numpy as np
import pytest
import tiny_run

from banel_jax.oracle import calls
from banel_jax.oracle.answers import Pending
from banel_jax.runs import callbacks, lock, progress
from banel_jax.runs import folder as run_folder
from banel_jax.runs.callbacks import Callbacks
from banel_jax.runs.loop import RunConfig, run
from banel_jax.runs.metrics_csv import MetricsCsv
from banel_jax.runs.report import Reader, refresher, show, status
from banel_jax.runs.report.facts import facts
from banel_jax.runs.report.refresher import Refresher
from banel_jax.runs.report.view import Standing
from banel_jax.runs.watch import Watch
from banel_jax.types import Sequences


def said(folder):
    return json.loads((folder / "status.json").read_text())


def watched(folder, records, *told, during=lambda: None):
    """What a run does: holds its folder and tells of each round after it was written down."""
    with lock.hold(folder), Watch(folder, [], Callbacks(told)) as watch:
        for record in records:
            run_folder.append_record(folder / "metrics.jsonl", record)
            tokens = jnp.full((3, 2), int(record["round"]))
            watch.on_round(record, "state", Sequences(tokens, tokens > 0), np.float32([0, 1, 0]))
        during()


def test_status_says_how_a_run_stands(tmp_path):
    folder = made_up_run.write(tmp_path / "run", 2, wanted=5)
    seen = []
    watched(folder, [], during=lambda: seen.append(status(folder)))
    assert seen[0].startswith(f"{folder}: running\n") and "2 of 5" in seen[0]
    assert status(folder).startswith(f"{folder}: complete\n")
    known = said(folder)
    assert (known["state"], known["pid"], known["told"]) == ("complete", os.getpid(), 2)
    assert known["rows"] == known["answered"] == 40 and known["rows_in_all"] == 100
    assert abs(known["time"] - time.time()) < 100


@pytest.mark.parametrize(
    ("error", "state"), [(ValueError("the arm is stuck"), "failed"), (KeyboardInterrupt, "stopped")]
)
def test_an_end_before_the_end_is_told(tmp_path, error, state):
    def fails():
        raise error

    folder = made_up_run.write(tmp_path / "run", 2, wanted=5)
    with pytest.raises((ValueError, KeyboardInterrupt)):
        watched(folder, [], during=fails)
    assert said(folder)["state"] == state
    assert (folder / "report.html").exists()
    assert ("the arm is stuck" in status(folder)) == (state == "failed")


def test_a_rule_that_ended_a_run_is_told(tmp_path):
    with Watch(made_up_run.write(tmp_path / "run", 2)) as watch:
        watch.standing = Standing("complete", "3 successes")
    assert said(tmp_path / "run")["why"] == "3 successes"


def test_the_page_shows_texts_where_there_are_any(tmp_path):
    folder = made_up_run.write(tmp_path / "run", 2, m=3, rates=[1, 0])
    lines = [{"row": 0, "text": "met first"}, {"row": 1}, {"row": 2, "text": "met last"}]
    (folder / "successes.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    with lock.hold(folder), Watch(folder) as watch:
        rows = [calls.Row(f"row-{k}", k, 1, k - 3) for k in (3, 4)]
        x = Sequences(jnp.zeros((2, 1)), jnp.ones((2, 1)))
        watch.propose(calls.Call(rows, x, ["is <i>", "was"]))
    written = (folder / "report.html").read_text()
    assert all(text in written for text in ("met first", "met last", "is &lt;i&gt;", "was"))


def test_the_page_is_drawn_again_after_a_kill(tmp_path):
    folder = made_up_run.write(tmp_path / "run", 2)
    assert show(folder) == folder / "report.html"
    assert "2 / 2" in (folder / "report.html").read_text()
    with pytest.raises(ValueError, match="holds no run"):
        show(tmp_path)


class Awaits(ValueError):
    standing = "waiting"


def test_how_a_run_ended():
    of = refresher.ended
    assert of(None) == Standing("complete")
    assert of(KeyboardInterrupt()).state == "stopped"
    assert of(SystemExit(128 + 15)) == Standing("stopped", "by SIGTERM")
    assert of(SystemExit("enough")) == Standing("stopped", "enough")
    assert of(Awaits("round_3.csv is\nawaited")) == Standing("waiting", "round_3.csv is awaited")
    assert of(ValueError("a\nb")) == Standing("failed", "a b")
    assert of(KeyError("a")) == Standing("failed", "KeyError: 'a'")


def test_a_run_that_was_killed_is_told_from_one_that_runs(tmp_path):
    folder = made_up_run.write(tmp_path / "run", 2, wanted=5)
    live = {"state": "running", "pid": 7, "host": "elsewhere", "time": time.time() - 5}
    (folder / "status.json").write_text(json.dumps(live))
    assert Reader(folder).read().standing.state == "running"  # another host's, with a heartbeat
    (folder / "status.json").write_text(json.dumps(live | {"time": time.time() - 500}))
    assert "process 7 on elsewhere ended without a word" in status(folder)
    with lock.hold(folder):
        assert Reader(folder).read().standing.state == "running"
    assert Reader(folder).read().standing.state == "stopped"


def test_asking_whether_a_folder_is_held_hinders_nobody(tmp_path, monkeypatch):
    assert not lock.is_held(tmp_path / "none")
    asked = lock.fcntl.flock
    others = []

    def flock(descriptor, kind):
        if kind & lock.fcntl.LOCK_EX and not others:  # another looks at this very moment
            others.append(os.open(tmp_path, os.O_RDONLY))
            asked(others[0], lock.fcntl.LOCK_SH)
            try:
                return asked(descriptor, kind)
            finally:
                os.close(others[0])
        return asked(descriptor, kind)

    monkeypatch.setattr(lock.fcntl, "flock", flock)
    with lock.hold(tmp_path):
        assert lock.is_held(tmp_path)
    assert others and not lock.is_held(tmp_path)


def test_the_refresher_harms_no_run_and_says_once_what_hinders_it(tmp_path, monkeypatch, caplog):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(refresher.files, "write_atomically", full)
    refreshing = Refresher(made_up_run.write(tmp_path / "run", 1), every=0.0)
    with caplog.at_level(logging.WARNING), refreshing:
        for _ in range(3):
            refreshing.draw(Standing("running"))
    assert [record.getMessage() for record in caplog.records] == [
        f"the page of {tmp_path / 'run'} is left as it is: the disk is full"
    ]
    assert not refreshing._thread.is_alive()


def test_the_thread_draws_while_the_run_runs(tmp_path):
    folder = made_up_run.write(tmp_path / "run", 1)
    with Refresher(folder, "python mine.py", every=0.01):
        while not (folder / "report.html").exists():
            time.sleep(0.01)
        assert said(folder)["state"] == "running"
    assert said(folder)["state"] == "complete"
    assert "python mine.py" in status(folder)
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_pace_and_time_left(tmp_path):
    folder = made_up_run.write(tmp_path / "run", 4, m=20, wanted=10)
    view = Reader(folder).read(Standing("running"))
    known = facts(view)
    assert known.rounds == 10
    assert known.rows_per_second == pytest.approx(20 / 32) and known.seconds_per_row == 25 / 20
    gone = view.time - view.told
    assert known.seconds_left == pytest.approx(6 * 32 - gone)
    assert facts(Reader(folder).read(Standing("stopped"))).seconds_left is None
    text = progress.line(known)
    assert text.startswith(f"80/200 rows paid, {known.successes} success")
    assert "0.625 rows/s" in text and "1.25 s a row" in text and "left" in text


def test_without_rounds_the_budget_says_how_many(tmp_path):
    folder = made_up_run.write(tmp_path / "run", 2, m=20)
    for budget, rounds in ((None, None), (90, 4)):
        change = {"run.may_change.rounds": None, "run.may_change.budget": budget}
        config = json.loads((folder / "config.json").read_text())
        config["changes"] = [{"from_round": 2, "fields": change}]
        (folder / "config.json").write_text(json.dumps(config))
        known = facts(Reader(folder).read(Standing("running")))
        assert known.rounds == rounds and (known.seconds_left is None) == (rounds is None)


def test_the_line_is_for_terminals_alone(tmp_path, monkeypatch, capsys):
    known = facts(Reader(made_up_run.write(tmp_path / "run", 1)).read())
    for terminal in (False, True):
        monkeypatch.setattr(progress, "on_terminal", lambda terminal=terminal: terminal)
        bar = progress.Bar("mine")
        bar.show(known)
        bar.close()
        assert ("20/20 rows paid" in capsys.readouterr().err) == terminal


def table(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_table_holds_what_the_records_do(tmp_path):
    records = [{"round": k, "loss": k / 3, "unknown": float("nan")} for k in range(3)]
    watched(tmp_path, records)
    read = [{k: float(v) for k, v in row.items()} for row in table(tmp_path / "metrics.csv")]
    np.testing.assert_equal(read, records)
    (tmp_path / "metrics.csv").write_text("torn")
    MetricsCsv(tmp_path / "metrics.csv", records[:2]).append(records[2])
    read = [{k: float(v) for k, v in row.items()} for row in table(tmp_path / "metrics.csv")]
    np.testing.assert_equal(read, records)


def test_a_metric_that_comes_later_adds_a_column(tmp_path, caplog):
    path = tmp_path / "metrics.csv"
    kept = MetricsCsv(path)
    assert not path.exists()
    kept.append({"round": 0, "a": 0.1})
    kept.append({"round": 1, "=b,\n": float("inf")})
    kept.append({"round": 2, "a": float("nan")})
    assert table(path) == [
        {"round": "0", "a": "0.1", "=b,\n": ""},
        {"round": "1", "a": "", "=b,\n": "inf"},
        {"round": "2", "a": "nan", "=b,\n": ""},
    ]
    path.unlink()
    kept.append({"round": 3})
    assert "metrics.csv is left as it is" in caplog.text
    kept.append({"round": 4})
    assert [row["round"] for row in table(path)] == list("01234")


class Told:
    def __init__(self, fails=False):
        self.rounds, self.ends, self.fails = [], 0, fails

    def on_round(self, record, state, candidates, rewards):
        self.rounds.append((record, np.asarray(candidates.tokens), np.asarray(rewards)))
        if self.fails:
            raise RuntimeError("no")

    def on_end(self):
        self.ends += 1


def test_callbacks_are_told_of_each_round_and_do_no_harm(tmp_path, caplog):
    failing, told = Told(fails=True), Told()
    records = [{"round": k} for k in range(3)]
    watched(tmp_path, records, failing, told)
    assert [record for record, _, _ in told.rounds] == records and told.ends == 1
    _, tokens, rewards = told.rounds[2]
    assert tokens.tolist() == [[2, 2]] * 3 and rewards.tolist() == [0, 1, 0]
    assert len(failing.rounds) == 3 and caplog.text.count("callback Told failed") == 1
    with pytest.raises(ValueError, match="callbacks hold a function without on_round"):
        Callbacks([watched])


class Writer:
    """What tensorboardX has."""

    def __init__(self, folder, filename_suffix):
        self.folder, self.scalars, self.closed = folder, [], False

    def add_scalar(self, name, value, round):
        self.scalars.append((name, value, round))

    def flush(self): ...

    def close(self):
        self.closed = True


def test_tensorboard_is_given_the_finite_metrics_by_round(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", types.SimpleNamespace(SummaryWriter=Writer))
    board = callbacks.TensorBoard(tmp_path / "board")
    board.on_round({"round": 3, "a": 1.5, "b": float("nan")}, None, None, None)
    board.on_end()
    assert board._writer.scalars == [("a", 1.5, 3)] and board._writer.closed


def test_without_a_writer_tensorboard_says_what_to_install(tmp_path, monkeypatch):
    for module, _ in callbacks.WRITERS:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match="pip install tensorboardX"):
        callbacks.TensorBoard(tmp_path)


def test_tensorboards_folder_is_made_with_the_first_round(tmp_path, monkeypatch):
    pytest.importorskip("tensorboardX")
    board = callbacks.TensorBoard(tmp_path / "board")
    board.on_end()  # of a run that was refused
    assert not (tmp_path / "board").exists()


def test_the_real_writer_writes(tmp_path):
    pytest.importorskip("tensorboardX")
    board = callbacks.TensorBoard(tmp_path)
    board.on_round({"round": 3, "mine": 1.5}, None, None, None)
    board.on_end()
    (events,) = tmp_path.glob("events*")
    assert b"mine" in events.read_bytes() and np.float32(1.5).tobytes() in events.read_bytes()


def test_a_run_is_watched(tmp_path):
    told, seen = Told(), []

    def oracle(sequences):
        seen.append(status(tmp_path))
        return tiny_run.reward(sequences)

    config = RunConfig(3, seed=1)
    text = lambda x: [f"tokens {tokens.tolist()}" for tokens in x.tokens]
    whole = run(
        tiny_run.learner(), tiny_run.PRIOR, oracle, config, tmp_path, callbacks=[told], text=text
    )
    assert seen[0].startswith(f"{tmp_path}: running\n")
    assert [record for record, _, _ in told.rounds] == whole.metrics and told.ends == 1
    _, tokens, rewards = told.rounds[0]
    np.testing.assert_array_equal(rewards, (tokens.sum(axis=1) >= 5).astype(np.float32))
    assert said(tmp_path)["state"] == "complete" and said(tmp_path)["rows"] == 3 * tiny_run.M
    assert "tokens [" in (tmp_path / "report.html").read_text()
    assert [float(row["loss"]) for row in table(tmp_path / "metrics.csv")] == [
        record["loss"] for record in whole.metrics
    ]
    with pytest.raises(ValueError, match="callbacks hold a function"):
        run(tiny_run.learner(), tiny_run.PRIOR, oracle, config, tmp_path / "x", callbacks=[said])
    assert not (tmp_path / "x").exists()


def test_an_oracle_that_fails_or_pauses_is_told(tmp_path):
    def fails(sequences):
        raise RuntimeError("the arm is stuck")

    def pauses(sequences):
        raise Pending("the lab's reply")

    for oracle, state in ((fails, "failed"), (pauses, "waiting"), (tiny_run.reward, "complete")):
        with contextlib.suppress(ValueError):
            run(tiny_run.learner(), tiny_run.PRIOR, oracle, RunConfig(2, seed=1), tmp_path)
        assert said(tmp_path)["state"] == state
    assert "the arm is stuck" not in status(tmp_path)
