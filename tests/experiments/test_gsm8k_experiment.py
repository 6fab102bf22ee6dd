"""The stand-in, the choice of questions and the fine-tuning, on problems made up here."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from made_up_gsm8k import PROBLEMS

from banel_jax.models.language import responses
from banel_jax.models.language.responses import ResponseConfig, pad_prompts
from banel_jax.success_rate import clopper_pearson
from banel_jax.training import TrainingConfig
from banel_jax.types import Sequences
from experiments.gsm8k import finetune as gsm8k_finetune
from experiments.gsm8k import model as gsm8k_model
from experiments.gsm8k import pretrain as gsm8k_pretrain
from experiments.gsm8k import select as gsm8k_select

pytest.importorskip("transformers")


def test_the_stand_in_is_a_model_of_its_folder(stand_in):
    about = json.loads((Path(stand_in) / "pretraining.json").read_text())
    model = gsm8k_model.load(stand_in, 16)
    sizes = sum(x.size for x in jax.tree.leaves(model.params))
    assert about["parameters"] == sizes and about["config"]["length"] == 120
    # An untrained model of so many tokens has log V nats a token.
    assert 0 < about["held_out_nats_per_token"] < np.log(model.config.vocab_size)
    assert model.response.eos_tokens == (2,)
    assert model.text([2]) == "" and model.text(model.prompt(PROBLEMS[0].prompt)).startswith(
        "user\n"
    )
    assert not list(Path(stand_in).parent.glob("*.training"))
    with pytest.raises(FileExistsError, match="holds a model already"):
        gsm8k_pretrain.main(dataclasses.replace(gsm8k_pretrain.PRESETS["smoke"], folder=stand_in))


def test_a_model_is_not_fine_tuned_onto_itself(stand_in, monkeypatch, tmp_path):
    (tmp_path / "link").symlink_to(stand_in)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(gsm8k_finetune, "load", None)  # it is said before any work
    for folder in (stand_in, str(tmp_path / "link"), "~/link"):
        config = dataclasses.replace(gsm8k_finetune.PRESETS["smoke"], model=stand_in, folder=folder)
        with pytest.raises(ValueError, match=r"folder=.* is the model that is read; name another"):
            gsm8k_finetune.main(config)


def test_chats_are_scored_from_their_second_token_to_the_end_of_the_solution(stand_in):
    tokenizer = gsm8k_model.load(stand_in, 16).words
    (tokens,) = gsm8k_pretrain.chats(tokenizer, PROBLEMS[:1], annotations=False)
    text = tokenizer.decode(tokens)
    assert text.endswith("He has 3 left.\n#### 3<|im_end|>") and "<|im_start|>assistant\n" in text
    rows = gsm8k_pretrain.sequences([tokens], len(tokens) + 3)
    assert rows.mask.sum() == len(tokens) - 1
    np.testing.assert_array_equal(rows.tokens[0, : len(tokens) - 1], tokens[1:])
    (annotated,) = gsm8k_pretrain.chats(tokenizer, PROBLEMS[:1], annotations=True)
    assert "<<3>>3" in tokenizer.decode(annotated)


@pytest.fixture
def counted(monkeypatch):
    """Who was asked, of a model that answers question i right in 2 i percent of its samples."""
    asked = []

    def drawn(config, model, key, question, prompt, done, until):
        asked.append((question, done, until))
        right = np.arange(done, until) % 100 < 2 * question
        return Sequences(np.where(right, 1, 0)[:, None], np.ones((until - done, 1), bool))

    monkeypatch.setattr(gsm8k_select, "samples_of", drawn)
    monkeypatch.setattr(gsm8k_model.LanguageModel, "text", lambda self, tokens: f"#### {tokens[0]}")
    every = tuple(p._replace(gold="1") for p in PROBLEMS)
    monkeypatch.setattr(gsm8k_select, "load_gsm8k", lambda *_: every)
    return asked


def test_the_hardest_that_are_answered_go_on(stand_in, counted, tmp_path):
    config = gsm8k_select.Config(
        model=stand_in, num_questions=5, low=0.0, high=0.05, stages=(100, 400, 500), most=2,
        max_new_tokens=16, output=str(tmp_path),
    )  # fmt: skip
    gsm8k_select.main(config)
    # Rates of 2 i percent: 3 and 4 are above, though chance may have it; of the others 2 and 1.
    assert [q for q, _, until in counted if until == 400] == [1, 2]
    assert [q for q, _, until in counted if until == 500] == [1, 2]


def test_worked_problems_stand_before_the_question(stand_in):
    shots = PROBLEMS[1:3]
    with_two = gsm8k_model.load(stand_in, 16, shots)
    text = with_two.words.decode(with_two.prompt(PROBLEMS[0].prompt))
    places = [text.index(part) for p in shots for part in (p.prompt, p.solution)]
    assert places == sorted(places) and text.index(PROBLEMS[0].prompt) > places[-1]
    assert "<<" not in text


def test_easy_questions_are_dropped_and_counts_are_kept(stand_in, counted, tmp_path):
    config = gsm8k_select.Config(
        model=stand_in, num_questions=5, low=0.01, high=0.03, stages=(100, 400),
        max_new_tokens=16, output=str(tmp_path),
    )  # fmt: skip
    gsm8k_select.main(config)
    found = json.loads((tmp_path / "select.json").read_text())
    (row,) = found["questions"]
    assert (row["question"], row["successes"], row["samples"]) == (1, 8, 400)
    easy = [q for q in range(5) if clopper_pearson(2 * q, 100)[0] > 0.03]
    assert easy == [4]
    assert found["counts"] == {
        str(q): [2 * q * (1 if q in easy else 4), 100 if q in easy else 400] for q in range(5)
    }
    assert (4, 100, 400) not in counted and (3, 100, 400) in counted
    before = len(counted)
    gsm8k_select.main(dataclasses.replace(config, stages=(100, 400, 500)))
    assert counted[before:] == [(q, 400, 500) for q in (0, 1, 2)]  # 3 is too easy by now
    with pytest.raises(ValueError, match="was counted with another seed"):
        gsm8k_select.main(dataclasses.replace(config, seed=1))
    with pytest.raises(ValueError, match="has questions 0 to 59"):
        gsm8k_select.main(dataclasses.replace(config, first=60))
    with pytest.raises(ValueError, match="there is no such folder"):
        gsm8k_select.main(dataclasses.replace(config, model=str(tmp_path / "none")))


def test_a_sample_is_the_same_whatever_call_draws_it(stand_in):
    model = gsm8k_model.load(stand_in, 8)
    prompt = pad_prompts([model.prompt(PROBLEMS[0].prompt)])
    key = jax.random.key(0)
    config = gsm8k_select.Config(model=stand_in, batch=4, max_new_tokens=8)
    whole = gsm8k_select.samples_of(config, model, key, 0, prompt, 0, 6)
    later = gsm8k_select.samples_of(config, model, key, 0, prompt, 2, 6)
    np.testing.assert_array_equal(whole.tokens[2:], later.tokens)
    other = gsm8k_select.samples_of(config, model, key, 1, prompt, 0, 6)
    assert (other.tokens != whole.tokens).any()


def test_forbidden_tokens_are_drawn_no_more(stand_in):
    prompt = pad_prompts([gsm8k_model.load(stand_in, 8).prompt(PROBLEMS[0].prompt)])
    config = gsm8k_select.Config(model=stand_in, batch=16, max_new_tokens=8)

    def drawn(*forbidden):
        model = gsm8k_model.load(stand_in, 8, forbidden_tokens=forbidden)
        found = gsm8k_select.samples_of(config, model, jax.random.key(0), 0, prompt, 0, 16)
        return model, set(found.tokens[found.mask].tolist())

    model, tokens = drawn()
    assert model.response.forbidden_tokens == ()
    usual = sorted(tokens - {2})  # of which 2 ends a response
    names = {i: model.words.convert_ids_to_tokens(i) for i in usual}
    by_name = [name for name in names.values() if not name.isdigit()]  # a digit is an id
    by_id = [str(i) for i, name in names.items() if name not in by_name[1:]]
    assert set(by_name) & set(map(names.get, map(int, by_id))) and len(by_name) > 10
    model, others = drawn(*by_name, *by_id)
    assert model.response.forbidden_tokens == tuple(usual) and len(usual) > 20
    assert others and not others & set(usual)


@pytest.mark.parametrize(
    ("token", "text"),
    [
        ("2", r"forbidden_tokens=2 ends a response; leave out what does: 2$"),
        ("<|im_end|>", r"forbidden_tokens=<\|im_end\|> ends a response"),
        ("4096", r"forbidden_tokens=4096 must be below \d+, the size of the model's vocabulary"),
        ("-1", "forbidden_tokens=-1 is no token of .*stand_in; give its id or its name"),
        ("<pad>", "forbidden_tokens=<pad> is no token of .*stand_in; give its id or its name"),
    ],
)
def test_what_cannot_be_forbidden_is_refused(stand_in, token, text):
    with pytest.raises(ValueError, match=text):
        gsm8k_model.load(stand_in, 8, forbidden_tokens=("0", token))


def test_counts_of_other_forbidden_tokens_are_not_gone_on_with(stand_in, counted, tmp_path):
    config = gsm8k_select.Config(
        model=stand_in, num_questions=1, stages=(100,), max_new_tokens=16,
        output=str(tmp_path / "none"),
    )  # fmt: skip
    gsm8k_select.main(config)
    first = json.loads((tmp_path / "none" / "counts.jsonl").read_text().splitlines()[0])
    assert "forbidden_tokens" not in first["settings"]  # as counts had it that were made before
    some = dataclasses.replace(config, forbidden_tokens=("<|endoftext|>",))
    with pytest.raises(ValueError, match="was counted with another forbidden_tokens; name"):
        gsm8k_select.main(some)
    some = dataclasses.replace(some, output=str(tmp_path / "some"))
    gsm8k_select.main(some)
    gsm8k_select.main(dataclasses.replace(some, forbidden_tokens=("0",)))  # the same token
    with pytest.raises(ValueError, match="was counted with another forbidden_tokens; name"):
        gsm8k_select.main(dataclasses.replace(some, forbidden_tokens=()))


def test_an_update_is_the_policy_gradient_with_the_group_as_baseline(stand_in):
    """Against differences of the loss that it is the gradient of, along a random direction."""
    model = gsm8k_model.load(stand_in, 6)
    settings = gsm8k_finetune.Config(
        kl_coefficient=0.5, optimizer=TrainingConfig(learning_rate=0.1, clip_norm=0.0)
    )
    prompts = pad_prompts([model.prompt(p.prompt) for p in PROBLEMS[:2]])
    key = jax.random.key(0)
    drawn = gsm8k_finetune.draw_groups(
        model.config, ResponseConfig(6, (2,)), key, model.params, prompts, 3
    )
    assert drawn.tokens.shape == (2, 3, 6)
    rewards = jnp.array([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    noise = lambda seed: jax.tree.map(
        lambda x: 0.02 * jax.random.normal(jax.random.key(seed), x.shape), model.params
    )
    base = jax.tree.map(jnp.add, model.params, noise(1))
    state = gsm8k_finetune.training.optimizer(settings.optimizer).init(model.params)
    _, state = gsm8k_finetune.update(
        model.config, model.response, settings, base, model.params, state, prompts, drawn, rewards
    )
    gradient = jax.tree.map(
        lambda m: m / 0.1, optax.tree_utils.tree_get(state, "mu")
    )  # Adam's first moment

    @jax.jit
    def scores(params):
        one = lambda p, x: responses.log_prob(model.config, model.response, params, p, x)
        return jnp.stack(
            [
                jnp.stack([one(at(prompts, q), at(at(drawn, q), g)) for g in range(3)])
                for q in range(2)
            ]
        )

    advantages = rewards - 0.5 * (scores(model.params) - scores(base))
    advantages -= advantages.mean(1, keepdims=True)
    direction = noise(2)
    moved = lambda step: jax.tree.map(lambda x, d: x + step * d, model.params, direction)
    slope = -jnp.mean(advantages * (scores(moved(0.05)) - scores(moved(-0.05)))) / 0.1
    along = sum(jax.tree.leaves(jax.tree.map(jnp.vdot, gradient, direction)))
    assert float(along) == pytest.approx(float(slope), rel=2e-2)
    assert abs(float(slope)) > 1e-4


def at(tree, i):
    return jax.tree.map(lambda x: x[i], tree)


@pytest.mark.slow
def test_fine_tuning_raises_the_reward_and_goes_on_where_it_was(
    stand_in, data, tmp_path, monkeypatch
):
    """The reward is whether the first token is an even one."""
    even = lambda model, drawn, golds, rule: np.float32(np.asarray(drawn.tokens)[..., 0] % 2 == 0)
    monkeypatch.setattr(gsm8k_finetune, "rewards_of", even)
    config = dataclasses.replace(
        gsm8k_finetune.PRESETS["smoke"], model=stand_in, data_dir=data, steps=12, questions=4,
        group=8, max_new_tokens=2, checkpoint_every=4, folder=str(tmp_path / "whole"),
        optimizer=TrainingConfig(learning_rate=0.02),
    )  # fmt: skip
    gsm8k_finetune.main(config)
    whole = json.loads((tmp_path / "whole" / "finetuning.json").read_text())
    before, after = whole["mean_at_2"]
    assert after > before + 0.2 and np.mean(whole["rewards"][-3:]) > np.mean(whole["rewards"][:3])

    stopped = dataclasses.replace(config, folder=str(tmp_path / "stopped"))
    one_step, calls = gsm8k_finetune.one_step, []

    def killed(*args):
        calls.append(args[4])
        if len(calls) == 7:
            raise KeyboardInterrupt
        return one_step(*args)

    monkeypatch.setattr(gsm8k_finetune, "one_step", killed)
    with pytest.raises(KeyboardInterrupt):
        gsm8k_finetune.main(stopped)
    gsm8k_finetune.main(stopped)
    assert calls == [*range(7), *range(4, 12)]
    assert not list(tmp_path.glob("*.training"))
    again = json.loads((tmp_path / "stopped" / "finetuning.json").read_text())
    assert again["rewards"] == whole["rewards"] and again["mean_at_2"] == whole["mean_at_2"]
    with pytest.raises(ValueError, match="num_problems=3 leave 3 questions to train on"):
        gsm8k_finetune.main(
            dataclasses.replace(config, folder=str(tmp_path / "few"), num_problems=3)
        )
    one, two = (gsm8k_model.load(str(tmp_path / f), 2).params for f in ("whole", "stopped"))
    jax.tree.map(np.testing.assert_array_equal, one, two)
