"""BaNEL on a question of a language model, at the least size, with a judge that is known here."""

import dataclasses
import itertools
import json
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import nightly
import numpy as np
import pytest
from made_up_gsm8k import PROBLEMS

from banel_jax import sampling
from banel_jax.models.language import responses
from banel_jax.models.language.responses import ResponseConfig
from banel_jax.runs import naming
from banel_jax.tasks.gsm8k import task as gsm8k
from banel_jax.training import TrainingConfig
from experiments.gsm8k import model as gsm8k_model
from experiments.gsm8k import prepare as gsm8k_prepare
from experiments.gsm8k import presets as gsm8k_presets
from experiments.gsm8k import run as gsm8k_run
from experiments.gsm8k import runner as gsm8k_runner

SMOKE = gsm8k_presets.PRESETS["smoke"]


def is_right(text: str) -> bool:
    """One text in four, whatever it says."""
    return zlib.crc32(text.encode()) % 4 == 0


@pytest.fixture
def judged(monkeypatch):
    """How many texts were judged, call by call."""
    numbers = []

    def reward(texts, gold, rule="strict"):
        numbers.append(len(texts))
        return np.array([is_right(text) for text in texts], np.float32)

    monkeypatch.setattr(gsm8k, "reward", reward)
    return numbers


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return str(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def config(stand_in, data, runs, tmp_path):
    """Of learning rates that change nothing: every model stays what it was."""
    frozen = TrainingConfig(epochs=1, batch_size=4, learning_rate=1e-30)
    settings = dataclasses.replace(
        SMOKE.settings,
        failure_learning_rate=1e-30,
        generator_learning_rate=1e-30,
        ours=dataclasses.replace(
            SMOKE.settings.ours, failure_training=frozen, generator_training=frozen
        ),
        rnd_policy=dataclasses.replace(SMOKE.settings.rnd_policy, training=frozen),
    )
    return dataclasses.replace(
        SMOKE, algorithms=("banel_f1", "banel", "ours", "rnd"), model=stand_in, data_dir=data,
        question=(3,), max_new_tokens=6, num_evaluated=40, num_final=48, num_prior=24,
        num_tempered=16, batch=8, temperatures=(0.5,), output=str(tmp_path / "results"),
        runs=runs, settings=settings, broaden=dataclasses.replace(SMOKE.broaden, training=frozen),
    )  # fmt: skip


def drawn(config, key, n):
    """Which of n answers of the prior are right."""
    language = gsm8k_model.load(config.model, config.max_new_tokens)
    prompt = language.prompt(PROBLEMS[config.question[0]].prompt)
    model = responses.conditioned(
        language.config, ResponseConfig(config.max_new_tokens, (2,)), prompt
    )
    sequences, _ = sampling.sample(model, key, language.params, n)
    texts = [language.text(t[m]) for t, m in zip(sequences.tokens, sequences.mask, strict=True)]
    return np.array([is_right(text) for text in texts], np.float32)


def written(config, name="summary.json"):
    return json.loads(Path(config.output, name).read_text())


def assert_the_priors(config, algorithm):
    """An algorithm that learned nothing, by samples of the keys that all are judged by."""
    rate = drawn(config, jax.random.key(9), config.num_evaluated).mean()
    np.testing.assert_allclose(algorithm["rounds"]["success_rate"], [[rate] * config.rounds], 1e-4)
    right = drawn(config, jax.random.key(10), config.num_final).sum()
    assert algorithm["final"]["successes"] == [right] and 0 < right < config.num_final


@pytest.mark.parametrize(
    "names", [("ours",), pytest.param(("banel_f1", "banel", "rnd"), marks=pytest.mark.slow)]
)
def test_every_algorithm_is_judged_by_what_it_says_and_nothing_runs_twice(
    config, judged, capsys, names
):
    config = dataclasses.replace(config, algorithms=names)
    gsm8k_run.main(config)
    found = written(config)["questions"]["3"]
    of_call = lambda i: drawn(config, jax.random.fold_in(jax.random.key(11), i), 8)
    assert found["prior"]["success_rate"] == pytest.approx(np.mean([of_call(i) for i in range(3)]))
    assert found["prior"]["samples"] == 24 and found["gold"] == PROBLEMS[3].gold
    assert set(found["algorithms"]) == set(config.algorithms)
    for algorithm in found["algorithms"].values():
        assert_the_priors(config, algorithm)
    rows = {row["kind"]: row for row in written(config, "table.json")}
    titles = {name: gsm8k_run.METHODS[name].title for name in config.algorithms}
    controls = {"best T", "tempered ladder", "broadened prior"}
    assert set(rows) == controls | set(titles.values())
    controls |= {title for name, title in titles.items() if gsm8k_run.METHODS[name].control}
    assert {kind for kind in rows if rows[kind]["control"]} == controls
    spent = found["algorithms"][names[-1]]["rounds"]["num_reward_evaluations"]
    m = config.settings.num_candidates
    assert spent == [[m, 2 * m]]
    texts = Path(config.output, "responses.txt").read_text()
    assert all(f"question 3 ({PROBLEMS[3].gold}), {t}" in texts for t in titles.values())
    table = lambda: [row | {"commit": None} for row in written(config, "table.json")]
    before, tables = len(judged), table()
    capsys.readouterr()
    gsm8k_run.main(config)
    assert len(judged) == before and table() == tables
    assert "success rates at the end" in capsys.readouterr().out


@pytest.mark.slow
def test_a_sweep_runs_one_field(config, judged):
    config = dataclasses.replace(config, algorithms=("banel",))
    f = config.settings.filter_factor
    points = [
        (
            f"{value:g}",
            dataclasses.replace(
                config, settings=dataclasses.replace(config.settings, filter_factor=value)
            ),
        )
        for value in (f, f / 2)
    ]
    gsm8k_run.sweep("settings.filter_factor", points)
    found = written(config, "sweep_filter_factor.json")
    assert found["field"] == "settings.filter_factor"
    language = gsm8k_run.begin(config)
    prior = gsm8k_run.prepare(config, language, 3)
    title, rate = gsm8k_run.METHODS["banel"].title, lambda k, n: drawn(config, jax.random.key(k), n)
    over = lambda rates: np.log10(rates.mean() / prior.prior.value)
    assert found["values"] == [f"{f:g}", f"{f / 2:g}"]
    for measure, key, number in (("best", 9, "num_evaluated"), ("final", 10, "num_final")):
        gain = over(rate(key, getattr(config, number)))
        assert found[f"log10_gain_{measure}"][title] == [[pytest.approx(gain, abs=1e-6)]] * 2
    warm = over(np.array([prior.by_temperature[0.5].value]))
    assert found["log10_gain_final"]["best T"] == [[pytest.approx(warm)]] * 2
    figures = Path(config.output, "figures")
    for name in ("sweep_filter_factor", "sweep_filter_factor_by_round"):
        assert (figures / f"{name}.png").stat().st_size > 1000


@pytest.mark.slow
def test_adapters_that_do_not_learn_leave_the_rates_of_full_models(config, judged):
    """The failure model full, the generator adapters: what the prior is, both of them start as."""
    config = dataclasses.replace(config, algorithms=("banel",), rounds=1, lora="generator")
    gsm8k_run.main(config)
    assert_the_priors(config, written(config)["questions"]["3"]["algorithms"]["banel"])


ADAPTED = list(itertools.product(("banel", "both_sides"), ("failure", "generator", "both")))
TRIED = {("banel", "failure"), ("both_sides", "both")}


@pytest.mark.parametrize("case", nightly.params(ADAPTED, set(ADAPTED) - TRIED), ids="-".join)
def test_models_that_are_named_are_adapters(config, judged, case):
    name, which = case
    config = dataclasses.replace(config, lora=which, algorithms=(name,), num_tempered=8)
    language = gsm8k_run.begin(config)
    prepared = gsm8k_run.prepare(config, language, 3)
    algorithm, start = gsm8k_runner.adapted(
        config, prepared, gsm8k_run.METHODS[name], language.params
    )
    full = sum(x.size for x in jax.tree.leaves(language.params))
    size = lambda tree: sum(x.size for x in jax.tree.leaves(tree))
    state = jax.eval_shape(algorithm.init, jax.random.key(0), start)
    assert (size(state.generator) < full) == (which != "failure")
    assert (size(state.failure_model) < full) == (which != "generator")
    candidates, asked = jax.eval_shape(algorithm.ask, jax.random.key(1), state)
    rewards = jnp.ones(candidates.tokens.shape[0])
    told, _ = jax.eval_shape(algorithm.tell, jax.random.key(2), asked, candidates, rewards)
    assert jax.tree.map(jnp.shape, told) == jax.tree.map(jnp.shape, state)


@pytest.mark.slow
def test_a_run_that_forbids_tokens_is_another(config, judged):
    def identity(*forbidden):
        asked = dataclasses.replace(config, forbidden_tokens=forbidden)
        language = gsm8k_run.begin(asked)
        networks = gsm8k_prepare.networks_of(language, PROBLEMS[3])
        oracle = gsm8k.GsmOracle(language.text, PROBLEMS[3].gold)
        prepared = gsm8k_prepare.Prepared(
            3, PROBLEMS[3], language, oracle, networks, {"prior": language.params}, None, {}, []
        )
        configuration = gsm8k_runner.runner(asked, "banel", prepared).configuration
        return naming.identity(configuration), asked.preparation()

    none, by_name, by_id = (identity(*tokens) for tokens in ((), ("<|endoftext|>",), ("0",)))
    assert none[0] != by_id[0] == by_name[0]
    assert none[1] != by_id[1]  # a sweep over it prepares anew


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"algorithms": ("ppo",)}, "algorithms=ppo is not known; choose among banel_f1, ours_f1"),
        ({"algorithms": ("banel", "rnd"), "lora": "failure"}, "lora=failure: rnd has no failure"),
        ({"question": ()}, "at least one question"),
        ({"split": "train", "question": (5, 1), "shots": 2}, "question=1 of the training split is"),
        ({"num_final": 0}, "num_final=0 must be at least 1"),
        ({"temperatures": (0.0,)}, "temperatures"),
    ],
)
def test_settings_are_checked(settings, text):
    with pytest.raises(ValueError, match=text):
        dataclasses.replace(SMOKE, **settings)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"model": "nowhere"}, "model=nowhere: there is no such folder"),
        ({"question": (3, 60)}, "60"),
        ({"max_new_tokens": 5000}, "lower it, or take a shorter prompt or fewer examples"),
        ({"forbidden_tokens": ("<|im_end|>",)}, "forbidden_tokens=<.im_end.> ends a response"),
        ({"settings": dataclasses.replace(SMOKE.settings, ours_failure_dropout=0.1)}, "no dropout"),
        ({"settings": dataclasses.replace(SMOKE.settings, filter_factor=0.5)}, "filter_factor"),
    ],
)
def test_errors_come_before_anything_is_drawn(config, judged, monkeypatch, settings, text):
    monkeypatch.setattr(gsm8k_prepare, "draw", None)
    with pytest.raises(ValueError, match=text):
        gsm8k_run.main(dataclasses.replace(config, **settings))
    assert not judged
