import asyncio
import functools
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from evaluations import evaluated

from banel_jax.oracle.answers import Answer, Pending
from banel_jax.oracle.calls import each
from banel_jax.oracle.evaluators import as_evaluator, asynchronous, executor, in_place, threads


def odd(x):
    return x.tokens[:, 0] % 2


def various(x):
    """What a function may do, by row."""
    t = int(x.tokens[0, 0])
    if t == 1:
        raise ConnectionError("down")
    if t == 2:
        raise Pending("plate 2")
    return {0: [{"reward": 1, "score": [t]}], 3: None, 4: (1 for _ in range(2)), 5: iter([0])}[t]


VARIOUS = [
    Answer(1.0, [0]), "raised ConnectionError: down", "plate 2", "answered None",
    "yielded more than 1", Answer(0.0),
]  # fmt: skip


def check_various(outcomes):
    for outcome, expected in zip(outcomes, VARIOUS, strict=True):
        assert outcome == expected if isinstance(expected, Answer) else expected in str(outcome)


def with_pool(fn):
    return executor(ThreadPoolExecutor(3), fn)


def awaited(fn):
    """The function as a coroutine function."""

    @functools.wraps(fn)
    async def wrapped(x, **more):
        await asyncio.sleep(0)
        return fn(x, **more)

    return asynchronous(wrapped, 4)


@pytest.mark.parametrize("way", [threads, with_pool, awaited])
@pytest.mark.parametrize("batch_size", [None, 3])
def test_rewards_are_those_of_the_rows(way, batch_size):
    outcomes = evaluated(way(odd), 10, batch_size=batch_size)
    assert outcomes == [Answer(float(row % 2)) for row in range(10)]


@pytest.mark.parametrize("way", [in_place, threads, with_pool, awaited])
def test_one_evaluator_serves_one_run_after_another(way):
    evaluator = way(odd)
    for _ in range(3):
        assert evaluated(evaluator, 4) == [Answer(0), Answer(1), Answer(0), Answer(1)]


@pytest.mark.parametrize("way", [threads, with_pool, awaited])
def test_whatever_a_function_does_costs_its_own_row(way):
    check_various(evaluated(way(various), 6))


@pytest.mark.parametrize("way", [in_place, threads, with_pool])
def test_a_function_of_one_sequence(way):
    def one(x, text, row):
        assert x.tokens.shape == x.mask.shape == (1,)
        return {"reward": row.row % 2, "score": text}

    outcomes = evaluated(way(each(one)), 3)
    assert outcomes == [Answer(float(n % 2), f"text {n}") for n in range(3)]


def test_calls_are_made_at_the_same_time():
    """Four calls that each wait for all the others."""
    together = threading.Barrier(4, timeout=60)

    def fn(x):
        together.wait()
        return [1]

    assert evaluated(threads(fn, workers=4), 8) == [Answer(1.0)] * 8


def test_coroutines_wait_at_the_same_time():
    waiting = []

    async def fn(x):
        waiting.append(asyncio.get_running_loop().create_future())
        if len(waiting) == 4:
            for future in waiting:
                future.set_result(None)
        await waiting[-1]
        return [1]

    assert isinstance(as_evaluator(fn), asynchronous)
    assert evaluated(asynchronous(fn, 4), 4) == [Answer(1.0)] * 4


@pytest.mark.parametrize("soon", [False, True])
def test_a_coroutine_out_of_time_is_cancelled(soon):
    ended = []

    async def fn(x):
        if x.tokens[0, 0]:
            return [1]
        try:
            await asyncio.sleep(600)
        finally:
            ended.append("cancelled")

    evaluator = asynchronous(fn, 1)
    if soon:  # as the other thread may be
        end = evaluator.end
        evaluator.end = lambda future: (end(future), future.exception(30))
    outcomes = evaluated(evaluator, 2, timeout=0.2)
    assert str(outcomes[0]) == "did not answer within timeout=0.2 s"
    assert outcomes[1] == Answer(1.0) and ended == ["cancelled"]
    assert not evaluator._thread.is_alive()


def test_no_two_calls_of_an_executor_are_alike():
    """Dask would take them for one, and not ask again after a failure."""
    given = []

    class Noting(ThreadPoolExecutor):
        def submit(self, fn, *arguments):
            given.append(arguments)
            return super().submit(fn, *arguments)

    def down_once(x):
        if len(given) == 1:
            raise ConnectionError("down")
        return [1]

    again = {"transient": ConnectionError, "retries": 1, "backoff": 0.0}
    assert evaluated(executor(Noting(1), down_once), 1, **again) == [Answer(1.0)]
    assert pickle.dumps(given[0][1:]) != pickle.dumps(given[1][1:])


def test_no_more_threads_are_begun_than_are_needed():
    names = set()
    evaluated(threads(lambda x: names.add(threading.current_thread().name) or [1], 8), 2)
    assert len(names) <= 2


def test_what_is_no_oracle_is_refused():
    for wrong, said in [
        (3, "the oracle is a int; give a function"),
        (ThreadPoolExecutor(1), r"give executor\(it, fn, workers\)"),
    ]:
        with pytest.raises(ValueError, match=said):
            as_evaluator(wrong)
    with pytest.raises(ValueError, match="threads was given a int"):
        threads(3)
    with pytest.raises(ValueError, match="workers=0 must be a whole number of at least 1"):
        threads(odd, workers=0)
    for wrong in (odd, 3):
        with pytest.raises(ValueError, match=r"asynchronous was given .*; give a function of"):
            asynchronous(wrong)
    with pytest.raises(ValueError, match="a coroutine function; give it as it is"):
        threads(awaited(odd).fn)
    with pytest.raises(ValueError, match="executor was given a int"):
        executor(3, odd)
    with pytest.raises(ValueError, match=r"does not say how many it has; give workers"):
        executor(type("Silent", (), {"submit": print})(), odd)


def test_a_function_is_called_in_place_and_an_evaluator_is_one_already():
    assert isinstance(as_evaluator(functools.partial(odd)), in_place)
    pool = threads(odd)
    assert as_evaluator(pool) is pool
