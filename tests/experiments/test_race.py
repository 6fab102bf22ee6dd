"""The race on a tiny task: what is recorded, resumed, compiled, searched and put together."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest

from banel_jax.algorithms.prior_sampling import prior_sampling
from experiments.common import methods as common
from experiments.common.method import Method
from experiments.race import (
    cell,
    cells,
    entry,
    figures,
    methods,
    program,
    search,
    table,
    trials,
)
from experiments.race.cell import Kind
from experiments.race.config import PRESETS, Config
from experiments.race.tasks import TASKS

SMOKE = PRESETS["smoke"]
KEYS = {
    "task", "n_rho", "algorithm", "rival", "control", "seeds", "m", "to_first", "to_10_distinct",
    "to_0.5", "to_0.9", "distinct", "final",
}  # fmt: skip
PRIOR = Kind("tiny", "prior", 50)


@pytest.fixture(scope="module")
def prepared():
    return TASKS["tiny"].prepare(TASKS["tiny"], None, 100)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """(configuration, recorded lines) of the smoke preset."""
    folder = tmp_path_factory.mktemp("race")
    config = dataclasses.replace(SMOKE, output=str(folder / "results"), runs=str(folder / "runs"))
    cells.main(config)
    return config, lines_of(config)


def lines_of(config):
    text = cells.file_of(config, "tiny").read_text()
    return [json.loads(line) for line in text.splitlines()]


def without_times(lines):
    return [{k: v for k, v in line.items() if k not in ("seconds", "commit")} for line in lines]


def test_each_cell_is_a_line_and_is_run_once(done, capsys):
    config, lines = done
    kinds = [(line["algorithm"], line["m"], line["seed"]) for line in lines]
    assert kinds == [(a, 50, s) for a in ("prior", "policy_gradient") for s in (0, 1)]
    assert {line["budget"] for line in lines} == {200}
    cells.main(config)
    assert "0 cells run" in capsys.readouterr().out and lines_of(config) == lines


def test_a_cell_that_was_killed_while_it_was_written_is_computed_again(done, tmp_path):
    config, lines = done
    again = dataclasses.replace(config, output=str(tmp_path))
    path = cells.file_of(again, "tiny")
    path.parent.mkdir(parents=True)
    whole = "".join(json.dumps(line) + "\n" for line in lines)
    path.write_text(whole[: whole.rindex('"distinct"')])
    cells.main(again)
    assert without_times(lines_of(again)) == without_times(lines)


def test_the_prior_is_measured_as_it_is(done, prepared):
    _, (first, *_) = done
    rate = np.exp(prepared.reference.log_given).sum()
    assert rate == pytest.approx(1, rel=1e-5)  # all targets are there
    assert first["final"] == pytest.approx(prepared.prior_rate, rel=1e-3) == first["coverage"]
    assert first["base_rate"] == pytest.approx(prepared.base_rate, rel=1e-3)
    assert first["flops"] == 200 * prepared.networks.flops


def test_the_table_has_its_schema_and_says_null_for_never(done, capsys):
    config, lines = done
    table.main(config)
    rows = json.loads((table.files.expand(config.output) / "table.json").read_text())
    quantiles = {f"{name}_quantiles" for name in table.MEASURES}
    assert all(set(row) == KEYS | quantiles for row in rows)
    prior, policy = rows
    assert prior["n_rho"] == pytest.approx(200 * lines[0]["base_rate"])
    assert (prior["rival"], prior["control"], prior["seeds"], prior["m"]) == (False, True, 2, 50)
    assert policy["rival"] and not policy["control"]
    firsts = [line["to_first"] for line in lines[:2]]
    assert prior["to_first"] == np.median(firsts) and prior["to_0.5"] is None
    assert prior["to_first_quantiles"] == pytest.approx(np.quantile(firsts, [0.1, 0.5, 0.9]), 1e-3)
    folder = table.files.expand(config.output)
    text = (folder / "table.md").read_text()
    assert "| policy gradient | 50 | 2 |" in text and "N = 200" in text
    assert (folder / "figures" / "evaluations_to_half.png").stat().st_size > 5000
    summary = json.loads((folder / "summary.json").read_text())
    assert {"to_100_distinct", "modes", "coverage", "flops", "changes"} <= set(summary["rows"][0])
    assert "written" in capsys.readouterr().out


def line(algorithm="prior", seed=0, of="a", **values):
    found = {"algorithm": algorithm, "m": 50, "seed": seed, "of": of, "budget": 1000}
    return found | {"base_rate": 0.01, "changes": {}} | values


def test_a_row_is_of_the_settings_that_were_run_last():
    kinds = table.latest(
        [
            line(of="old"),
            line(of="new"),
            line(of="new", final=0.5),
            line(of="new", seed=3),
            line(of="b", algorithm="ours"),
        ]
    )
    assert set(kinds) == {("prior", 50), ("ours", 50)}
    assert [(x["of"], x["seed"], x.get("final")) for x in kinds["prior", 50]] == [
        ("new", 0, 0.5), ("new", 3, None),
    ]  # fmt: skip


def test_settings_that_were_run_before_and_are_run_again_are_the_last():
    (cells,) = table.latest([line(of="old"), line(of="new"), line(of="old", seed=1)]).values()
    assert [(x["of"], x["seed"]) for x in cells] == [("old", 0), ("old", 1)]


def test_half_of_the_seeds_must_get_there():
    values = [{"to_first": v, "to_0.5": v, "distinct": 3} for v in (100, 300, None)]
    row = table.row("tiny", "prior", 50, [line(seed=i, **v) for i, v in enumerate(values)])
    assert row["to_0.5"] == 300 and row["to_0.5_quantiles"] == [140, 300, None]
    assert row["n_rho"] == 10 and row["to_0.9"] is None and row["distinct"] == 3
    row = table.row("tiny", "prior", 50, [line(seed=i, **{"to_0.5": v}) for i, v in enumerate(
        (100, None, None)
    )])  # fmt: skip
    assert row["to_0.5"] is None and row["to_0.5_quantiles"] == [100, None, None]


class Counting:
    """Plain sampling that counts how often it is traced, and finds nothing from some round on."""

    def __init__(self, lost_from=99):
        self.traced, self.lost_from = 0, lost_from

    def method(self, **changes):
        return Method("counting", True, self.build, lambda settings, metrics: 1.0, **changes)

    def build(self, settings, networks):
        plain = prior_sampling(networks.model(0.0), settings.num_candidates)

        def init(key, params):
            return {"state": plain.init(key, params), "round": jnp.int32(0)}

        def ask(key, state):
            self.traced += 1
            candidates, _ = plain.ask(key, state["state"])
            lost = state["round"] >= self.lost_from
            return candidates.replace(mask=candidates.mask & ~lost), state

        def tell(key, state, candidates, rewards):
            return state | {"round": state["round"] + 1}, {"told": jnp.sum(rewards)}

        return plain._replace(
            init=init, ask=ask, tell=tell,
            sample=lambda key, state, n: plain.sample(key, state["state"], n),
            log_prob=lambda state, x: plain.log_prob(state["state"], x),
        )  # fmt: skip


def program_of(prepared, method, rounds=4):
    settings = methods.at(TASKS["tiny"].settings, 50, rounds)
    return program.Program(prepared, method, settings, rounds, 100)


def test_seeds_are_of_one_program(prepared):
    counting = Counting()
    one = program_of(prepared, counting.method())
    first = one.measured(one.run(0))
    traced = counting.traced
    others = [one.measured(one.run(seed)) for seed in (1, 2)]
    assert counting.traced == traced > 0
    assert len({found["to_first"] for found in (first, *others)}) > 1


def test_what_is_told_nothing_is_measured_by_what_it_earned(prepared):
    told, untold = (
        program_of(prepared, Counting().method(sees_rewards=sees)).run(0) for sees in (True, False)
    )
    assert told.metrics["told"].sum() > 0 == untold.metrics["told"].sum()
    assert np.array_equal(told.record.rewards, untold.record.rewards)
    assert told.record.rewards.sum() == told.metrics["told"].sum()


@pytest.mark.parametrize(("lost_from", "kept"), [(2, 2), (0, 0)])
def test_a_run_that_cannot_go_on_has_what_it_paid_for(prepared, lost_from, kept):
    one = program_of(prepared, Counting(lost_from).method())
    ran = one.run(0)
    whole = program_of(prepared, Counting().method()).run(0)
    assert np.array_equal(ran.record.tokens, whole.record.tokens[:kept]) or not kept
    found = cell.measured(one, 0)
    assert f"in round {lost_from} only 0 of 50 candidates were found" in found["error"]
    assert found["distinct"] == len(set(program.measures.firsts(whole.record)) & set(
        range(1, 50 * kept + 1)
    ))  # fmt: skip
    assert (found["final"] is None) == (kept == 0) and "stopped" in cell.in_words(found)


def test_blocks_divide_the_rounds(prepared):
    sizes = {r: program_of(prepared, Counting().method(), r).block for r in (1, 3, 4, 8, 40, 200)}
    assert sizes == {1: 1, 3: 1, 4: 1, 8: 2, 40: 10, 200: 50}


def test_no_cell_is_begun_that_would_not_end(done, tmp_path, capsys):
    lines = [line(seconds=3.0), line(seconds=5.0, seed=1), line("ours", seconds=70.0)]
    assert cells.predicted(lines, PRIOR) == 5.0
    assert cells.predicted(lines, PRIOR._replace(num_candidates=10)) == 25.0  # as many rounds more
    assert cells.predicted(lines, PRIOR._replace(algorithm="banel")) == 0.0
    config, _ = done
    slow = dataclasses.replace(config, output=str(tmp_path), algorithms=("prior",), minutes=1.0)
    path = cells.file_of(slow, "tiny")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(line(seconds=61.0)) + "\n")
    cells.main(slow)
    printed = capsys.readouterr().out
    assert "0 cells run" in printed
    assert "tiny, prior, m = 50, seeds from 0 on (61 s each)" in printed
    assert len(lines_of(slow)) == 1


def test_a_run_that_turns_out_too_long_is_given_up(prepared):
    one = program_of(prepared, Counting().method())
    with pytest.raises(program.TooLong):
        one.run(0, seconds_left=0.0)
    assert one.run(0, seconds_left=60.0).error == ""


def test_other_settings_are_other_cells(prepared):
    of = lambda **changes: program_of(prepared, methods.METHODS["policy_gradient"]).identity
    config = dataclasses.replace(SMOKE)
    kind = Kind("tiny", "policy_gradient", 50)
    changed = {"policy_gradient.training.learning_rate": 0.5}
    names = {
        cell.program_of(config, kind, prepared, {}).identity,
        cell.program_of(config, kind, prepared, changed).identity,
        cell.program_of(config, PRIOR, prepared, {}).identity,
        cell.program_of(dataclasses.replace(config, budget=100), kind, prepared, {}).identity,
    }
    assert len(names) == 4 and of() in names


def test_past_rounds_are_kept_from_the_first_whatever_m_is():
    settings = methods.at(TASKS["addition_demo"].settings, 10, 200)
    assert settings.num_candidates == 10
    assert settings.ours.failure_rounds == settings.expert_iteration.success_rounds == 200
    assert settings.published().failure_rounds == 1  # as published


def test_every_method_that_learns_starts_where_the_others_do():
    settings = TASKS["addition_demo"].settings
    starts = {name: method.base(settings) for name, method in methods.METHODS.items()}
    own = {name: starts.pop(name) for name in methods.OWN_BASE if name in starts}
    assert own["prior"] == own["ladder"] == "prior" and own["broadened"] == "broadened"
    assert set(starts.values()) == {"broadened"} and "policy_gradient" in starts
    known = set(methods.METHODS)
    assert known == set(methods.NAMES) & set(common.METHODS)


@pytest.mark.parametrize("task", [name for name, of in TASKS.items() if not of.searched_on])
def test_every_method_has_as_many_trials_and_each_changes_what_it_reads(task):
    config = Config()
    trial = search.trial_of(config, task)
    every = trials.trials_of(task, tuple(methods.METHODS))
    assert set(every) == set(methods.METHODS) - set(methods.SAMPLED) - set(methods.SEARCHED_AS)
    for name, of in every.items():
        assert len(of) == trials.NUMBER and of[0] == {}
        read = [
            repr(search.settings_of(search.search.with_fields(trial, changes), name))
            for changes in of
        ]
        assert len(set(read)) == trials.NUMBER, name


def test_a_search_is_on_other_seeds_and_the_cells_take_what_did_best(done, tmp_path, monkeypatch):
    config, _ = done
    config = dataclasses.replace(
        config, output=str(tmp_path), command="search", algorithms=("policy_gradient",), seeds=1
    )
    rate = "settings.policy_gradient.training.learning_rate"
    two = [{}, {rate: 1e-6}]
    monkeypatch.setitem(trials.TRIALS, "policy_gradient", two)
    search.main(config)
    path = search.file_of(config, "tiny")
    found = [json.loads(text) for text in path.read_text().splitlines()]
    assert [x["changes"] for x in found] == two
    assert all(x["seeds"] == [1000, 1] and "policy_gradient" in x["settings"] for x in found)
    search.main(config)  # nothing is run again
    assert len(path.read_text().splitlines()) == 2
    path.write_text(
        "".join(json.dumps(x | {"score": s}) + "\n" for x, s in zip(found, (9, 5), strict=True))
    )
    best = {"policy_gradient.training.learning_rate": 1e-6}
    monkeypatch.setitem(methods.SEARCHED_AS, "reinforce_replay", "policy_gradient")
    both = dataclasses.replace(config, algorithms=("policy_gradient", "reinforce_replay"))
    assert search.chosen(both, "tiny") == {"policy_gradient": best, "reinforce_replay": best}
    assert search.chosen(config, "tiny") == {"policy_gradient": best}
    cells.main(config)
    assert lines_of(config)[0]["changes"] == {"policy_gradient.training.learning_rate": 1e-6}
    path.write_text(json.dumps(found[0]) + "\n")  # a trial lacks
    assert search.chosen(config, "tiny") == {}


def test_a_trial_is_judged_by_evaluations_and_a_never_counts_twice_the_budget():
    one = {"to_10_distinct": 100, "to_0.5": 400, "to_0.9": None}
    assert search.score([one], 800) == pytest.approx((100 * 400 * 1600) ** (1 / 3))
    never = dict.fromkeys(one)
    assert search.score([never, never], 800) == pytest.approx(1600)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": ("addition",)}, "tasks=addition is not known; choose among addition_demo"),
        ({"algorithms": ("reinforce",)}, "algorithms=reinforce is not known"),
        ({"num_candidates": (70,)}, "num_candidates=70 does not divide the 200 evaluations"),
        ({"num_candidates": ()}, "must be one or more"),
        ({"first_seed": 999}, "seeds 1000 to 1000 are searched on and reported"),
        ({"minutes": 0.0}, "minutes"),
    ],
)
def test_what_cannot_be_raced_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMOKE, **changes)


def test_a_table_of_nothing_says_what_to_run(tmp_path):
    config = dataclasses.replace(SMOKE, output=str(tmp_path))
    with pytest.raises(ValueError, match=r"run `python -m experiments.race`"):
        table.main(config)


def test_rates_without_targets_are_counted_in_samples(prepared):
    task = prepared.task._replace(targets=None)
    counted = entry.prepared(
        TASKS["tiny"], task, prepared.networks, prepared.bases, prepared.modes, 4000
    )
    error = 4 * np.sqrt(prepared.prior_rate / 4000)
    assert counted.base_rate == pytest.approx(prepared.prior_rate, abs=error)
    ran = program_of(counted, Counting().method()).run(0)
    assert set(ran.record.rates * 100 % 1) <= {0.0} or counted.targets is None


@pytest.mark.filterwarnings("error:constrained_layout")  # panels without height
def test_never_is_a_mark_above_all(tmp_path):
    rows = [
        {
            "m": m,
            "algorithm": a,
            "n_rho": r,
            "budget": 100,
            "title": a,
            "control": False,
            "rival": a == "rnd",
        }
        | {"to_0.5": half, "to_0.5_quantiles": [half, half, None]}
        for m, a, r, half in [(50, "ours", 1.0, 50.0), (50, "ours", 0.1, None), (10, "rnd", 1, 9)]
    ]
    figures.to_half(tmp_path / "a.png", rows)
    assert (tmp_path / "a.png").stat().st_size > 5000


def test_modes_of_the_circles_are_sixths_of_the_arc(prepared):
    # About the middle 7.5, an arc of 60 degrees: -8 and +8 degrees, 23.2 and 24.4 degrees.
    tokens = np.array([(11, 7), (11, 8), (11, 9), (13, 10), (11, 8)])
    assert prepared.modes(tokens, np.ones(tokens.shape, bool)) == 3
    assert prepared.modes(tokens[:2], np.ones((2, 2), bool)) == 2


def test_a_field_that_is_new_is_in_earlier_trials_as_its_class_has_it():
    config = Config(tasks=("tiny",), num_candidates=(50,))
    how, trial = search.searched(config, "tiny"), search.trial_of(config, "tiny")
    of = lambda new: search.search.with_fields(trial, {"settings.both_sides.prefer_new": new})
    about = lambda new: search.search.about(how, of(new), "both_sides", 0, {})
    earlier = json.loads(json.dumps(about(True)))
    del earlier["settings"]["both_sides"]["prefer_new"]
    found = lambda new: search.search.kept(how, [earlier], of(new), about(new))
    assert found(False) is earlier and found(True) is None
    del earlier["settings"]["both_sides"]  # which no trial of then had
    assert found(True) is earlier
