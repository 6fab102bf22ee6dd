"""Two processes of two devices each run one experiment; either may be killed."""

import json
import signal
import socket
import sqlite3
from types import SimpleNamespace

import another_process
import jax
import nightly
import pytest
import tiny_run

from banel_jax import hosts
from banel_jax.runs import loop

PROGRAM = """
import json, os, signal, sys
folder, port, index, seed, dies, at = sys.argv[1:]
import jax
from banel_jax import hosts
hosts.HEARTBEAT = 3
hosts.connect(f"localhost:{port},2,{index}")
import tiny_run
from banel_jax import parallel
from banel_jax.runs import loop
from banel_jax.runs.leaves import checksum

def reward(sequences):
    assert hosts.leads(), "the oracle was asked by another process"
    return tiny_run.reward(sequences)

class Dying:
    def on_round(self, record, state, candidates, rewards):
        float(jax.numpy.sum(state["params"]))  # the first process alone may look at it
        if dies == "0" and record["round"] == int(at):
            os.kill(os.getpid(), signal.SIGKILL)
    def on_end(self): pass

if dies == index == "1":
    collect = loop.hosting.Heard.collect
    def dying(self, round):
        if round == int(at):
            os.kill(os.getpid(), signal.SIGKILL)
        return collect(self, round)
    loop.hosting.Heard.collect = dying

config = loop.RunConfig(rounds=6, seed=int(seed.split(",")[int(index)]), checkpoint_every=2)
with jax.set_mesh(parallel.mesh("data")):
    assert parallel.num_devices() == 4
    algorithm, more = tiny_run.learner(), dict(evaluate=tiny_run.evaluate, callbacks=[Dying()])
    result = loop.run(algorithm, tiny_run.PRIOR, reward, config, folder, **more)
    print(json.dumps([checksum(hosts.local(result.state)), result.metrics]))
hosts.disconnect()
"""


def started(folder, index, port, seeds="5,5", dies="", at=0):
    words = [str(folder), str(port), str(index), seeds, str(dies), str(at)]
    return another_process.started(PROGRAM, *words, devices=2)


def both(folder, **how):
    """(exit status, what was printed, what was told) of both, which end within a minute."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    ends = []
    processes = [started(folder, index, port, **how) for index in range(2)]
    try:
        for process in processes:
            out, err = process.communicate(timeout=120)
            ends.append((process.returncode, out, err))
    finally:
        for process in processes:
            process.kill()
    return ends


def result(folder, **how):
    (first, out, err), (second, other, told) = both(folder, **how)
    assert first == second == 0, err + told
    found = [json.loads(text.splitlines()[-1]) for text in (out, other)]  # after what Gloo says
    assert repr(found[0]) == repr(found[1])  # both have the state and the metrics of the run
    return found[0]


def rows(folder):
    with sqlite3.connect(folder / "oracle.sqlite") as ledger:
        return ledger.execute("SELECT row, state, reward FROM evaluations ORDER BY row").fetchall()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hosts") / "whole"
    return folder, result(folder)


def test_several_processes_run_as_one(uninterrupted, tmp_path):
    folder, (_, metrics) = uninterrupted
    config = loop.RunConfig(rounds=6, seed=5)
    alone = loop.run(
        tiny_run.learner(), tiny_run.PRIOR, tiny_run.reward, config, tmp_path,
        evaluate=tiny_run.evaluate,
    )  # fmt: skip
    for found, expected in zip(metrics, alone.metrics, strict=True):
        assert found == pytest.approx(expected, rel=1e-5, nan_ok=True)
    assert rows(folder) == rows(tmp_path)


@pytest.mark.parametrize("which", nightly.params([0, 1], [0]))
def test_one_that_is_killed_ends_the_other_and_both_go_on(which, uninterrupted, tmp_path):
    ends = both(tmp_path, dies=which, at=3)
    assert ends[which][0] == -signal.SIGKILL
    status, _, told = ends[1 - which]
    assert status and ("is gone" in told or "another task died" in told)
    assert repr(result(tmp_path)) == repr(uninterrupted[1])  # NaN is in it
    assert rows(tmp_path) == rows(uninterrupted[0])


def test_what_ends_the_first_process_is_said_in_the_others(uninterrupted):
    ends = both(uninterrupted[0], seeds="6,6")  # a folder of another configuration
    assert [status for status, _, _ in ends] == [1, 1]
    assert "the first process has ended: the folder" in ends[1][2]
    assert "seed" in ends[1][2]


def test_processes_with_different_settings_are_refused(tmp_path):
    ends = both(tmp_path, seeds="5,6")
    assert ends[1][0] == 1 and "started with another configuration" in ends[1][2]
    assert ends[0][0] == 1 and "process 1 refuses: it was started with another" in ends[0][2]
    assert not rows(tmp_path)


def test_a_long_word_goes_in_parts_and_each_process_answers(monkeypatch):
    kept, awaited = {}, []

    def get(key, milliseconds):
        if key not in kept and not awaited.count(key):  # later than one looks for it
            awaited.append(key)
            raise jax.errors.JaxRuntimeError("DEADLINE_EXCEEDED: nothing yet")
        if key not in kept:
            raise jax.errors.JaxRuntimeError("UNAVAILABLE: Socket closed")
        return kept[key]

    service = SimpleNamespace(key_value_set=kept.__setitem__, blocking_key_value_get=get)
    monkeypatch.setattr(hosts, "_service", lambda: service)
    monkeypatch.setattr(hosts, "PART", 7)
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    said, heard = hosts.Line(), hosts.Line()
    heard._name = said._name
    word = {"rewards": [0.0, float("nan")], "text": "é 12"}
    said.say(word)
    assert repr(heard.hear()) == repr(word) and len(kept) > 5
    for index, refusal in enumerate(["", "not this"], 1):
        monkeypatch.setattr(jax, "process_index", lambda index=index: index)
        other = hosts.Line()
        other._name, other._words = said._name, iter([1])
        other.answer(refusal)
    with pytest.raises(hosts.HostLost, match="process 2 refuses: not this"):
        said.agreed()
    with pytest.raises(hosts.HostLost, match="another process is gone"):
        heard._next()
        heard.hear()


@pytest.mark.parametrize(
    "text",
    [
        "", "there", "localhost:1,2", "localhost:1,two,0", "localhost:99999,2,0", "localhost,2,0",
        ":8476,2,0", "localhost:8476,2,2", "localhost:8476,2,-1",
    ],
)  # fmt: skip
def test_hosts_that_name_nothing_are_refused(text):
    with pytest.raises(ValueError, match=r"hosts='.*' must be auto, or HOST:PORT,N,I"):
        hosts.connect(text)
