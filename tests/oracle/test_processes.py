"""Real worker processes, few of them: each takes a tenth of a second to begin."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import worker_functions
from evaluations import call, evaluated

from banel_jax.oracle.answers import Answer, OracleError
from banel_jax.oracle.calls import each
from banel_jax.oracle.config import OracleConfig
from banel_jax.oracle.evaluators import processes, worker
from banel_jax.oracle.schedule import Schedule

ONE = Answer(1.0)
HERE = [str(Path(__file__).parents[n] / name) for n, name in [(2, ""), (1, "helpers"), (0, "")]]


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """pytest imports tests and helpers by itself; workers find them by the path."""
    monkeypatch.setattr(sys, "path", [*HERE, *sys.path])


def alive(pid):
    """Zombies are dead."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def until(happened):
    """Waits for what must happen; a test that fails waits for two minutes."""
    end = time.monotonic() + 120
    while not (found := happened()):
        assert time.monotonic() < end
        time.sleep(0.01)
    return found


def test_rewards_are_those_of_the_rows():
    for fn in (worker_functions.odd, "worker_functions:odd"):
        evaluator = processes(fn, 2)
        for _ in range(2):  # one run after another
            assert evaluated(evaluator, 5, batch_size=2) == [Answer(n % 2) for n in range(5)]
    with_text = [Answer(n % 2, f"text {n}") for n in range(2)]
    assert evaluated(processes(worker_functions.with_rows, 1), 2) == with_text
    assert evaluated(processes(each(worker_functions.one), 1), 2) == [Answer(0), Answer(1)]


def test_a_worker_has_its_own_session_and_loads_no_jax():
    assert evaluated(processes(worker_functions.jax_was_loaded, 1), 1) == [Answer(0, True)]


def test_what_a_function_does_badly_costs_its_own_row():
    outcomes = evaluated(processes(worker_functions.badly, 1), 10)
    assert outcomes[:4] == [ONE] * 4 and outcomes[9] == ONE
    for outcome, said in zip(
        outcomes[4:9],
        [
            "raised .*lambda", "raised SystemExit: 3", "raised ConnectionError: down and out",
            "the worker ended with exit status 9: bad pose", "the worker was ended by SIGSEGV",
        ],
        strict=True,
    ):  # fmt: skip
        with pytest.raises(Exception, match=said):
            raise outcome


def test_a_worker_that_died_may_be_transient():
    starts = []
    schedule = Schedule(
        processes(worker_functions.badly, 1),
        OracleConfig(transient="WorkerDied", retries=1, backoff=0.0),
        lambda ended, rows: starts.extend(row.row for row in rows),
    )
    schedule.add(call(8).only([7]))
    schedule.wait_for(0)
    schedule.close()
    assert starts == [7, 7]


def test_a_call_out_of_time_is_ended_with_all_that_it_started(tmp_path, monkeypatch):
    monkeypatch.setenv("NOTE", str(tmp_path / "note"))
    outcomes = evaluated(processes(worker_functions.hangs, 1), 2, timeout=1.0)
    assert str(outcomes[0]) == "did not answer within timeout=1 s" and outcomes[1] == ONE
    family = list(map(int, (tmp_path / "note").read_text().split()))
    assert len(family) == 3
    until(lambda: not any(map(alive, family)))


def test_closing_ends_what_is_at_work(tmp_path, monkeypatch):
    monkeypatch.setenv("NOTE", str(tmp_path / "note"))
    schedule = Schedule(
        processes(worker_functions.hangs, 2), OracleConfig(), lambda ended, rows: None
    )
    schedule.add(call(1))
    until(lambda: schedule.pump(0.01) or (tmp_path / "note").exists())
    schedule.close()
    family = list(map(int, (tmp_path / "note").read_text().split()))
    until(lambda: not any(map(alive, family)))


PARENT = """
import sys
sys.path[:0] = {path!r}
from banel_jax.oracle.config import OracleConfig
from banel_jax.oracle.schedule import Schedule
from evaluations import call
{make}
schedule = Schedule(evaluator, OracleConfig(), lambda ended, rows: None)
schedule.add(call(1))
schedule.wait_for(0)
"""


def test_workers_end_when_their_parent_is_killed(tmp_path):
    note = tmp_path / "note"
    make = "import worker_functions, banel_jax.oracle.evaluators as e\n"
    make += "evaluator = e.processes(worker_functions.hangs, 1)"
    environment = os.environ | {"NOTE": str(note), "PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT.format(path=HERE, make=make)], env=environment
    )
    family = list(
        map(int, until(lambda: parent.poll() or note.exists()) and note.read_text().split())
    )
    assert all(map(alive, family))
    parent.kill()
    parent.wait()
    until(lambda: not any(map(alive, family)))


def test_a_worker_that_is_idle_ends_with_its_input():
    process = subprocess.Popen(
        [sys.executable, worker.__file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    start = {"path": [*HERE, *sys.path], "main": None, "function": None, "each": False}
    out, _ = process.communicate(worker.framed(start | {"name": "worker_functions:odd"}))
    assert out == worker.framed("ready") and process.returncode == 0


SCRIPT = """
import sys
sys.path[:0] = {path!r}
from banel_jax.oracle.evaluators import processes
from evaluations import evaluated

def even(x):
    return x.tokens[:, 0] % 2 == 0

{guard}
    print([outcome.reward for outcome in evaluated(processes(even, 1), 2)])
"""


@pytest.mark.parametrize("guard", ['if __name__ == "__main__":', "try:"])
def test_a_function_of_the_script(tmp_path, guard):
    script = SCRIPT.format(path=HERE, guard=guard)
    if guard == "try:":
        script += "finally:\n    pass\n"
    (tmp_path / "script.py").write_text(script)
    ended = subprocess.run(
        [sys.executable, tmp_path / "script.py"], capture_output=True, text=True, timeout=120
    )
    if guard == "try:":
        assert "put what it does under if __name__ == '__main__'" in ended.stderr
    else:
        assert ended.stdout == "[1.0, 0.0]\n"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no_such_module:f", "could not load no_such_module:f: ModuleNotFoundError"),
        ("worker_functions:f", "could not load worker_functions:f: AttributeError"),
    ],
)
def test_a_function_that_cannot_be_loaded_ends_the_run(name, said):
    outcomes, unasked = [], []
    schedule = Schedule(
        processes(name, 2), OracleConfig(on_failure="drop"),
        lambda ended, rows: outcomes.extend(ended), on_unasked=unasked.extend,
    )  # fmt: skip
    schedule.add(call(3))
    with pytest.raises(OracleError, match=said):
        schedule.wait_for(0)
    schedule.close()
    assert outcomes == [] and {row.row for row in unasked} <= {0, 1} and unasked


def test_closures_go_by_value_where_cloudpickle_is_there(monkeypatch):
    divisor = 2
    closure = lambda x: x.tokens[:, 0] % divisor
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    with pytest.raises(ValueError, match="put it at the top of a module, or install cloudpickle"):
        processes(closure)
    monkeypatch.undo()
    pytest.importorskip("cloudpickle")
    monkeypatch.setattr(sys, "path", [*HERE, *sys.path])
    assert evaluated(processes(closure, 1), 2) == [Answer(0), ONE]


@pytest.mark.parametrize(
    ("fn", "said"),
    [
        ("odd", "name a function as 'module:function'"),
        ("a b:c", "name a function as"),
        (3, "processes was given a int"),
    ],
)
def test_what_is_no_function_is_refused(fn, said):
    with pytest.raises(ValueError, match=said):
        processes(fn)


def test_workers_that_do_not_start_are_given_up():
    evaluator = processes("time:sleep", 1, start_seconds=0.0)
    schedule = Schedule(evaluator, OracleConfig(), lambda ended, rows: None)
    schedule.add(call(1))
    with pytest.raises(OracleError, match="did not start within 0 s"):
        schedule.wait_for(0)
    schedule.close()
