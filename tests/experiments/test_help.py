"""What a person sees of a program's flags: a screen, all of them, or the nearest to a mistake."""

import dataclasses
import importlib
import os
from pathlib import Path

import another_process
import forked
import jax
import pytest

from banel_jax.commands import fields
from banel_jax.commands.help import did_you_mean
from experiments.addition import experiment as addition
from experiments.common import compilation, help, methods
from experiments.digits import experiment as digits
from experiments.gsm8k import finetune, pretrain, select
from experiments.gsm8k import run as gsm8k_run
from experiments.mnist import experiment as mnist

ROOT = Path(__file__).parents[2]
MORE = {"compilation_cache=FOLDER": "folder for what is compiled"}
LINES, COLUMNS = 45, 100


def configurations():
    names = (
        "addition.experiment", "addition.search", "addition.single", "benchmark.experiment",
        "benchmark.lora_memory", "convert", "digits.experiment", "digits.search",
        "ehrlich.climbing", "ehrlich.screen", "gaussian_1d.experiment", "mnist.experiment",
        "mnist.filters", "mnist.search", "pretrain", "race.__main__", "stopping.__main__",
        "two_circles.experiment",
    )  # fmt: skip
    modules = [importlib.import_module(f"experiments.{name}") for name in names]
    modules += [finetune, gsm8k_run, pretrain, select]
    for module in modules:
        yield module.__name__, module.Config(), list(getattr(module, "PRESETS", {})), module


CONFIGS = {name: (config, presets, module) for name, config, presets, module in configurations()}


@pytest.mark.parametrize("name", CONFIGS)
def test_help_of_every_program_fits_a_screen_and_full_help_has_every_flag(name):
    config, presets, module = CONFIGS[name]
    text = help.short(f"python -m {name}", module.__doc__, config, presets, MORE, sweeps=True)
    lines = text.split("\n")
    assert len(lines) <= LINES and max(map(len, lines)) <= COLUMNS
    shown = sum(line.startswith("  --") for line in lines)
    assert 4 <= shown <= 15
    assert any(line.startswith("  --output=") for line in lines) == hasattr(config, "output")
    everything = help.full(module.__doc__, config, presets, MORE).split("\n")
    assert max(map(len, everything)) <= COLUMNS
    flags = {line.split("=")[0].strip() for line in everything if line.startswith("  --")}
    assert {f"--{s.name}" for s in fields.settings(config)} <= flags


@pytest.mark.parametrize("experiment", [addition, gsm8k_run, mnist])
def test_a_method_shows_the_settings_that_its_numbers_depend_on(experiment):
    config = experiment.Config()
    of = lambda name: set(
        methods.relevant(dataclasses.replace(config, algorithms=(name,)), experiment.METHODS)
    )
    assert {"settings.ours", "settings.ours_base"} <= of("ours")
    assert "settings.kappa" not in of("ours")
    assert ("broaden" in of("ours")) == (config.settings.ours_base == "broadened")
    assert {"settings.kappa", "settings.failure_epochs", "settings.filter_factor"} <= of("banel")
    assert not of("banel") & {"settings.ours", "settings.rnd", "broaden"}
    assert of("policy_gradient") == {"settings.policy_gradient", "settings.num_candidates"}
    assert {"settings.rnd_policy"} <= of("rnd") and "settings.pseudo_count" not in of("rnd")


def test_a_method_of_the_digits_shows_its_settings():
    of = lambda *names, **changes: digits.EXPERIMENT.relevant(
        digits.Config(algorithms=names, **changes)
    )
    assert of("prior", "banel") == [] and of("filtering") == ["filtering", "failure_dropout"]
    assert of("ours_told_nothing", "ours") == ["ours", "failure_dropout"]
    assert of("prior", base="broadened") == ["broaden"]
    names = {s.name.partition(".")[0] for s in fields.settings(digits.Config())}
    assert names >= {"ours", "filtering", "failure_dropout", "broaden"}


def test_what_is_set_for_all_has_one_flag():
    names = [s.name for s in fields.settings(addition.Config()) if "num_candidates" in s.name]
    assert names == ["settings.num_candidates"]


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [
        ("round", ["--rounds"]),
        ("kappa", ["--settings.kappa", "--settings.ours.kappa"]),
        ("settings.our.kappa", ["--settings.ours.kappa"]),
        ("max_digit", ["--task.grammar.max_digits"]),
    ],
)
def test_an_unknown_flag_is_answered_with_the_nearest(wrong, nearest):
    known = [s.name for s in fields.settings(addition.Config())]
    found = did_you_mean(wrong, known)
    assert found.startswith("; the nearest are ") and all(name in found for name in nearest)
    assert did_you_mean("zzzzzz", known) == ""


PROGRAM = '''"""A program of one flag.

And more of it.
"""
import dataclasses
from experiments.common import flags

@dataclasses.dataclass(frozen=True)
class Config:
    """Settings.

    Attributes:
      rounds: how many.
    """

    rounds: int = 3

flags.run(print, Config(), {"many": Config(rounds=30)})
'''


def test_help_ends_well_and_a_mistake_is_one_line():
    unknown = "error: Unknown command line flag 'round'; the nearest are --rounds"
    cases = [
        (["--help"], 0, "--rounds=3 ", ""),
        (["--preset=many", "--help"], 0, "--rounds=30 ", ""),
        (["--helpfull"], 0, "And more of it.", ""),
        (["--round=3"], 1, "", unknown),
    ]
    ended = forked.ends(PROGRAM, [arguments for arguments, *_ in cases])
    for (arguments, *expected), (code, stdout, stderr) in zip(cases, ended, strict=True):
        assert code == expected[0] and expected[1] in stdout and expected[2] in stderr, arguments
        assert stderr.count("\n") == bool(expected[2]), stderr
        assert ("And more" in stdout) == ("--helpfull" in arguments)


@pytest.fixture
def jax_settings():
    names = [
        "jax_compilation_cache_dir", "jax_enable_compilation_cache",
        "jax_persistent_cache_min_compile_time_secs",
    ]  # fmt: skip
    before = {name: getattr(jax.config, name) for name in names}
    yield lambda: jax.config.jax_compilation_cache_dir
    for name, value in before.items():
        jax.config.update(name, value)


def test_where_compiled_programs_are_kept(tmp_path, monkeypatch, jax_settings):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "own"))
    compilation.keep(None)  # as the environment has it
    assert jax_settings() == str(tmp_path / "own")
    compilation.keep(str(tmp_path / "given"))
    assert jax_settings() == str(tmp_path / "given") and (tmp_path / "given").is_dir()
    jax.config.update("jax_compilation_cache_dir", None)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=f"cannot write into the folder {tmp_path / 'file'}"):
        compilation.keep(str(tmp_path / "file" / "a"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "b"))
    compilation.keep(None)  # nobody asked for it
    assert jax_settings() is None
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    compilation.keep(None)
    assert Path(jax_settings()).parent == tmp_path / "cache" / "banel_jax" / "compiled"
    compilation.keep("")
    assert not jax.config.jax_enable_compilation_cache


def test_a_full_folder_of_compiled_programs_loses_what_is_oldest(tmp_path, monkeypatch):
    monkeypatch.setattr(compilation, "MOST_BYTES", 100)
    for age in range(5):
        (tmp_path / str(age)).write_bytes(bytes(25))
        os.utime(tmp_path / str(age), (1000 - age, 1000 - age))
    compilation.make_room(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"0", "1"}
    compilation.make_room(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"0", "1"}


def test_half_of_a_compiled_program_is_compiled_again_without_a_word(tmp_path):
    program = f"""
import sys
sys.stderr = sys.stdout
import jax, jax.numpy as jnp
from experiments.common import compilation
compilation.keep({str(tmp_path)!r})
print(jax.jit(lambda x: x * 3)(jnp.ones(2)))
"""
    assert another_process.printed(program) == "[3. 3.]\n"
    kept = list(tmp_path.iterdir())
    for file in kept:
        os.truncate(file, file.stat().st_size // 2)
    assert kept and another_process.printed(program) == "[3. 3.]\n"
