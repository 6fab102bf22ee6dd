"""A run's folder: whose it is, what may change in it, and what lies about in it."""

import errno
import functools
import json
import logging
import os
import shutil
import stat

import jax
import jax.numpy as jnp
import nightly
import numpy as np
import pytest
import synced
import tiny_run
from tiny_run import PRIOR, M, learner, reward, same

from banel_jax import training
from banel_jax.algorithms.banel import BanelConfig, banel
from banel_jax.algorithms.policy_gradient import PolicyGradientConfig
from banel_jax.algorithms.rnd import RndConfig, rnd
from banel_jax.algorithms.sequential_filtering import (
    SequentialFilteringConfig,
    sequential_filtering,
)
from banel_jax.oracle import BudgetExceeded, LedgerError, OracleConfig
from banel_jax.parallel import data_mesh
from banel_jax.runs import folder as run_folder
from banel_jax.runs import naming
from banel_jax.runs.checkpoint import Checkpoints
from banel_jax.runs.loop import CandidatesNotFound, RunConfig, run
from banel_jax.training import TrainingConfig

ALGORITHM = learner()


class Paying:
    def __init__(self):
        self.rows = 0

    def __call__(self, sequences):
        self.rows += len(sequences.tokens)
        return reward(sequences)


class StopsAfter(Paying):
    """Raises when a row beyond these is asked for."""

    def __init__(self, rows):
        super().__init__()
        self.last = rows

    def __call__(self, sequences):
        if self.rows >= self.last:
            raise RuntimeError("stop")
        return super().__call__(sequences)


def refuse(sequences):
    raise AssertionError("the oracle was asked")


def go(folder, rounds=3, oracle=reward, algorithm=ALGORITHM, seed=1, asking=None, **more):
    settings = {k: more.pop(k) for k in list(more) if k in RunConfig.__dataclass_fields__}
    config = RunConfig(rounds, seed, oracle=asking or OracleConfig(), **settings)
    return run(algorithm, PRIOR, oracle, config, folder, **more)


def stopped(folder, rounds=3, after=1, **more):
    """A folder whose run stopped after so many rounds."""
    with pytest.raises(ValueError, match="stop"):
        go(folder, rounds, StopsAfter(after * M), asking=OracleConfig(batch_size=M), **more)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Five rounds in one go."""
    folder = tmp_path_factory.mktemp("whole") / "a"
    return folder, go(folder, 5)


def written(folder):
    return json.loads((folder / "config.json").read_text())


def assert_like(whole, folder, result):
    assert same(result.state, whole[1].state)
    text = lambda where: (where / "metrics.jsonl").read_text()
    assert text(folder) == text(whole[0])


# What may change


def test_more_rounds_go_on_and_end_as_if_asked_for_at_once(whole, tmp_path):
    folder, first, rest = tmp_path / "b", Paying(), Paying()
    go(folder, 3, first)
    result = go(folder, 5, rest)
    assert (first.rows, rest.rows) == (3 * M, 2 * M)
    assert_like(whole, folder, result)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["rounds"] == 5 and summary["num_reward_evaluations"] == 5 * M
    config = written(folder)
    assert config["run"]["may_change"]["rounds"] == 3
    assert config["changes"] == [{"from_round": 3, "fields": {"run.may_change.rounds": 5}}]
    go(folder, 5, refuse)  # nothing has changed since
    assert written(folder) == config
    with pytest.raises(
        ValueError, match=r"rounds=4, but the run in .*/b was paid for up to round 5"
    ):
        go(folder, 4, refuse)


def test_the_last_round_has_a_checkpoint_however_far_apart_they_are(tmp_path):
    go(tmp_path, 3, checkpoint_every=2)
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"2", "3"}


def test_how_it_is_paid_and_kept_may_change(whole, tmp_path):
    folder = tmp_path / "b"
    stopped(folder, 5, 2, checkpoint_every=4)
    result = go(folder, 5, asking=OracleConfig(batch_size=1), checkpoint_every=1, budget=5 * M)
    assert_like(whole, folder, result)
    with pytest.raises(BudgetExceeded):
        go(folder, 6, refuse, budget=5 * M)
    go(folder, 6, budget=6 * M)


def test_rounds_may_be_fewer_where_none_is_lost(tmp_path):
    folder = tmp_path / "b"
    stopped(folder, 5, 2)
    result = go(folder, 3)
    assert len(result.metrics) == 3
    stopped(tmp_path / "c", 5, 2, checkpoint_every=4)  # paid for, and in no checkpoint
    with pytest.raises(ValueError, match=r"rounds=2, but the run in .* paid for up to round 3"):
        go(tmp_path / "c", 2, refuse)


FIT = TrainingConfig(epochs=2, batch_size=3, learning_rate=0.3)


def algorithm_2(floor):
    config = BanelConfig(
        num_candidates=M, rejection="threshold", threshold=-0.2, acceptance_floor=floor,
        generator_training=FIT, failure_training=FIT,
    )  # fmt: skip
    return banel(tiny_run.MODEL, config)


def algorithm_1(floor):
    config = SequentialFilteringConfig(M, 4.0, acceptance_floor=floor, failure_training=FIT)
    return sequential_filtering(tiny_run.MODEL, config)


@pytest.mark.parametrize("algorithm", nightly.params([algorithm_1, algorithm_2], [algorithm_1]))
def test_a_floor_that_was_hit_may_be_lowered(tmp_path, algorithm):
    low = algorithm(1e-3)
    expected = go(tmp_path / "low", 3, algorithm=low)
    first, rest = Paying(), Paying()
    with pytest.raises(CandidatesNotFound, match="acceptance_floor"):
        go(tmp_path / "b", 3, first, algorithm=algorithm(1.0))
    assert 0 < first.rows < 3 * M
    result = go(tmp_path / "b", 3, rest, algorithm=low)
    assert first.rows + rest.rows == 3 * M
    assert same(result.state, expected.state)
    name = "algorithm.settings.may_change.acceptance_floor"
    assert written(tmp_path / "b")["changes"][0]["fields"] == {name: 1e-3}


# What must not


def one_hot(sequences, factor=1.0):
    return factor * jax.nn.one_hot(sequences.tokens, 3).reshape(len(sequences.tokens), -1)


def curious(factor):
    config = RndConfig(width=4, num_layers=1, num_features=2, batch_size=3)
    policy = PolicyGradientConfig(num_candidates=M)
    return rnd(tiny_run.MODEL, policy, config, functools.partial(one_hot, factor=factor))


def fitted(epochs):
    fit = functools.partial(
        training.fit, tiny_run.MODEL, TrainingConfig(epochs=epochs, batch_size=3)
    )
    config = BanelConfig(num_candidates=M, generator_training=FIT, failure_training=FIT)
    return banel(tiny_run.MODEL, config, fit_failure_model=fit)


@pytest.mark.parametrize(
    ("make", "field"),
    [(curious, r"kwargs\.factor is 1 "), (fitted, r"fit_failure_model\.args.* is .*")],
)
def test_a_partial_is_known_by_its_arguments(tmp_path, make, field):
    parts = lambda value: naming.plain(dict(make(value).settings))
    assert parts(1) == parts(1)  # other objects, at other addresses
    path = tmp_path / "config.json"
    run_folder.record_configuration(path, {"algorithm": parts(1)})
    assert run_folder.check_configuration(path, {"algorithm": parts(1)})
    with pytest.raises(ValueError, match=field):
        run_folder.check_configuration(path, {"algorithm": parts(50)})


@pytest.mark.parametrize(
    "value",
    [
        float("nan"), {"b", "a"}, functools.partial(one_hot, factor=2), np.dtype("int8"),
        {1: 2}, np.float32(0.1), np.arange(3), lambda x: x, jnp.bfloat16,
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_a_folder_can_be_opened_again_whatever_is_in_its_configuration(tmp_path, value):
    algorithm = ALGORITHM._replace(settings=(("extra", value),))
    go(tmp_path, 1, algorithm=algorithm, configuration={"extra": value})
    again = go(tmp_path, 1, refuse, algorithm=algorithm, configuration={"extra": value})
    assert len(again.metrics) == 1
    with pytest.raises(ValueError, match="extra"):
        go(tmp_path, 1, refuse, algorithm=algorithm, configuration={"extra": "other"})


@pytest.mark.parametrize("where", ["settings", "configuration"])
def test_what_cannot_be_named_is_refused_before_there_is_a_folder(tmp_path, where):
    given = {"configuration": {"a": [Paying()]}}
    if where == "settings":
        given = {"algorithm": ALGORITHM._replace(settings=(("a", [Paying()]),))}
    name = {"settings": "algorithm"}.get(where, where)
    with pytest.raises(ValueError, match=rf"^{name}\.a\[0\] is an object of .*Paying") as caught:
        go(tmp_path / "b", 1, refuse, **given)
    assert "\n" not in str(caught.value) and not (tmp_path / "b").exists()


# The environment


def other_generator():
    return jax.default_prng_impl("rbg")


def other_bits():
    return jax.threefry_partitionable(False)


def other_products():
    return jax.default_matmul_precision("float32")


def a_mesh():
    return jax.set_mesh(jax.sharding.Mesh(np.array(jax.devices() * 2)[:2], ("data",)))


@pytest.mark.parametrize(
    ("environment", "field"),
    [
        (other_generator, "environment.prng is threefry2x32 there and rbg here"),
        (other_bits, "environment.threefry_partitionable is True there and False here"),
        (other_products, "environment.matmul_precision is None there and float32 here"),
    ],
)
def test_another_environment_is_refused_between_rounds(tmp_path, environment, field):
    stopped(tmp_path)
    before = (tmp_path / "metrics.jsonl").read_text()
    with environment(), pytest.raises(ValueError, match=field) as caught:
        go(tmp_path, oracle=refuse)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "metrics.jsonl").read_text() == before
    assert go(tmp_path).metrics[-1]["num_reward_evaluations"] == 3 * M


@pytest.fixture
def upgraded(monkeypatch):
    """JAX calls itself another version."""
    monkeypatch.setattr(jax, "__version__", "99.0")


def test_an_upgrade_may_be_accepted_and_is_written_down(whole, tmp_path, upgraded, request):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "__version__", "98.0")
        stopped(tmp_path, 5, 2)
    message = r"environment\.jax is 98\.0 there and 99\.0 here.*accept=\['environment\.jax'\]"
    with pytest.raises(ValueError, match=message):
        go(tmp_path, 5, refuse)
    with pytest.raises(ValueError, match=message):
        go(tmp_path, 5, refuse, accept=["environment.jaxlib", "env"])
    rest = StopsAfter(M)
    with pytest.raises(ValueError, match="stop"):
        go(tmp_path, 5, rest, accept="environment.jax", asking=OracleConfig(batch_size=M))
    assert {"from_round": 2, "fields": {"environment.jax": "99.0"}} in [
        {**change, "fields": {k: v for k, v in change["fields"].items() if "run." not in k}}
        for change in written(tmp_path)["changes"]
    ]
    assert_like(whole, tmp_path, go(tmp_path, 5))  # no need to say it twice


def test_a_setting_may_be_accepted_too(tmp_path):
    stopped(tmp_path, configuration={"kappa": 1})
    with pytest.raises(ValueError, match="kappa is 1 there and 2 here"):
        go(tmp_path, configuration={"kappa": 2})
    go(tmp_path, configuration={"kappa": 2}, accept=["kappa"])
    go(tmp_path, oracle=refuse, configuration={"kappa": 2})
    changed = written(tmp_path)
    changed["kappa"] = 2  # edited by hand: the ledger knows better
    (tmp_path / "config.json").write_text(json.dumps(changed))
    with pytest.raises(LedgerError, match="another configuration"):
        go(tmp_path, oracle=refuse, configuration={"kappa": 2})


def test_a_complete_run_is_read_anywhere_and_says_so(whole, tmp_path, caplog, monkeypatch):
    folder = tmp_path / "b"
    shutil.copytree(whole[0], folder)
    monkeypatch.setattr(jax, "__version__", "99.0")
    with caplog.at_level(logging.WARNING):
        result = go(folder, 5, refuse)
    assert_like(whole, folder, result)
    told = [r.getMessage() for r in caplog.records if r.name == "banel_jax.runs.loop"]
    assert len(told) == 1 and "\n" not in told[0]
    assert f"the run in {folder} is complete" in told[0] and "asked nothing" in told[0]
    with pytest.raises(ValueError, match=r"environment\.jax"):
        go(folder, 6, refuse)


def test_a_checkpoint_knows_of_no_device(tmp_path):
    """One that named its devices would be read where they are alone."""
    spread = jax.sharding.NamedSharding(data_mesh(), jax.sharding.PartitionSpec("data"))
    state = {
        "a": jax.device_put(jnp.arange(8.0), spread),
        "key": jax.random.split(jax.random.key(1)),
    }
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, state)
    checkpoints.close()
    named = [p for p in tmp_path.rglob("*") if p.is_file() and b"NamedSharding" in p.read_bytes()]
    assert not named
    rounds, restored = Checkpoints(tmp_path).restore_latest(jax.eval_shape(lambda: state))
    assert rounds == 1 and same(restored, state)
    assert not restored["a"].committed


# What lies about


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metrics.jsonl", b'{"round": 0, "loss": 1}\n'), ("metrics.jsonl", b"step,loss\n1,2\n"),
        ("summary.json", b"{}"), ("timings.jsonl", b"\x00\xff"), ("checkpoints/last.pt", b"x"),
        ("config.json", b'{"model": {"width": 3}}'), ("config.json", b"[1, 2]"),
        ("oracle.sqlite", b"not a database, but as long as the first page's header of one" * 9),
    ],
)  # fmt: skip
def test_another_programs_folder_is_refused_and_left_alone(tmp_path, name, content):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=name.split("/")[0]) as caught:
        go(tmp_path, oracle=refuse)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == content
    assert [p.name for p in tmp_path.iterdir()] == [name.split("/")[0]]


@pytest.mark.parametrize(
    "lines", [b"step,loss\n", b'{"step": 1}\n', b'{"round": 7}\n', b"1\n", b"half", b"\xff\n"]
)
def test_lines_that_are_not_this_runs_are_not_cut_off(tmp_path, lines):
    stopped(tmp_path)
    path = tmp_path / "metrics.jsonl"
    with path.open("ab") as file:
        file.write(lines)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"metrics\.jsonl holds lines that are not of this run"):
        go(tmp_path, oracle=refuse)
    assert path.read_bytes() == before


@pytest.mark.parametrize("rest", [b'{"rou', b'{"round": 1, "lo', b"\0" * 40, b'{"round": 1}\n'])
def test_what_a_kill_or_a_power_cut_left_is_cut_off(whole, tmp_path, rest):
    stopped(tmp_path, 5)
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(rest)
    assert_like(whole, tmp_path, go(tmp_path, 5))


@pytest.mark.parametrize(
    "garbage",
    [b"\x00\xff\xfe\n", b'{"round": 0, "as', b"{}\n", b'{"round": 0, "ask": "x"}\n', b"[1]\n",
     b'{"round": 0, "ask": null}\n', b'{"round": 0, "ask": "nan"}\n', None],
)  # fmt: skip
def test_timings_never_withhold_a_result(whole, tmp_path, garbage, caplog):
    stopped(tmp_path, 5)
    path = tmp_path / "timings.jsonl"
    path.unlink()
    path.write_bytes(garbage) if garbage is not None else (path / "x").mkdir(parents=True)
    with caplog.at_level(logging.WARNING):
        assert_like(whole, tmp_path, go(tmp_path, 5))
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["rounds"] == 5 and summary["seconds"]["ask"] > 0
    aside = tmp_path / "timings.jsonl.damaged"
    if garbage is None or garbage.endswith(b"\n"):
        assert "timings.jsonl cannot be used" in caplog.text
        assert aside.is_dir() if garbage is None else aside.read_bytes() == garbage
    go(tmp_path, 5, refuse)


@pytest.mark.parametrize("name", ["timings.jsonl", "summary.json"])
def test_a_side_file_that_cannot_be_written_withholds_nothing(whole, tmp_path, name, caplog):
    if name == "summary.json":
        go(tmp_path, 1)
        (tmp_path / name).unlink()
        (tmp_path / name / "x").mkdir(parents=True)
        result = go(tmp_path, 5)
    else:
        append = run_folder.append_record

        def full(path, record):
            if path.name == name:
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
            append(path, record)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(run_folder, "append_record", full)
            result = go(tmp_path, 5)
    assert_like(whole, tmp_path, result)
    assert name in caplog.text


def test_what_a_kill_left_of_a_file_goes(tmp_path):
    for name in (".summary.json.0123456789ab", ".config.json.ffffffffffff"):
        (tmp_path / name).write_text("{")
    (tmp_path / ".notes").write_text("mine")
    go(tmp_path, 1)
    hidden = [p.name for p in tmp_path.iterdir() if p.name.startswith(".")]
    assert hidden == [".notes"]


def test_a_file_system_that_syncs_no_folders(tmp_path, monkeypatch):
    sync = os.fsync

    def fsync(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    go(tmp_path / "b", 1)
    assert len(go(tmp_path / "b", 2).metrics) == 2


def test_a_record_is_synced_before_it_counts_and_a_new_file_with_its_folder(tmp_path, monkeypatch):
    told = synced.watched(monkeypatch)
    run_folder.append_record(tmp_path / "a.jsonl", {"round": 0})
    run_folder.append_record(tmp_path / "a.jsonl", {"round": 1})
    first, second = '{"round": 0}\n', '{"round": 1}\n'
    assert told == [first, "folder", first + second]


def test_a_record_counts_once_its_line_is_whole(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"round": 0}\n{"round": 1, "loss": "nan"}\n{"round": 2}')  # no end yet
    assert [record["round"] for record in run_folder.read_records(path)] == [0, 1]


def test_a_full_disk_names_the_file(tmp_path):
    with pytest.raises(OSError, match=r"No space left on device: '/dev/full'"):
        run_folder.append_record(type(tmp_path)("/dev/full"), {"round": 0})
