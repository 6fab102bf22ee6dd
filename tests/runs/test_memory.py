"""What a call takes of the memory is told before it runs, and what does not fit is refused."""

import re
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_run import PRIOR, M, learner, reward

from banel_jax.runs import loop, memory, progress

SEEDS = 4
KEYS = jax.vmap(jax.random.key)(np.arange(SEEDS))


@pytest.fixture
def free(tmp_path, monkeypatch):
    """Sets what the machine has, in kB."""
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    tell = lambda kb: f"MemTotal: 99999999 kB\nMemAvailable:   {kb} kB\nCached: 1 kB\n"
    return lambda kb: (tmp_path / "meminfo").write_text(tell(kb))


def test_arguments_results_and_what_lies_between_are_counted():
    x = jax.ShapeDtypeStruct((1000, 300), jnp.float32)
    size = 1000 * 300 * 4
    assert memory.needed(jax.jit(lambda x: x + 1), x) == 2 * size
    assert memory.needed(jax.jit(lambda x: x + 1, donate_argnums=0), x) == size
    # Two of 1000 x 1000, one of which each step reads and one that it writes.
    squares = jax.jit(lambda x: jax.lax.fori_loop(0, 3, lambda _, y: y @ y, x @ x.T)[0, 0])
    between = 2 * 1000 * 1000 * 4
    assert size + between <= memory.needed(squares, x) < size + 1.1 * between


def test_a_program_that_was_asked_about_is_not_compiled_again(compilations):
    traces = []
    function = jax.jit(lambda x: traces.append(x) or 2 * x)
    x = jnp.arange(7)
    compilations.clear()
    assert memory.needed(function, x) == 2 * 28
    np.testing.assert_array_equal(function(x), 2 * np.arange(7))
    assert len(traces) == 1 and len(compilations) == 1


@pytest.mark.parametrize("answer", [None, NotImplementedError("no account")])
def test_where_there_is_no_account_nothing_is_said(answer, monkeypatch, capsys):
    def analysis():
        if answer:
            raise answer

    program = SimpleNamespace(memory_analysis=analysis)
    function = SimpleNamespace(lower=lambda *_: SimpleNamespace(compile=lambda: program))
    monkeypatch.setattr(progress, "on_terminal", lambda: True)
    assert memory.needed(function, 1) is None
    memory.check("a call", 1, function, 1)
    assert capsys.readouterr() == ("", "")


def test_an_accelerator_has_its_own_and_the_devices_of_a_cpu_share(free):
    free(300)
    account = lambda *devices: memory._Account(7, 0, 0, devices)
    cpu = SimpleNamespace(platform="cpu")
    assert memory._room(account(cpu)) == 300 * 1024 + 7  # its arguments are there already
    assert memory._room(account(cpu, cpu, cpu)) == 100 * 1024 + 7
    gpus = [SimpleNamespace(platform="gpu", memory_stats=lambda n=n: n) for n in range(3)]
    gpus[0].memory_stats = lambda: {"bytes_limit": 50, "bytes_in_use": 20}
    gpus[1].memory_stats = lambda: {"bytes_limit": 40}
    assert memory._room(account(*gpus[:2])) == 40
    gpus[2].memory_stats = lambda: None
    assert memory._room(account(*gpus)) is None
    memory.MEMINFO.unlink()
    assert memory._free_bytes() > 2**28  # what the machine has in all


def blocks(reward=reward, **settings):
    run = loop.compiled_blocks(learner(), reward, donate=True, **settings)
    return run, run.start(KEYS, PRIOR)


WIDE = 50_000


def wide(sequences):
    """As `reward`, by way of a sorted row of WIDE numbers for each candidate."""
    row = jnp.sort(sequences.tokens.sum(axis=1, keepdims=True) * jnp.arange(WIDE), axis=1)
    return jnp.float32(row[:, 1] >= 5)


def test_a_compiled_run_says_what_it_takes_once_on_a_terminal(free, monkeypatch, capsys):
    free(3 * 2**20)
    monkeypatch.setattr(progress, "on_terminal", lambda: True)
    run, at = blocks()
    for first in (0, 2):
        at, _ = run.advance(KEYS, at, first, 2)
    line = r"one call of 2 rounds for 4 seeds takes (\S+) MiB of 3 GiB\n"
    told = re.fullmatch(line, capsys.readouterr().err)
    # The states of four seeds, twelve weights each, and little that a hundred of them would not.
    assert 4 * 12 * 4 < float(told[1]) * 2**20 < 4 * 12 * 4 * 1000
    monkeypatch.setattr(progress, "on_terminal", lambda: False)
    run, at = blocks()
    run.advance(KEYS, at, 0, 2)
    assert capsys.readouterr() == ("", "")


def test_a_compiled_run_is_compiled_once_for_its_account_and_its_calls(compilations):
    run, at = blocks()
    compilations.clear()
    for first in (0, 2):
        at, _ = run.advance(KEYS, at, first, 2)
    jax.eval_shape(lambda keys, at: run.advance(keys, at, 0, 2), KEYS, at)  # where nothing is asked
    assert [name for name in compilations if "advance" in name] == ["jit(advance_all)"]


def refused(run, at):
    with pytest.raises(ValueError) as caught:
        run.advance(KEYS, at, 0, 2)
    assert not any(x.is_deleted() for x in jax.tree.leaves(at))  # nothing was run
    return str(caught.value)


def test_what_does_not_fit_is_refused_with_how_many_seeds_do(free):
    """Where the rows of 3.5 seeds have room, two are offered, as they divide four, and they run."""
    free(7 * M * WIDE * 4 // 2 // 1024)
    message = refused(*blocks(wide))
    told = re.fullmatch(
        r"one call of 2 rounds for 4 seeds takes (\S+) MiB of (\S+) MiB; "
        r"seeds_at_once=2 would take about (\S+) MiB",
        message,
    )
    rows = M * WIDE * 4 / 2**20  # of one seed, MiB
    expected = [4 * rows, 3.5 * rows, 2 * rows]
    np.testing.assert_allclose([float(x) for x in told.groups()], expected, rtol=0.05)
    run, at = blocks(wide, seeds_at_once=2)
    run.advance(KEYS, at, 0, 2)
    free(0)
    refusal = refused(*blocks())
    assert "one seed at a time is too much; call it for fewer seeds, or lower num_cand" in refusal
