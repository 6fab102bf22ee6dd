"""Language models by command: low-rank adapters over them, unless all weights are to learn."""

import dataclasses
import gc
import re
import sys
import weakref
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from banel_jax import oracle
from banel_jax.algorithms.banel import BanelConfig, banel
from banel_jax.commands import algorithms, judging, priors
from banel_jax.commands.main import command
from banel_jax.commands.settings import What
from banel_jax.models.lora import LoraConfig, lora, lora_algorithm
from banel_jax.runs import control_file
from banel_jax.runs.controls import judge_controls
from banel_jax.runs.loop import RunConfig
from banel_jax.runs.loop import run as loop_run
from banel_jax.tasks.text import TextOracle, check
from banel_jax.training import TrainingConfig

pytest.importorskip("transformers")
pytest.importorskip("jinja2")
pytest.importorskip("safetensors")

SET = ("num_candidates=12", "generator_training.epochs=1", "failure_training.epochs=1")
LEARNING = ["--algorithm=banel", *(f"--set={pair}" for pair in SET)]
ASKED = ["--prompt=why?", "--max_new_tokens=4", "--oracle=regex: [a-m]"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The folder of a language model of random weights."""
    import byte_tokenizer

    from banel_jax.models.language import huggingface
    from banel_jax.models.language.decoder import Decoder
    from banel_jax.models.language.decoder_config import DecoderConfig

    folder = tmp_path_factory.mktemp("model")
    template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    byte_tokenizer.written(folder, ["<|im_end|>"], template, "<|im_end|>")
    config = DecoderConfig(300, 8, 1, 2, 1, 6)
    shapes = jax.eval_shape(Decoder(config).init, jax.random.key(0), np.zeros(1, np.int32))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda x: rng.normal(size=x.shape).astype("float32"), shapes["params"])
    huggingface.save(folder, config, params)
    return str(folder)


@pytest.fixture(scope="module")
def ran(model, tmp_path_factory):
    """A run of two rounds by command, extended from one, with its controls."""
    few = lambda *args, **more: judge_controls(*args, samples=12, temperatures=(1, 2), **more)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("runs"))
        patch.setattr(judging, "judge_controls", few)
        words = [f"--prior={model}", *ASKED, *LEARNING]
        assert command(["run", "run", *words, "--lora.rank=2", "--rounds=1"]) == 0
        assert command(["extend", "run", "--rounds=2", "--controls"]) == 0
        yield Path("run").absolute()


def found(model, **more):
    asked = {"prompt": "why?", "max_new_tokens": 4, "algorithm": "banel", "set": SET}
    what = What(prior=model, **asked, **more)
    return what, priors.prior(what)


def test_a_run_by_command_is_that_of_adapters_in_python(model, ran, tmp_path):
    _, prior = found(model)
    fit = lambda rate: TrainingConfig(epochs=1, learning_rate=rate)
    config = BanelConfig(12, generator_training=fit(1e-4), failure_training=fit(1e-3))
    adapters = LoraConfig(rank=2)
    algorithm = lora_algorithm(
        prior.model, prior.params, adapters, lambda model, base: banel(model, config)
    )
    start = lora(prior.model, prior.params, adapters).init(jax.random.key(0))
    oracle = TextOracle(prior.text, check("regex: [a-m]"))
    result = loop_run(algorithm, start, oracle, RunConfig(rounds=2), tmp_path / "python")
    metrics = (tmp_path / "python" / "metrics.jsonl").read_bytes()
    assert metrics == (ran / "metrics.jsonl").read_bytes()
    # What learned are the adapters alone, of rank 2.
    kernels = jax.tree.leaves_with_path(result.state.generator)
    assert kernels and {2} == {x.shape[-1 if ".a" in jax.tree_util.keystr(path) else -2]
                               for path, x in kernels}  # fmt: skip
    assert any(np.asarray(x).any() for path, x in kernels if ".b" in jax.tree_util.keystr(path))


def test_its_controls_weigh_the_first_round_that_the_base_drew(ran):
    prior, *_, zeros, _ = control_file.read(ran).controls
    assert prior.control == "the prior" and prior.effective == pytest.approx(12, rel=1e-3)
    assert zeros.samples == 24


def test_adapters_are_for_language_models_and_where_they_are_asked_for(model):
    what, prior = found(model)
    weights = sum(x.size for x in jax.tree.leaves(prior.params))
    by = lambda **more: algorithms.learner(dataclasses.replace(what, **more), prior, 0)
    assert by().adapted and sum(x.size for x in jax.tree.leaves(by().start)) < weights
    assert by(train="lora").adapted
    whole = by(train="all")
    assert not whole.adapted and whole.start is prior.params
    plain = prior._replace(is_language_model=False)
    assert not algorithms.learner(what, plain, 0).adapted
    asked = dataclasses.replace(what, lora=LoraConfig(rank=3))
    assert algorithms.learner(asked, plain, 0).adapted
    first, second = (algorithms.learner(what, prior, seed).start for seed in (0, 1))
    path = next(iter(first))
    assert (first[path].a != second[path].a).any()


def test_the_weights_are_there_once(model):
    """What a run keeps of its prior is the copy that the adapters share."""
    what, prior = found(model)
    weights = [weakref.ref(leaf) for leaf in jax.tree.leaves(prior.params)]
    kept = algorithms.learner(what, prior, 0), prior.text
    del prior
    gc.collect()
    assert kept and not any(leaf() is not None for leaf in weights)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", sorted(algorithms.KINDS.keys() - {"banel"}))
def test_every_other_algorithm_learns_by_adapters(model, algorithm):
    what, prior = found(model)
    what = dataclasses.replace(what, algorithm=algorithm, set=("num_candidates=12",))
    learner = algorithms.learner(what, prior, 0)
    key = jax.random.key(0)

    def round(start):
        state = learner.algorithm.init(key, start)
        candidates, state = learner.algorithm.ask(key, state)
        return learner.algorithm.tell(key, state, candidates, jnp.zeros(12))[0]

    before, after = (jax.eval_shape(f, learner.start) for f in (
        lambda start: learner.algorithm.init(key, start), round))  # fmt: skip
    assert jax.tree.structure(before) == jax.tree.structure(after)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--lora.rank=-1"], "--lora.rank=-1 must not be negative"),
        (["--lora.rank=0"], "--lora.rank=0 leaves nothing to learn"),
        (["--lora.targets=("], "--lora.targets='(' is no regular expression"),
        (["--lora.targets=nothing"], "--lora.targets='nothing' without exclude="),
        (["--lora.rnk=2"], "unknown setting 'lora.rnk'; the nearest are --lora.rank"),
        (["--train=some"], "--train=some must be one of auto, all, lora"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(model, words, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=re.escape(said)) as error:
        command(["run", "r", f"--prior={model}", *ASKED, *words])
    assert "\n" not in str(error.value) and not Path("r").exists()


def test_what_has_no_kernels_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ValueError, match=r"^--lora\.targets=.*--train=all trains without adapters$"
    ):
        command(["run", "r", "--prior=two_circles", "--oracle=task", "--lora.rank=2"])


@pytest.mark.slow
def test_a_program_judges_the_texts_of_responses(model, ran, tmp_path, monkeypatch):
    """It is told what the run's page shows, and sees no token's number."""
    monkeypatch.chdir(tmp_path)
    lines = "import json, sys\nfor line in sys.stdin:\n"
    lines += "    text = json.loads(line)['text']\n"
    lines += "    right = any('a' <= one <= 'm' for one in text)\n"
    lines += "    print(json.dumps({'reward': int(right), 'score': text}), flush=True)\n"
    Path("judge.py").write_text(lines)
    program = f"--oracle=command: {sys.executable} -I -S judge.py"
    words = [f"--prior={model}", *ASKED[:2], program, *LEARNING]
    assert command(["run", "judged", *words, "--lora.rank=2", "--rounds=1"]) == 0
    by_program, by_check = (
        oracle.read(run, render=found(model)[1].text) for run in ("judged", ran)
    )
    assert len(by_program) == 12 and list(by_program.score) == by_program.text
    # The same prior and seed: the check by its name has judged the same responses alike.
    assert by_program.text == by_check.text[:12]
    assert (by_program.reward == by_check.reward[:12]).all()
