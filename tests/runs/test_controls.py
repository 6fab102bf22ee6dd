"""What controls would have met, beside their rates by enumeration."""

import json
import re
import shutil
from types import SimpleNamespace

import enumeration as en
import numpy as np
import pytest
from parsed_page import drawn as page_of

from banel_jax import success_rate
from banel_jax.algorithms.banel import BanelConfig, banel
from banel_jax.algorithms.prior_sampling import prior_sampling
from banel_jax.models.tempering import LADDER, ladder
from banel_jax.oracle import reading
from banel_jax.oracle.answers import OracleError
from banel_jax.oracle.ledger import LedgerError
from banel_jax.runs import control_file, progress
from banel_jax.runs.controls import judge_controls
from banel_jax.runs.loop import RunConfig, run
from banel_jax.runs.report import forest
from banel_jax.runs.weighted import weighted

M, F = 400, 4
PRIOR = en.table_params(3, 1.5)
ALGORITHM = prior_sampling(en.TABLE, M)
# Rare ones, and one that is likely.
SUCCESS = en.EVERY.sum(1) >= 6
SUCCESS[np.argsort(en.table_probabilities(PRIOR))[-3]] = True


def oracle(x):
    return SUCCESS[en.index(x)].astype(float)


def tempered(t) -> np.ndarray:
    """float64 [81], token by token, without the package."""
    joint = en.table_probabilities(PRIOR).reshape((en.V,) * en.LENGTH)
    out = np.ones_like(joint)
    for axis in range(en.LENGTH):
        upto = joint.sum(tuple(range(axis + 1, en.LENGTH)))
        heated = (upto / upto.sum(-1, keepdims=True)) ** (1 / t)
        heated /= heated.sum(-1, keepdims=True)
        out *= heated.reshape(heated.shape + (1,) * (en.LENGTH - axis - 1))
    return out.ravel()


def expected() -> dict[str, np.ndarray]:
    p = en.table_probabilities(PRIOR)
    found = {"the prior": p}
    found |= {f"the prior at T = {t:g}": tempered(t) for t in LADDER if t != 1}
    found["the ladder of temperatures"] = np.mean([tempered(t) for t in LADDER], 0)
    for name, order in (("likeliest", np.argsort(-p)), ("least likely", np.argsort(p))):
        inside = order[: np.searchsorted(np.cumsum(p[order]), 1 / F) + 1]  # the border's too
        cut = np.zeros(en.N)
        cut[inside] = p[inside] / p[inside].sum()
        found[f"the {name} 1 / {F} of the prior"] = cut
    return found


def by_name(found):
    return {control.control: control for control in found}


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A run of plain sampling: all its rows can be weighted."""
    folder = tmp_path_factory.mktemp("controls") / "run"
    run(ALGORITHM, PRIOR, oracle, RunConfig(rounds=2), folder, report=False)
    return folder, by_name(judge_controls(folder, en.TABLE, PRIOR, samples=300, filter_factor=F))


def test_rates_are_those_of_enumeration(told):
    judged = told[1]
    p = en.table_probabilities(PRIOR)
    for name, c in expected().items():
        rate, control = c[SUCCESS].sum(), judged[name]
        w = c / p
        error = np.sqrt((p * (w * SUCCESS - rate) ** 2).sum() / (2 * M))
        if control.by == "samples":
            error = np.sqrt(rate * (1 - rate) / 300)
            assert control.rate == control.successes / 300
        assert control.by in ("rows", "samples"), control
        assert abs(control.rate - rate) <= 4 * error + 0.02 * rate, (name, control, rate)
        assert control.low <= control.rate <= control.high
        kish = 1 / (p * w**2).sum() * 2 * M
        assert control.effective == pytest.approx(kish, rel=0.35)


def test_the_mean_of_many_weighted_estimates_is_the_rate_by_enumeration():
    rng, p, c = np.random.default_rng(5), tempered(1), tempered(2)
    inside = 0
    rows = rng.choice(en.N, (2000, 250), p=p)
    found = [weighted(np.log(c / p)[x], SUCCESS[x].astype(float)) for x in rows]
    rate = c[SUCCESS].sum()
    rates = np.array([one.rate for one in found])
    assert abs(rates.mean() - rate) < 4 * rates.std() / np.sqrt(2000)
    inside = np.mean([one.low <= rate <= one.high for one in found])
    assert inside > 0.94


def test_a_rare_success_is_bounded_from_above_and_rows_that_do_not_reach_widen_it():
    none = weighted(np.zeros(250), np.zeros(250))
    assert (none.rate, none.low) == (0, 0) and none.effective == pytest.approx(250)
    assert none.high == pytest.approx(success_rate.clopper_pearson(0, 250)[1])
    # Half of the control lies where no row was drawn.
    assert weighted(np.full(250, np.log(0.5)), np.zeros(250)).high > 0.5
    # Rows without an answer may be either; those of unknown odds say nothing.
    rewards = np.r_[np.ones(50), np.zeros(100), np.full(100, np.nan)]
    some = weighted(np.zeros(250), rewards)
    assert some.rows == 150 and some.low < 50 / 250 and some.high > 150 / 250
    assert weighted(np.r_[np.zeros(250), [np.nan] * 9], np.zeros(259)) == none
    for empty in (np.zeros(0), np.full(9, -np.inf), np.full(9, np.nan)):
        assert weighted(empty, np.zeros(len(empty))).effective == 0
    one = weighted(np.r_[900.0, np.zeros(99)], np.ones(100))
    assert one.effective == pytest.approx(1) and one.high == 1


def test_known_answers_bound_a_rate_and_the_rest_is_what_it_would_cost(told, tmp_path):
    """BaNEL's rounds after the first have odds that nobody kept; what is known still bounds."""
    algorithm = banel(en.TABLE, BanelConfig(num_candidates=6))
    run(algorithm, PRIOR, oracle, RunConfig(rounds=1, seed=1), tmp_path / "run", report=False)
    judged = by_name(judge_controls(tmp_path / "run", en.TABLE, PRIOR, samples=300))
    assert "the likeliest 1 / 2 of the prior" in judged  # as the run's own f
    for name, control in judged.items():
        if not control.samples:
            assert control.by == "nothing" and control.would_cost == 6
            continue
        assert control.effective <= 6 and control.would_cost <= en.N
        assert control.by == ("bounds" if control.known < 300 else "samples"), control
        assert (control.rate is None) == (control.by == "bounds")
        if name in expected():
            assert control.low <= expected()[name][SUCCESS].sum() <= control.high


def test_samples_are_looked_up_and_only_new_ones_would_cost(told, monkeypatch):
    folder, _ = told
    known = {int(i) for i in en.index(reading.read(folder).sequences)}
    draws = []
    real = judge_controls.__globals__["sampling"].sample
    seen = lambda *args, **more: draws.append(real(*args, **more)) or draws[-1]
    fake = SimpleNamespace(sample=seen, LADDER=LADDER)
    monkeypatch.setitem(judge_controls.__globals__, "sampling", fake)
    prior = judge_controls(folder, en.TABLE, PRIOR, samples=300, filter_factor=F, seed=9)[0]
    first = en.index(draws[0][0])
    assert prior.known == sum(i in known for i in first)
    assert prior.successes == sum(SUCCESS[i] for i in first if i in known)
    assert prior.would_cost == len(set(first.tolist()) - known)


def test_an_algorithm_told_nothing_is_judged_by_known_answers(told):
    folder, _ = told
    found = judge_controls(
        folder, en.TABLE, PRIOR, samples=300, filter_factor=F, algorithm=ALGORITHM
    )
    zeros = by_name(found)["the method told nothing but 0"]
    assert zeros.samples == 2 * M and zeros.known > M and zeros.effective is None
    assert zeros.low <= en.table_probabilities(PRIOR)[SUCCESS].sum() <= zeros.high


def test_a_terminal_sees_the_rounds_of_the_algorithm_told_nothing(told, monkeypatch, capsys):
    for terminal in (False, True):
        monkeypatch.setattr(progress, "on_terminal", lambda terminal=terminal: terminal)
        judge_controls(told[0], en.TABLE, PRIOR, samples=300, filter_factor=F, algorithm=ALGORITHM)
        shown = capsys.readouterr().err
        assert ("rounds of the method told nothing but 0:" in shown and "/2 [" in shown) == terminal


def test_odds_that_the_caller_knows_make_all_rows_count(told):
    folder, _ = told
    p = np.log(en.table_probabilities(PRIOR))
    at = dict(samples=300, filter_factor=F)
    log_q = lambda rows: np.where(rows.round == 1, p[en.index(rows.sequences)], np.nan)
    prior = judge_controls(folder, en.TABLE, PRIOR, log_q=log_q, **at)[0]
    assert prior.effective == pytest.approx(M, rel=1e-3)
    for wrong in (lambda rows: np.zeros(3), lambda rows: np.full(len(rows), -np.inf)):
        with pytest.raises(ValueError, match="log_q gave"):
            judge_controls(folder, en.TABLE, PRIOR, log_q=wrong, **at)


def test_rows_of_another_prior_or_after_a_filter_are_not_weighted(told):
    from banel_jax.runs.folder import in_force
    from banel_jax.runs.odds import drawn_from_prior

    settings = in_force(told[0] / "config.json")
    assert drawn_from_prior(settings, en.TABLE, PRIOR) == (None, "")
    assert "another prior" in drawn_from_prior(settings, en.TABLE, PRIOR + 1.0)[1]
    assert "another prior" in drawn_from_prior(settings, ladder(en.TABLE), PRIOR)[1]
    first = settings | {"algorithm.name": "banel"}
    assert drawn_from_prior(first, en.TABLE, PRIOR) == ([0], "")
    for more in ({"known.sequences": 4}, {"algorithm.settings.distinct": True}):
        assert drawn_from_prior(first | more, en.TABLE, PRIOR)[0] == []
    assert drawn_from_prior({}, en.TABLE, PRIOR)[0] == []


def test_a_run_of_no_round_says_nothing_and_what_all_would_cost(tmp_path):
    def fails(x):
        raise RuntimeError("no glass")

    with pytest.raises(OracleError):
        run(ALGORITHM, PRIOR, fails, RunConfig(rounds=1), tmp_path / "run", report=False)
    found = judge_controls(tmp_path / "run", en.TABLE, PRIOR, samples=300, filter_factor=F)
    assert all(c.by == "nothing" and c.rate is c.high is None for c in found)
    assert found[0].known == 0 and 20 < found[0].would_cost <= en.N
    assert "would cost" in found[0].conclusion and "nothing" in found[0].conclusion
    assert "The controls of this run" in page_of(tmp_path / "run").text


def test_what_is_wrong_is_told_in_one_line(tmp_path, told):
    with pytest.raises(LedgerError, match="there is no ledger"):
        judge_controls(tmp_path, en.TABLE, PRIOR)
    for wrong in ({"samples": 0}, {"samples": 2.5}, {"seed": -1}, {"filter_factor": 1},
                  {"filter_factor": float("nan")}, {"temperatures": ()},
                  {"temperatures": (0.5, 0)}):  # fmt: skip
        with pytest.raises(ValueError, match=next(iter(wrong))) as error:
            judge_controls(told[0], en.TABLE, PRIOR, **wrong)
        assert "\n" not in str(error.value)


def test_the_page_has_them(told):
    folder, judged = told
    shown = page_of(folder)
    rows = shown.rows("control", "would cost")
    assert [row["control"] for row in rows] == list(judged)
    assert "This run beside its controls" in shown.text
    assert f"would cost {judged['the prior'].would_cost:,}" in shown.texts
    assert control_file.read(folder).answered == 2 * M


def on_a_page(folder, *intervals):
    """The page of a folder with a run, whose controls have these names, rates and intervals."""
    made = lambda name, *of: control_file.Control(name, 9, 9, 0, *of, 9.0, 5, "rows", name)
    found = control_file.Controls(9, [made(*one) for one in intervals])
    control_file.write(folder, found)
    return page_of(folder)


def test_the_page_says_what_the_run_lies_above(told, tmp_path):
    folder = shutil.copytree(told[0], tmp_path / "run")
    rate = float(reading.read(folder, rounds=1).reward.mean())
    shown = on_a_page(
        folder, ("low", 0.0, 0.0, rate / 3), ("near", rate, rate / 2, 2 * rate),
        ("high", None, 2 * rate, 1.0), ("lost", None, None, None), ("rare", 1e-7, 1e-9, 1e-6),
        ("upto", None, 0.0, rate), ("from", None, rate, 1.0),
    )  # fmt: skip
    for line in ("It lies above low, rare.", "It is not told apart from near, upto, from.",
                 "It lies below high.", "Nothing is known of lost."):  # fmt: skip
        assert line in shown.texts
    assert any(one.startswith(f"This run, round 1: {rate:.3g} (") for one in shown.texts)
    bars = [value for name, value in shown.attributes if (name, value) == ("class", "bar a")]
    assert len(bars) == 6 and shown.text.count("would cost 5") == 7


def test_a_figure_has_its_rates_in_their_places():
    rows = [forest.Interval(name, "", name, rate, low, high) for name, rate, low, high in (
        ("a", 0.5, 0.25, 1.0), ("b", 0.0, 0.0, 0.5), ("c", None, 0.5, 1.0))]  # fmt: skip
    drawn = forest.svg(rows, None, "rate", "title")
    (point,) = [float(x) for x in re.findall(r'cx="([\d.]+)"', drawn)]
    bars = [
        (float(a), float(b)) for a, b in re.findall(r'"M([\d.]+) \d+H([\d.]+)" class="bar', drawn)
    ]
    (left, right), (zero, middle), _ = bars
    assert point == middle and right - middle == pytest.approx(middle - zero, abs=0.2)
    assert left - zero == pytest.approx((right - zero) / 4, abs=0.2)
    # Rates that are far apart stand by their logarithms; the band of the run is there.
    run = forest.Band("run", "", 1e-2, 1e-3, 1e-1)
    rows = [forest.Interval("a", "", "a", r, r / 10, r * 10) for r in (1e-5, 1e-4, 1e-3)]
    drawn = forest.svg(rows, run, "rate", "title")
    x = [float(x) for x in re.findall(r'cx="([\d.]+)"', drawn)]
    assert x[2] - x[1] == pytest.approx(x[1] - x[0], abs=0.2) and "band b" in drawn


HOSTILE = {
    "no JSON": "{",
    "deep": "[" * 100_000,
    "a list": "[]",
    "empty": "{}",
    "of others": '{"answered": 1, "controls": [{"control": 3}]}',
    "no list": '{"answered": 1, "controls": {}}',
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_damaged_file_is_a_note_on_the_page(case, told, tmp_path):
    (tmp_path / control_file.NAME).write_text(HOSTILE[case])
    with pytest.raises(ValueError, match=control_file.NAME):
        control_file.read(tmp_path)
    assert control_file.NAME in page_of(tmp_path).text


def test_hostile_values_are_refused_or_shown_as_text(told, tmp_path):
    whole = json.loads((told[0] / control_file.NAME).read_text())
    row = whole["controls"][0] | {"control": "<script>alert(1)</script>", "conclusion": "=1+1\x00"}
    path = tmp_path / control_file.NAME
    path.write_text(json.dumps(whole | {"controls": [row] * 500}))
    shown = page_of(tmp_path)
    assert "script" not in shown.names and len(shown.rows("control", "worth")) == 30
    for wrong in ({"rate": float("nan")}, {"high": float("inf")}, {"low": -1}, {"rate": True},
                  {"known": 1.5}, {"would_cost": -1}, {"by": None}):  # fmt: skip
        path.write_text(json.dumps(whole | {"controls": [row | wrong]}))
        with pytest.raises(ValueError, match="damaged"):
            control_file.read(tmp_path)
    path.write_text(json.dumps(whole | {"controls": [row | {"rate": 10**400}]}))
    with pytest.raises(ValueError, match="damaged"):
        control_file.read(tmp_path)
