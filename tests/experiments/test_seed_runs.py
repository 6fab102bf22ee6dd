"""Cells of seeds: in groups or one by one, stopped and gone on with, kept and read."""

import dataclasses
import json
import shutil
import types
from contextlib import ExitStack

import another_process
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_run
from tiny_run import MODEL, PRIOR, M, evaluate, learner, reward

from banel_jax.algorithms.prior_sampling import prior_sampling
from banel_jax.runs import loop, naming
from banel_jax.types import Sequences, Task
from experiments.common import seed_runs
from experiments.common.seed_runs import RESULT, Runner

ROUNDS, BLOCK, SHOWN = 5, 2, 7
ALGORITHM = learner()
TASK = Task(MODEL, PRIOR, reward, None, lambda sequences: sequences.tokens)
SEEDS = (3, 4, 5)


def final(state):
    return {"size": jnp.sum(state["params"] ** 2), "count": jnp.float32(state["round"])}


def make(folder, algorithm=ALGORITHM, final=final, evaluate=evaluate, task=TASK, **changes):
    settings = dict(
        base=PRIOR, rounds=ROUNDS, block=BLOCK, seeds_at_once=1, num_snapshot=SHOWN,
        configuration={"task": {"side": 4}},
    ) | changes  # fmt: skip
    return Runner(
        "tiny", algorithm, task, evaluate=evaluate, final=final, folder=folder, **settings
    )


class Stopped(Exception):
    pass


def watched(runner, stop_at=None):
    """The first rounds of the blocks that it runs from here on; raises before one of them."""
    advanced, advance = [], runner.run.advance

    def counted(keys, progress, first, rounds):
        if not isinstance(keys, jax.core.Tracer):  # else only shapes are asked for
            if first == stop_at:
                raise Stopped
            advanced.append((first, rounds))
        return advance(keys, progress, first, rounds)

    runner.run = runner.run._replace(advance=counted)
    return advanced


def refuse(*_):
    raise AssertionError("it was run")


def assert_same(one, other):
    """Bit for bit, but for the time that it took."""
    for part in ("metrics", "final"):
        found, expected = getattr(one, part), getattr(other, part)
        assert set(found) == set(expected)
        for name, values in found.items():
            assert values.dtype == expected[name].dtype
            np.testing.assert_array_equal(values, expected[name], err_msg=name)
    np.testing.assert_array_equal(one.snapshots, other.snapshots)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """(folder of groups of one, the result)."""
    folder = tmp_path_factory.mktemp("cells")
    return folder, make(folder).run_seeds(SEEDS)


def test_a_cell_is_the_compiled_experiment_of_its_seeds(whole):
    _, result = whole
    keys = jnp.stack([jax.random.key(seed) for seed in SEEDS])
    states, metrics = loop.compiled_run(ALGORITHM, reward, ROUNDS, evaluate, 1)(keys, PRIOR)
    assert set(result.metrics) == set(metrics)
    for name, values in metrics.items():
        assert result.metrics[name].shape == (len(SEEDS), ROUNDS)
        np.testing.assert_allclose(result.metrics[name], values, rtol=1e-6, err_msg=name)
    squares = [float((np.float64(p) ** 2).sum()) for p in states["params"]]
    np.testing.assert_allclose(result.final["size"], squares, rtol=1e-5)
    assert result.final["count"].tolist() == [ROUNDS] * len(SEEDS)
    assert set(result.about) == {"commit", "device"} and result.seconds > 0


def test_snapshots_are_drawn_before_the_first_round_and_after_each_block(whole):
    _, result = whole
    assert result.snapshots.shape == (len(SEEDS), 4, SHOWN, tiny_run.LENGTH)
    assert result.snapshots.dtype == np.int32
    keys = jnp.stack([jax.random.key(seed) for seed in SEEDS])
    for block, rounds in enumerate((0, 2, 4, 5)):
        states = {"params": np.stack([PRIOR] * len(SEEDS))}
        if rounds in (2, 5):  # each number of rounds is compiled anew
            states, _ = loop.compiled_run(ALGORITHM, reward, rounds, evaluate, 1)(keys, PRIOR)
        elif rounds:
            continue
        for i, params in enumerate(states["params"]):
            drawn = ALGORITHM.sample(jax.random.key(0), {"params": params}, SHOWN)
            np.testing.assert_array_equal(result.snapshots[i, block], drawn.tokens)


def test_groups_of_seeds_have_the_numbers_of_one_by_one(whole, tmp_path):
    together = make(tmp_path, seeds_at_once=3).run_seeds(SEEDS)
    assert len(list(tmp_path.iterdir())) == 1 and len(list(whole[0].iterdir())) == 3
    for part in ("metrics", "final"):
        for name, values in getattr(whole[1], part).items():
            found = getattr(together, part)[name]
            np.testing.assert_allclose(found, values, rtol=1e-4, err_msg=name)
    np.testing.assert_array_equal(together.snapshots, whole[1].snapshots)


def test_what_is_there_is_read_and_not_run(whole, monkeypatch):
    folder, result = whole
    monkeypatch.setattr(Runner, "_run", refuse)
    again = make(folder).run_seeds(SEEDS)
    assert_same(again, result)
    assert again.seconds == pytest.approx(result.seconds) and again.about == result.about
    some = make(folder).run_seeds(SEEDS[1:])  # groups are shared by results
    np.testing.assert_array_equal(some.metrics["loss"], result.metrics["loss"][1:])
    np.testing.assert_array_equal(some.snapshots, result.snapshots[1:])
    with pytest.raises(AssertionError, match="it was run"):
        make(folder).run_seeds((*SEEDS, 6))


@pytest.mark.parametrize(("stop_at", "seeds_at_once"), [(2, 1), (4, 3)])
def test_stopped_between_blocks_it_goes_on_to_the_same_end(whole, tmp_path, stop_at, seeds_at_once):
    make_one = lambda folder: make(folder, seeds_at_once=seeds_at_once)
    seeds = SEEDS[:seeds_at_once]
    stopped = make_one(tmp_path)
    watched(stopped, stop_at)
    with pytest.raises(Stopped):
        stopped.run_seeds(seeds)
    assert not list(tmp_path.rglob(RESULT))
    resumed = make_one(tmp_path)
    advanced = watched(resumed)
    result = resumed.run_seeds(seeds)
    assert advanced == [b for b in [(0, 2), (2, 2), (4, 1)] if b[0] >= stop_at]
    if seeds_at_once == 1:
        uninterrupted = make(whole[0]).run_seeds(seeds)
    else:
        uninterrupted = make_one(tmp_path / "whole").run_seeds(seeds)
    assert_same(result, uninterrupted)
    assert_same(make_one(tmp_path).run_seeds(seeds), uninterrupted)


def test_seconds_of_a_stopped_cell_are_those_of_all_its_parts(tmp_path, monkeypatch):
    clock = iter(range(0, 10_000, 10))
    watch = types.SimpleNamespace(perf_counter=lambda: float(next(clock)))
    monkeypatch.setattr(seed_runs, "time", watch)
    stopped = make(tmp_path)
    watched(stopped, 2)
    with pytest.raises(Stopped):
        stopped.run_seeds((3,))  # started, one block: 10
    result = make(tmp_path).run_seeds((3,))  # started, two blocks, the end: 30
    assert result.seconds == 40


@pytest.mark.parametrize("harm", [lambda b: b[:200], lambda b: b"", lambda b: b"no archive"])
def test_a_damaged_result_is_one_line_and_needs_only_deletion(whole, tmp_path, harm):
    shutil.copytree(whole[0], tmp_path, dirs_exist_ok=True)
    path = sorted(tmp_path.rglob(RESULT))[0]
    path.write_bytes(harm(path.read_bytes()))
    with pytest.raises(ValueError) as caught:
        make(tmp_path).run_seeds(SEEDS)
    message = str(caught.value)
    assert message.startswith(f"{path} cannot be read") and "\n" not in message
    assert message.endswith("delete it to run it again")
    path.unlink()
    runner = make(tmp_path)
    advanced = watched(runner)
    assert_same(runner.run_seeds(SEEDS), whole[1])
    assert not advanced  # its last checkpoint is there


def test_a_half_written_result_is_no_result(whole, tmp_path, monkeypatch):
    def broken(file, **arrays):
        file.write(b"half of it")
        raise Stopped

    monkeypatch.setattr(seed_runs.np, "savez_compressed", broken)
    with pytest.raises(Stopped):
        make(tmp_path).run_seeds(SEEDS[:1])
    monkeypatch.undo()
    assert_same(make(tmp_path).run_seeds(SEEDS[:1]), make(whole[0]).run_seeds(SEEDS[:1]))


def threshold(least):
    return lambda sequences: (sequences.tokens.sum(axis=1) >= least).astype("float32")


def scaled(factor):
    return lambda asked, state: {"moved": factor * evaluate(asked, state)["moved"]}


BARE = prior_sampling(MODEL, 3)._replace(settings=())


def of_size(factor):
    return lambda *states: {"size": factor * sum(map(jnp.sum, jax.tree.leaves(states[-1])))}


PLAIN = dict(rounds=2, task=TASK, base=PRIOR, evaluate=of_size(1.0), final=of_size(1.0))
OTHERS = {
    "the algorithm's settings": dict(algorithm=prior_sampling(MODEL, 4)),
    "an algorithm without settings": dict(algorithm=BARE),
    "another without settings": dict(
        algorithm=BARE._replace(sample=lambda key, state, n: BARE.ask(key, state)[0])
    ),
    "rounds": dict(rounds=3),
    "base": dict(base=PRIOR + 1),
    "configuration": dict(configuration={"task": {"side": 5}}),
    "seeds at once": dict(seeds_at_once=2),
    "reward": dict(task=TASK._replace(reward_fn=threshold(6))),
    "reward of the host": dict(
        task=TASK._replace(
            reward_fn=lambda s: jax.pure_callback(
                lambda tokens: (tokens.sum(axis=1) >= 5).astype("float32"),
                jax.ShapeDtypeStruct(s.tokens.shape[:1], jnp.float32),
                s.tokens,
            )
        )
    ),
    "evaluation": dict(evaluate=of_size(2.0)),
    "no evaluation": dict(evaluate=None),
    "samples in a snapshot": dict(num_snapshot=SHOWN + 1),
    "blocks": dict(block=1),
}


def folders(folder):
    """Where results of the plain runner and of all others lie."""
    found = {}
    plain = dict(algorithm=prior_sampling(MODEL, 3)) | PLAIN
    for name, changes in {"plain": {}, **OTHERS}.items():
        runner = make(folder, **(plain | changes))
        seeds = (0, 1)[: runner.seeds_at_once]
        found[name] = f"tiny-{naming.identity(runner.configuration | {'seeds': list(seeds)})}"
    return found


def test_another_setting_reward_or_evaluation_lands_in_another_folder(tmp_path, monkeypatch):
    found = folders(tmp_path)
    assert len(set(found.values())) == len(OTHERS) + 1
    assert folders(tmp_path) == found  # of other objects that compute the same
    with jax.default_prng_impl("rbg"):
        assert not set(folders(tmp_path).values()) & set(found.values())
    monkeypatch.setattr(seed_runs.numerics, "VERSION", 0)
    assert not set(folders(tmp_path).values()) & set(found.values())


def measured(*more):
    """What is measured at the end, with more that a later version measures."""
    return lambda state: (
        final(state) | {name: jnp.float32(i) + state["round"] for i, name in enumerate(more)}
    )


def test_a_new_final_measurement_is_all_that_is_computed(whole, tmp_path):
    shutil.copytree(whole[0], tmp_path, dirs_exist_ok=True)
    runner = make(tmp_path, final=measured("new", "newer"))
    advanced, before = watched(runner), set(tmp_path.iterdir())
    result = runner.run_seeds(SEEDS)
    assert not advanced and set(tmp_path.iterdir()) == before
    assert result.final["new"].tolist() == [ROUNDS] * 3
    assert result.final["newer"].tolist() == [ROUNDS + 1] * 3
    old = {name: result.final[name] for name in whole[1].final}
    assert_same(result._replace(final=old), whole[1])
    refusing = make(tmp_path, final=measured("new", "newer"))
    refusing._run = refuse
    assert_same(refusing.run_seeds(SEEDS), result)  # kept
    assert_same(make(tmp_path).run_seeds(SEEDS), whole[1])  # and the other way


def test_where_no_checkpoint_is_left_the_rounds_are_run_for_it(whole, tmp_path):
    shutil.copytree(whole[0], tmp_path, dirs_exist_ok=True)
    for path in tmp_path.glob("*/checkpoints"):
        shutil.rmtree(path)
    runner = make(tmp_path, final=measured("new"))
    advanced = watched(runner)
    result = runner.run_seeds(SEEDS[:1])
    assert sum(rounds for _, rounds in advanced) == ROUNDS
    np.testing.assert_array_equal(result.metrics["loss"], whole[1].metrics["loss"][:1])


def test_a_cell_is_found_by_what_is_not_at_its_default(whole, tmp_path):
    shutil.copytree(whole[0], tmp_path, dirs_exist_ok=True)
    of = lambda *fields: dataclasses.make_dataclass("Task", fields, frozen=True)
    side = ("side", int, dataclasses.field(default=4))
    depth = ("depth", int, dataclasses.field(default=1))
    old, new = of(side), of(side, depth)
    run = lambda task: make(tmp_path, configuration={"task": task}).run_seeds(SEEDS[:1])
    expected, before = run(old(5)), len(list(tmp_path.iterdir()))
    assert_same(run(new(5)), expected)
    assert len(list(tmp_path.iterdir())) == before
    run(new(5, 2))
    assert len(list(tmp_path.iterdir())) == before + 1


def test_a_cell_that_was_named_by_all_its_fields_is_still_found(whole, tmp_path):
    runner = make(tmp_path)
    results = [path.parent for path in whole[0].glob(f"*/{RESULT}")]
    for folder in results:
        text = json.loads((folder / "config.json").read_text())
        del text["identity"]
        text["functions"]["final"] = runner.functions["final"]
        there = tmp_path / f"tiny-{naming.identity_by_all_fields(text)}"
        shutil.copytree(folder, there)
        (there / "config.json").write_text(json.dumps(text))
        with np.load(there / RESULT) as archive:
            arrays = dict(archive)
        about = json.loads(str(arrays["about"]))
        del about["final"]
        np.savez(there / RESULT, **arrays | {"about": np.array(json.dumps(about))})
    runner._run = refuse
    assert_same(runner.run_seeds(SEEDS), whole[1])
    assert len(list(tmp_path.iterdir())) == len(results)


def test_another_process_finds_the_cells_of_this_one(tmp_path):
    program = (
        "import json, pathlib\n"
        f"import {__name__} as t\nprint(json.dumps(t.folders(pathlib.Path())))"
    )
    there = another_process.printed(program, PYTHONHASHSEED="3")
    assert json.loads(there) == folders(tmp_path)


def test_another_reward_and_evaluation_are_run_anew(whole):
    folder, result = whole
    seeds = SEEDS[:1]
    assert result.metrics["num_successes"][0, -1] > 0
    never = make(folder, task=TASK._replace(reward_fn=threshold(99))).run_seeds(seeds)
    assert never.metrics["num_successes"].tolist() == [[0] * ROUNDS]
    twice = make(folder, evaluate=scaled(2.0)).run_seeds(seeds)
    np.testing.assert_allclose(twice.metrics["moved"], 2 * result.metrics["moved"][:1], rtol=1e-5)
    assert make(folder, num_snapshot=3).run_seeds(seeds).snapshots.shape[2] == 3
    assert make(folder, block=5).run_seeds(seeds).snapshot_rounds.tolist() == [0, 5]


def test_a_group_in_use_is_refused(whole):
    with ExitStack() as stack:
        for result in whole[0].rglob(RESULT):
            stack.enter_context(seed_runs.run_folder.hold(result.parent))
        stack.enter_context(pytest.raises(ValueError, match="another process runs in"))
        make(whole[0]).run_seeds(SEEDS)


def test_candidates_that_are_not_found_stop_the_cell(tmp_path):
    def ask(key, state):
        candidates, state = ALGORITHM.ask(key, state)
        lost = (jnp.arange(M) >= 4) & (state["round"] == 3)
        return Sequences(candidates.tokens, candidates.mask & ~lost[:, None]), state

    with pytest.raises(ValueError, match="in round 3 only 4 of 6 candidates were found"):
        make(tmp_path, ALGORITHM._replace(ask=ask)).run_seeds(SEEDS[:1])
    assert not list(tmp_path.rglob(RESULT))


def test_the_last_group_of_seeds_may_be_smaller(whole, tmp_path):
    result = make(tmp_path, seeds_at_once=2).run_seeds(SEEDS)
    np.testing.assert_allclose(result.final["size"], whole[1].final["size"], rtol=1e-4)


def test_one_that_cannot_go_on_is_told_of_and_left_out(tmp_path, capsys):
    class Barren:
        def run_seeds(self, seeds):
            raise loop.CandidatesNotFound("2 of 4 candidates were found")

    runners = {"barren": Barren(), "learner": make(tmp_path)}
    titles = {name: types.SimpleNamespace(title=f"the {name}") for name in runners}
    in_words = lambda name, result: f"{name} ends with {result.final['count'][0]:g} rounds"
    found = seed_runs.run_each(titles, list(runners), runners.get, SEEDS[:1], in_words)
    assert list(found) == ["learner"]
    np.testing.assert_array_equal(found["learner"].final["count"], [ROUNDS])
    stopped, ended = capsys.readouterr().out.splitlines()
    assert stopped == "  the barren: stopped, 2 of 4 candidates were found"
    assert ended.startswith(f"  the learner: learner ends with {ROUNDS} rounds, ")
