"""The check for an accelerator: its sections end in time, alone, and with what they had found."""

import json
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from banel_jax import sampling
from banel_jax.models.table import table
from banel_jax.models.transformer import TransformerConfig
from experiments.accelerator import __main__ as accelerator
from experiments.accelerator import chunks, numerics, pytest_files, speed
from experiments.accelerator.models import Tried
from experiments.accelerator.section import Section, Skip, within
from experiments.benchmark import transformer as benchmark_transformer

WRITE = "import json, sys, time, os; file = sys.argv[1]\n"
PROGRAMS = {  # in place of sections
    "fine": """json.dump({"parts": {"one": {"status": "passed", "result": {}},
        "two": {"status": "skipped", "reason": "no torch"}}}, open(file, "w"))""",
    "crashes": """json.dump({"parts": {"one": {"status": "ran", "result": {"value": 3}},
        "two": {"status": "running"}}}, open(file, "w")); print("illegal address"); os._exit(7)""",
    "hangs": """json.dump({"parts": {"one": {"status": "running"}}}, open(file, "w"))
if not os.fork(): time.sleep(600)
time.sleep(600)""",
    "silent": "raise SystemExit('no module named flax')",
}

SHARES = {"crashes": 10, "hangs": 1, "fine": 10, "silent": 10}  # two seconds of 42 to hang in


def test_a_crash_and_a_hang_end_one_section_and_lose_nothing(tmp_path, monkeypatch, capsys):
    def command(name, folder, size, seconds):
        assert size == "smoke" and 0 < seconds <= 42
        return [sys.executable, "-c", WRITE + PROGRAMS[name], str(folder / f"{name}.json")]

    monkeypatch.setattr(accelerator, "command", command)
    monkeypatch.setattr(accelerator, "SECTIONS", SHARES)
    (tmp_path / "silent.json").write_text('{"parts": {"one": {"status": "passed"}}}')  # an old one
    given = [f"--output={tmp_path}", "--size=smoke", "--seconds=42", "--commit=abc"]
    assert accelerator.main(given) == 1
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["commit"] == "abc" and summary["packages"]["jax"] == jax.__version__
    sections = summary["sections"]
    assert sections["fine"]["parts"] == {"passed": 1, "skipped": 1}
    assert sections["fine"]["skipped"] == {"two": "no torch"}
    assert sections["crashes"]["parts"] == {"ran": 1, "cut": 1}
    assert sections["crashes"]["wrong"] == {"two": "ended with code 7: illegal address"}
    assert sections["hangs"]["wrong"]["one"].startswith("stopped after")
    assert sections["silent"]["wrong"] == {"section": "ended with code 1: no module named flax"}
    crashed = json.loads((tmp_path / "crashes.json").read_text())["parts"]
    assert crashed["one"]["result"] == {"value": 3}, "what had ended before stays"
    said = capsys.readouterr().out
    assert said == (tmp_path / "log.txt").read_text()
    assert "crashes: illegal address" in said and "3 parts failed" in said
    assert accelerator.main([*given, "--sections=fine"]) == 0
    with pytest.raises(SystemExit):
        accelerator.main(["--sections=fine,other"])
    assert "--sections: other is not one of crashes, hangs" in capsys.readouterr().err


def test_a_parts_end_is_in_the_file_before_the_next_begins(tmp_path, capsys):
    section = Section("some", tmp_path, "smoke", 100.0)
    read = lambda: json.loads((tmp_path / "some.json").read_text())["parts"]

    def second():
        assert read()["first"]["status"] == "passed" and read()["second"] == {"status": "running"}
        return {"value": np.float32(np.nan), "array": jnp.arange(2)}

    assert section.part("first", lambda: within(0.5, 1))["value"] == 0.5
    section.part("second", second)
    section.part("third", lambda: within(float("nan"), 1))
    assert section.part("fourth", lambda: 1 / 0) is None
    section.part("fifth", partial(__import__, "no_such_package"))
    section.part("sixth", lambda: pytest.fail("it has no time"), needs=200)

    def skips():
        raise Skip("nothing here")

    section.part("seventh", skips)
    parts = read()
    assert [part["status"] for part in parts.values()] == [
        "passed", "ran", "failed", "error", "skipped", "skipped", "skipped"
    ]  # fmt: skip
    assert parts["second"]["result"] == {"value": None, "array": [0, 1]}
    assert parts["fourth"]["reason"] == "ZeroDivisionError: division by zero"
    assert parts["fifth"]["reason"] == "No module named 'no_such_package'"
    assert parts["sixth"]["reason"] == "100 s are left, and it takes about 200"
    assert "third: failed" in capsys.readouterr().out


def test_numerical_checks_pass_and_see_what_is_wrong(monkeypatch):
    model = table(3, 2)
    right = Tried(model, jnp.linspace(-1, 2, 9).reshape(3, 3), 20)
    for check in (numerics.sampler_against_scorer, numerics.any_chunk, numerics.several_devices):
        assert check(right)["passed"], check

    def off(key, params, **options):
        sequence, log_prob = model.sample(key, params, **options)
        return sequence, log_prob - 1

    wrong = right._replace(model=model._replace(sample=off))
    assert not numerics.sampler_against_scorer(wrong)["passed"]

    def of_the_number(of, n, chunk=None):
        return sampling.sample(of.model, jax.random.key(n), of.params, n, chunk)

    monkeypatch.setattr(numerics, "draw", of_the_number)
    found = numerics.any_chunk(right)
    assert not found["passed"] and found["same_rows"]["n=20, chunk=7"] == 1


def test_bytes_and_roofline_by_hand():
    config = TransformerConfig(vocab_size=5, length=3, num_layers=2, num_heads=1, width=4)
    # Embeddings 6 x 4 and 3 x 4, head 4 x 5, norms 2 x 4; a layer's kernels 12 x 16, biases 9 x 4
    # and two norms.
    weights = 4 * (24 + 12 + 20 + 8 + 2 * (12 * 16 + 9 * 4 + 16))
    assert benchmark_transformer.bytes_read(config, "scoring", 10) == weights
    # A position of a row is a key and a value of 4 float32 in 2 layers: 64 bytes.
    sampled = benchmark_transformer.bytes_read(config, "sampling", 10)
    assert sampled == 3 * weights + 10 * 64 * (1 + 2 + 3)
    ceilings = {"float32": 1e9, "bfloat16": 4e9, "bytes": 1e8}
    case = chunks.only_counted(50, "rows/s", 2e9, 1e8, False)
    found = speed.roofline(ceilings, case, 8.0)
    assert found["bound"] == "compute" and found["roofline_fraction"] == 2 / 8
    assert found["value"] == 50 / 8
    found = speed.roofline(ceilings, case._replace(bfloat16=True), 8.0)
    assert found["bound"] == "memory" and found["roofline_fraction"] == 1 / 8
    assert chunks.sizes(600, 128, 512, 2048) == [128, 512] and chunks.sizes(8, 128) == [4, 8]


def test_the_tests_that_run_on_the_device_are_there():
    for name in pytest_files.NAMES + pytest_files.SMOKE:
        assert (pytest_files.ROOT / "tests" / f"{name}.py").is_file(), name
