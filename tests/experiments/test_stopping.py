"""When to stop without a success: what a rule keeps, and the runs that it is judged on."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.race.measures import Record
from experiments.race.tasks import TASKS
from experiments.stopping import rules, table, trajectories
from experiments.stopping.config import PRESETS
from experiments.stopping.variants import VARIANTS, without_successes

SMOKE = PRESETS["smoke"]


SETTINGS = dataclasses.replace(TASKS["tiny"].settings, num_candidates=20)


def run(rates, kl, base=0.01):
    return {"base_rate": base, "rates": rates, "seen": {"kl_to_base": kl}}


RISES = run([0.02, 0.04, 0.08, 0.01], [0.3, 1.0, 2.0, 5.0])
FALLS = run([0.005, 0.002, 0.0, 0.0], [0.1, 0.1, None, 9.0])
KL = rules.RULES["kl_to_base"]


def test_a_rule_stops_at_the_first_round_at_its_limit_or_at_the_last():
    assert [rules.stops_at(KL, limit, RISES) for limit in (0.2, 1.0, 1.5, 6.0)] == [0, 1, 2, 3]
    assert rules.stops_at(KL, 5.0, FALLS) == 3  # what was not seen stops nothing
    assert rules.stops_at(rules.RULES["rounds"], 2, RISES) == 1


def test_what_is_kept_is_a_share_of_the_best_round_or_of_the_base():
    assert [rules.kept(RISES, at) for at in range(4)] == pytest.approx([0.25, 0.5, 1.0, 0.125])
    assert rules.kept(FALLS, 0) == pytest.approx(0.5)
    assert rules.keeps(KL, 2.0, [RISES, FALLS]) == pytest.approx((1.0 + 0.0) / 2)


def test_limits_are_chosen_on_the_other_tasks():
    by_task = {"up": [RISES], "down": [FALLS]}
    found = rules.elsewhere(KL, by_task)
    # On `down` 0.1 is best, which stops after the first round; on `up` 2 is.
    assert found["up"] == {"limit": 0.1, "kept": pytest.approx(0.25)}
    assert found["down"] == {"limit": 2.0, "kept": 0.0}
    assert rules.chosen(KL, {"up": [run([0.1, 0.2], [0.1, 0.2])]}) == rules.NEVER


def test_relative_measures_are_of_the_first_rounds():
    line = run([0.1] * 3, [0.0] * 3)
    line["seen"] |= {"entropy": [8.0, 6.0, 2.0], "effective_sample_size": [100.0, 50.0, 10.0]}
    of = lambda name: rules.RULES[name].of(line).tolist()
    assert of("entropy_lost") == pytest.approx([0.0, 0.25, 0.75])
    assert of("effective_sample_size") == pytest.approx([-1.0, 0.0, 0.8])  # no filter in the first


def test_repeats_count_what_was_paid_for_before():
    tokens = np.array([[[1], [2], [2], [3]], [[1], [4], [5], [3]]])
    mask = np.ones_like(tokens, bool)
    record = Record(tokens, mask, np.zeros((2, 4)), np.zeros(2))
    assert trajectories.repeats(record).tolist() == [0.25, 0.5]


def test_nothing_learns_from_a_success_in_any_variant():
    for name, method in VARIANTS.items():
        algorithm = method.build(SETTINGS, tiny().networks)
        settings = dict(algorithm.settings)
        for stage in settings.get("stages", [settings]):
            config = stage["settings"]
            assert config.drop_successes and not config.fall_back, name


def tiny():
    return TASKS["tiny"].prepare(TASKS["tiny"], None, 100)


@pytest.mark.slow
def test_stages_follow_one_another_over_one_state():
    """A third of the rounds is asked for as by f, the next as by f / 2, and all others by 1.5."""
    of = lambda f: dataclasses.replace(
        SETTINGS, ours=dataclasses.replace(
            SETTINGS.ours, filter_factor=f, failure_rounds=6, num_distilled=60
        ),
    )  # fmt: skip
    prepared = tiny()
    build = lambda name, f: VARIANTS[name].build(of(f), prepared.networks)
    decays = build("ours_f_decays", 4.0)
    state = decays.init(jax.random.key(0), prepared.bases("prior"))
    other = jax.tree.map(lambda x: jax.random.normal(jax.random.key(2), x.shape), state.base)
    key = jax.random.key(1)
    for number, f in ((1, 4.0), (2, 2.0), (9, 1.5)):
        at = state.replace(round=jnp.int32(number), failure_model=other)
        asked, expected = (a.ask(key, at)[0] for a in (decays, build("ours", f)))
        assert jnp.array_equal(asked.tokens, expected.tokens), number


def test_runs_are_recorded_once_and_judged(tmp_path, capsys):
    config = dataclasses.replace(
        SMOKE, variants=("banel",), output=str(tmp_path), runs=str(tmp_path / "runs")
    )
    trajectories.main(config)
    path = trajectories.file_of(config, "tiny")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["seed"] for line in lines] == [0, 1]
    for line in lines:
        assert len(line["rates"]) == config.rounds and min(line["rates"]) > 0
        assert {len(seen) for seen in line["seen"].values()} == {config.rounds}
        assert line["seen"]["kl_to_base"][0] == pytest.approx(0.0, abs=1e-5)
    trajectories.main(config)
    assert len(path.read_text().splitlines()) == 2
    table.main(config)
    summary = json.loads((tmp_path / "summary.json").read_text())["variants"]["banel"]
    reached = summary["reached"]["tiny"]
    assert reached["last"]["values"] == [line["rates"][-1] for line in lines]
    assert summary["rules"]["last"]["by_task"]["tiny"]["kept"] == pytest.approx(
        np.mean([line["rates"][-1] / max(line["base_rate"], *line["rates"]) for line in lines])
    )
    assert (tmp_path / "figures" / "success_rate.png").exists()
    assert "failure_gap" not in summary["rules"]  # nothing is held out here


def test_without_successes_is_ours_but_for_what_they_would_change():
    changed = without_successes(SETTINGS)
    back = dataclasses.replace(changed, drop_successes=False, fall_back=SETTINGS.ours.fall_back)
    assert back == dataclasses.replace(SETTINGS.ours, num_candidates=20)
