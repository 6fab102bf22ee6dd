"""A comparison of made-up methods on made-up questions: what is run, prepared, shown and kept."""

import dataclasses
import importlib
import json
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import numpy as np
import pytest

from banel_jax.commands import fields
from banel_jax.runs.loop import CandidatesNotFound
from experiments.common.comparison import Experiment, Found
from experiments.common.config import MethodsConfig
from experiments.common.methods import Method, Settings
from experiments.common.seed_runs import SeedRuns

METHODS = {
    "chance": Method("by chance", True, None, None),
    "wise": Method("wise", False, None, None, base=lambda settings: settings.ours_base),
    "stuck": Method("stuck", False, None, None),
}  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class Config(MethodsConfig):
    """Settings of the made-up comparison.

    Attributes:
      seeds: as many as there are.
      questions: that are asked.
    """

    known: ClassVar = METHODS

    rounds: int = 2
    seeds: int = 2
    questions: tuple[int, ...] = (3,)
    settings: Settings = field(default_factory=Settings)


class Prepared(NamedTuple):
    question: int


class Told:
    """In place of a runner: each seed gains its number, times kappa, in decades a round."""

    def __init__(self, config, name, prepared):
        self.name, self.rounds = name, config.rounds
        self.factor = (name == "wise") * config.settings.kappa

    def run_seeds(self, seeds):
        if self.name == "stuck":
            raise CandidatesNotFound("nothing passes")
        by_round = np.outer(np.array(seeds), np.arange(1, self.rounds + 1)) * self.factor
        about = {"commit": "abc", "device": "1 x cpu"}
        return SeedRuns({"gain": by_round}, {}, np.zeros(0), np.zeros(0), 1.0, about)


@pytest.fixture
def prepared():
    return []


@pytest.fixture
def experiment(prepared):
    def prepare(config):
        for question in config.questions:
            prepared.append(question)
            yield Prepared(question)

    def found(config, prepared, results):
        rows = [{"method": name} for name in results]
        words = f"{len(results)} methods on {prepared.question}"
        return Found(rows, [(rows, ["method"])], words, {"of": prepared.question}, "the end")

    def draw(config, parts, summary, folder):
        folder.mkdir()
        (folder / "drawn.json").write_text(json.dumps(summary))

    return Experiment(
        {"small": Config(), "large": Config(rounds=3)},
        prepare=prepare,
        describe=lambda config, prepared: f"question {prepared.question}",
        runner=Told,
        outcome=lambda config, name, prepared, result: "an outcome",
        found=found,
        draw=draw,
        gains=lambda c, p, result: (result.metrics["gain"], result.metrics["gain"][:, -1] - 1),
        free_gains=lambda c, p: {f"free at {c.settings.kappa:g}": (np.ones(1), np.ones(1))},
        legend="the legend",
        label=lambda prepared: f"question {prepared.question}",
    )


def test_all_of_it_is_shown_and_kept(experiment, tmp_path, capsys):
    config = Config(rounds=3, first_seed=1, output=str(tmp_path / "a"))
    experiment.main(config)
    printed = capsys.readouterr().out
    order = (
        "question 3", "by chance: an outcome", "stuck: stopped, nothing passes",
        "2 methods on 3", "the legend", "the end", "written:",
    )  # fmt: skip
    places = [printed.index(text) for text in order]
    assert places == sorted(places)
    rows = json.loads((tmp_path / "a" / "table.json").read_text())
    assert [row["method"] for row in rows] == ["chance", "wise"]
    assert all(row["preset"] == "large" and {"command", "commit"} <= row.keys() for row in rows)
    summary = json.loads((tmp_path / "a" / "summary.json").read_text())
    assert summary["of"] == 3 and summary["config"]["rounds"] == 3
    assert json.loads((tmp_path / "a" / "figures" / "drawn.json").read_text()) == summary
    with pytest.raises(ValueError, match="no algorithm came to its end"):
        experiment.main(dataclasses.replace(config, algorithms=("stuck",)))


def points(field, values, **changes):
    of = lambda value: dataclasses.replace(Settings(), **{field: value})
    return [(str(v), Config(settings=of(v), algorithms=("wise",), **changes)) for v in values]


def test_a_sweep_prepares_once_what_is_the_same(experiment, prepared, tmp_path):
    swept = points("kappa", (1.0, 2.0), output=str(tmp_path), first_seed=1)
    experiment.sweep("settings.kappa", swept)
    assert prepared == [3]
    found = json.loads((tmp_path / "sweep_kappa.json").read_text())
    assert found["values"] == ["1.0", "2.0"] and found["config"]["settings"]["kappa"] == 1
    # Seeds 1 and 2 gain that in each of two rounds, and twice as much at 2.
    assert found["log10_gain_best"]["wise"] == [[2, 4], [4, 8]]
    assert found["log10_gain_final"]["wise"] == [[1, 3], [3, 7]]
    assert found["log10_gain_final"]["free at 1"] == [[1], [1]]  # one control, at any setting
    experiment.sweep(
        "settings.ours_base", points("ours_base", ("prior", "broadened"), output=str(tmp_path))
    )
    assert prepared == [3, 3, 3]  # another base is another preparation


def test_each_question_of_a_sweep_has_files_of_its_own(experiment, prepared, tmp_path):
    swept = points("kappa", (1.0, 2.0), output=str(tmp_path), questions=(3, 7))
    experiment.sweep("settings.kappa", swept)
    assert prepared == [3, 7]
    for question in prepared:
        name = f"sweep_kappa_question_{question}"
        assert json.loads((tmp_path / f"{name}.json").read_text())["of"] == f"question {question}"
        assert (tmp_path / "figures" / f"{name}.png").stat().st_size > 1000


@pytest.mark.parametrize(
    "name", ["addition.experiment", "digits.experiment", "gsm8k.run", "mnist.experiment"]
)
def test_every_sweep_tries_its_output_before_any_work(name, tmp_path):
    module = importlib.import_module(f"experiments.{name}")
    experiment = dataclasses.replace(
        module.EXPERIMENT, prepare=lambda config: pytest.fail("it began to work")
    )
    (tmp_path / "file").write_text("")
    config = dataclasses.replace(module.PRESETS["smoke"], output=str(tmp_path / "file" / "a"))
    with pytest.raises(ValueError, match=f"cannot write into the folder {tmp_path / 'file'}"):
        experiment.sweep("settings.kappa", [("1", config)])


def test_the_texts_of_fields_are_inherited_and_may_be_told_anew():
    texts = {setting.name: setting.text for setting in fields.settings(Config())}
    assert texts["seeds"] == "as many as there are." and texts["questions"] == "that are asked."
    assert texts["rounds"].startswith("of num_candidates reward evaluations each")
    assert texts["first_seed"] == "the seeds are this one and those that follow."
