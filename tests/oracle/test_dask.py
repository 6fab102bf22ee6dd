"""By way of Dask, with workers that are processes of their own; it takes ten seconds to begin."""

import os
import signal

import pytest
import worker_functions
from evaluations import evaluated

from banel_jax.oracle.answers import Answer
from banel_jax.oracle.evaluators import executor

distributed = pytest.importorskip("distributed", reason="Dask is not installed")


def process(x):
    return [{"reward": 1, "score": os.getpid()}]


def down_at_first(x):
    if worker_functions.token(x) == 0:
        raise ConnectionError("down")
    return worker_functions.odd(x)


@pytest.fixture(scope="module")
def client():
    settings = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    cluster = distributed.LocalCluster(processes=True, **settings)
    with cluster, distributed.Client(cluster) as client:
        yield client


def test_rows_are_evaluated_in_other_processes(client):
    engine = client.get_executor()
    outcomes = evaluated(executor(engine, process, workers=2), 8)
    assert [outcome.reward for outcome in outcomes] == [1] * 8
    assert os.getpid() not in {outcome.score for outcome in outcomes}


def test_rewards_and_failures_are_those_of_the_rows(client):
    outcomes = evaluated(executor(client.get_executor(), down_at_first, workers=2), 4)
    assert str(outcomes[0]) == "raised ConnectionError: down"
    assert outcomes[1:] == [Answer(1.0), Answer(0.0), Answer(1.0)]


def test_a_call_that_is_asked_again_is_made_again(client, tmp_path):
    note = tmp_path / "note"

    def down_once(x):
        if not note.exists():
            note.touch()
            raise ConnectionError("down")
        return [1]

    again = {"transient": ConnectionError, "retries": 1, "backoff": 0.0}
    assert evaluated(executor(client.get_executor(), down_once, workers=1), 1, **again) == [
        Answer(1.0)
    ]


def test_what_a_worker_that_died_was_asked_is_not_asked_again_unseen(client, tmp_path):
    def dies(x):
        with (tmp_path / "asked").open("a") as file:
            file.write(f"{os.getpid()}\n")
        os.kill(os.getpid(), signal.SIGKILL)

    (outcome,) = evaluated(executor(client.get_executor(), dies, workers=1), 1)
    assert str(outcome).startswith("the worker that had begun it died")
    assert outcome.is_one_of(("WorkerDied",))
    assert len((tmp_path / "asked").read_text().splitlines()) == 1


def test_how_many_calls_at_a_time_must_be_said(client):
    with pytest.raises(ValueError, match="a ClientExecutor does not say how many it has"):
        executor(client.get_executor(), process)
