"""Strings to a prior: what is trained on, where it is kept, and that a stop changes nothing."""

import dataclasses
import functools
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import banel_jax as bj
from banel_jax import pretraining, prior_cache, training
from banel_jax.runs.checkpoint import Checkpoints
from banel_jax.runs.model_check import check_data
from banel_jax.strings import preparing
from banel_jax.strings import prior as string_prior
from banel_jax.strings.reading import Strings

STRINGS = ["ab", "b", "aab", "ab", "", "ba", "bb", "a", "ab", "abab", "b"]  # 8 different
CONFIG = bj.StringPriorConfig(
    num_layers=1, num_heads=1, width=8, held_out=0.25,
    training=bj.TrainingConfig(epochs=3, batch_size=4, learning_rate=1e-2),
)  # fmt: skip


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(folder, the prior in it); not to be written into."""
    folder = tmp_path_factory.mktemp("priors") / "made"
    return folder, bj.pretrain(STRINGS, folder, CONFIG)


@pytest.fixture
def copy(made, tmp_path):
    folder = tmp_path / "copy"
    folder.mkdir()
    for name, content in bytes_of(made[0]).items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def no_training(monkeypatch):
    monkeypatch.setattr(prior_cache, "fit_by_epochs", lambda *_, **__: pytest.fail("trained again"))


def test_a_folder_gives_what_was_made(made):
    folder, prior = made
    found = bj.load_prior(folder)
    assert found.vocabulary == prior.vocabulary == bj.Vocabulary(("a", "b"))
    assert found.model.settings == prior.model.settings
    jax.tree.map(np.testing.assert_array_equal, found.params, prior.params)
    settings = found.model.settings
    assert (settings.length, settings.vocab_size, settings.eos_token) == (5, 3, 2)
    bj.check_model(found.model, found.params, num_samples=16)
    samples, _ = bj.sample(found.model, jax.random.key(0), found.params, 16)
    assert set("".join(found.vocabulary.strings_of(samples))) <= {"a", "b"}


def test_what_is_said_of_it_is_so(made):
    folder, prior = made
    about = json.loads((folder / "prior.json").read_text())
    assert (folder / about["parameters"]).exists() and about["epochs"] == 3
    held_out = preparing.prepare(STRINGS, CONFIG).held_out > 0
    x = jax.tree.map(lambda a: a[held_out], preparing.prepare(STRINGS, CONFIG).sequences)
    nats = -bj.log_likelihood(prior.model, prior.params, x).sum() / x.mask.sum()
    assert about["held_out_nats_a_token"] == pytest.approx(float(nats), rel=1e-5)
    assert about["strings"] == {
        "different": 8, "trained_on": int((~held_out).sum()), "held_out": 2, "too_long": 0
    }  # fmt: skip
    assert about["settings"]["width"] == 8


@pytest.mark.parametrize("seed", range(6))
def test_copies_of_a_string_are_on_one_side(seed):
    prepared = preparing.prepare(STRINGS, dataclasses.replace(CONFIG, seed=seed))
    found = prepared.vocabulary.strings_of(prepared.sequences)
    held_out = np.asarray(prepared.held_out) > 0
    one, other = ([s for s, h in zip(found, held_out, strict=True) if h is side] for side in
                  (np.True_, np.False_))  # fmt: skip
    assert len(one) == 2 == len(set(one))  # a quarter of the eight, each once
    assert sorted(other) == sorted(s for s in STRINGS if s not in one)  # with their copies
    assert prepared.different == 8


@pytest.mark.parametrize("tokens", ["characters", "byte_pair", "[ab]{1,2}"])
def test_every_end_is_inside_the_mask(tmp_path, tokens):
    config = dataclasses.replace(CONFIG, tokens=tokens)
    prepared = preparing.prepare(STRINGS, config)
    model = bj.transformer(string_prior.network(prepared, config))
    tokens, mask = map(np.asarray, (prepared.sequences.tokens, prepared.sequences.mask))
    assert (((tokens == prepared.vocabulary.eos) & mask).sum(axis=1) == 1).all()
    check_data(model, prepared.sequences)
    row = int(np.argmin(mask.sum(axis=1)))  # one that does not reach to the last position
    size = int(mask[row].sum())
    for at, value, said in ((size - 1, False, "has no end"), (size, True, "has more after its")):
        wrong = bj.Sequences(prepared.sequences.tokens, jnp.asarray(mask).at[row, at].set(value))
        with pytest.raises(ValueError, match=f"row {row} of the data.*{said}"):
            check_data(model, wrong)
        with pytest.raises(ValueError, match=said):  # wherever a prior is trained
            data = lambda wrong=wrong: (wrong, prepared.held_out)
            prior_cache.pretrained(tmp_path, "x", {}, model, CONFIG.training, 0, data)


class Stop(BaseException):
    pass


@pytest.fixture
def stopping(monkeypatch):
    """Has a fit end after so many epochs, and every epoch be kept."""
    save = Checkpoints.save
    fit = functools.partial(pretraining.fit_by_epochs, save_seconds=0.0)
    monkeypatch.setattr(prior_cache, "fit_by_epochs", fit)

    def after(epochs):
        def stopped(self, rounds, state):
            save(self, rounds, state)
            if rounds == epochs:
                self.wait()
                raise Stop

        monkeypatch.setattr(Checkpoints, "save", stopped)

    return after


def test_stopped_at_any_epoch_it_ends_with_the_same_bytes(made, tmp_path, stopping):
    for epochs in (1, 2, 3):
        stopping(epochs)
        with pytest.raises(Stop):
            bj.pretrain(STRINGS, tmp_path / "p", CONFIG)
        assert not (tmp_path / "p" / "prior.json").exists()
        with pytest.raises(ValueError, match=r"p has no prior\.json"):
            bj.load_prior(tmp_path / "p")
    stopping(None)
    bj.pretrain(STRINGS, tmp_path / "p", CONFIG)
    assert bytes_of(tmp_path / "p") == bytes_of(made[0])


def test_killed_before_the_last_file_it_is_not_trained_again(copy, made, no_training):
    (copy / "prior.json").unlink()
    (copy / "strings-0123456789abcdef.npz").write_bytes(b"of other settings")
    (copy / "strings-0123456789abcdef.training").mkdir()
    (copy / ".prior.json.0123456789ab").write_bytes(b"half of")
    bj.pretrain(STRINGS, copy, CONFIG)
    assert bytes_of(copy) == bytes_of(made[0])


def test_the_same_again_is_found(copy, made, no_training):
    again = bj.pretrain(list(STRINGS), copy, CONFIG)
    jax.tree.map(np.testing.assert_array_equal, again.params, made[1].params)
    assert bytes_of(copy) == bytes_of(made[0])


@pytest.mark.parametrize(
    ("strings", "changes", "differs"),
    [
        (["ba", *STRINGS], {}, "training.data is"),
        ([s.replace("a", "c") for s in STRINGS], {}, "vocabulary is"),
        (STRINGS, {"seed": 1}, "training.seed is 0 there and 1 here"),
        (STRINGS, {"width": 16}, "training.model.width is 8 there and 16 here"),
        (STRINGS, {"epoch_rows": 2}, "training.epoch_rows is 20000 there and 2 here"),
        (STRINGS, {"training": bj.TrainingConfig()}, "training.fit.batch_size is 4 there and 50"),
    ],
)
def test_a_folder_of_others_is_refused_and_stays(copy, no_training, strings, changes, differs):
    before = bytes_of(copy)
    with pytest.raises(ValueError) as caught:
        bj.pretrain(strings, copy, dataclasses.replace(CONFIG, **changes))
    message = str(caught.value)
    assert differs in message and message.endswith("; choose another folder, or delete this one")
    assert "\n" not in message and bytes_of(copy) == before


def test_a_folder_of_something_else_is_refused(tmp_path, no_training):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"holds config\.json, which is no prior of strings"):
        bj.pretrain(STRINGS, tmp_path, CONFIG)


@pytest.mark.parametrize(
    ("strings", "changes", "message"),
    [
        ([], {}, "the strings hold no character"),
        (["ab"], {}, "1 different string of 3 tokens at most is too few; a prior needs two"),
        (["ab", "ab"], {}, "1 different string of 3 tokens at most is too few"),
        ("ab", {}, "'ab' is one string; give several"),
        (["ab", 3], {}, "string 2 is a int"),
        (["ab", "a\udc80"], {}, r"string 2 has '\\udc80', half of a character"),
        (
            ["a", "abc", "abcdef", "ab"], {"length": 3},
            r"2 of 4 strings have more than 3 tokens with their end \(the first: string 2, with 4\)"
            "; give length=7, or too_long=leave_out",
        ),
        (["a", "b", "a" * 2000], {}, r"1 of 3 .* more than 1024 .*string 3, with 2,001\); give l"),
        (["ab", "cd"], {"length": 2, "too_long": "leave_out"}, "no different strings of 2 tokens"),
        (["CC", "C!"], {"tokens": "smiles"}, "string 2: 'C!' has '!' at character 2"),
        (
            Strings(["CC", "C!"], [4, 7], "x.smi"), {"tokens": "smiles"},
            r"^line 7 of x\.smi: 'C!' has '!'",
        ),
    ],
)  # fmt: skip
def test_strings_that_make_no_prior_are_refused_in_a_line(tmp_path, strings, changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        bj.pretrain(strings, tmp_path / "p", dataclasses.replace(CONFIG, **changes))
    assert "\n" not in str(caught.value) and not (tmp_path / "p").exists()


def test_what_is_too_long_is_left_out_where_that_is_asked_for():
    config = dataclasses.replace(CONFIG, length=3, too_long="leave_out")
    prepared = preparing.prepare(STRINGS, config)
    assert set(prepared.vocabulary.strings_of(prepared.sequences)) == {
        "ab",
        "b",
        "",
        "ba",
        "bb",
        "a",
    }
    assert (prepared.left_out, prepared.different) == (2, 6)
    assert prepared.sequences.tokens.shape[1] == 3


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("prior.json", None, r"has no prior\.json, and so no prior of strings that is whole"),
        ("prior.json", b"{", r"prior\.json is no JSON"),
        ("prior.json", b"[]", r"prior\.json holds a list"),
        ("prior.json", b"{}", r"prior\.json is damaged; put the folder back"),
        ("prior.json", b'{"parameters": "../x.npz", "vocabulary": {}}', "is damaged; put the"),
        ("prior.json", b'{"parameters": "PARAMETERS", "vocabulary": {}}', "damaged vocabulary"),
        (
            "prior.json", b'{"parameters": "PARAMETERS", "vocabulary": {"tokens": ["a"]}}',
            "has 2 tokens, and the model in .* 3",
        ),
        ("PARAMETERS", None, "cannot be read"),
        ("PARAMETERS", b"PK", "cannot be read"),
    ],
)  # fmt: skip
def test_a_damaged_folder_is_refused_in_a_line(copy, name, content, message):
    parameters = json.loads((copy / "prior.json").read_text())["parameters"]
    path = copy / name.replace("PARAMETERS", parameters)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content.replace(b"PARAMETERS", parameters.encode()))
    with pytest.raises(ValueError, match=message) as caught:
        bj.load_prior(copy)
    assert "\n" not in str(caught.value) and str(copy) in str(caught.value)


def test_parts_of_a_pass_have_every_row_once_in_new_orders():
    held_out = np.asarray([0, 1, 0, 0, 0, 0, 1, 0], np.float32)
    weights_of = pretraining._weights(held_out, 2)
    parts = [np.flatnonzero(np.asarray(weights_of(i))).tolist() for i in range(6)]
    rows = [0, 2, 3, 4, 5, 7]
    assert [len(part) for part in parts] == [2] * 6
    assert sorted(itertools.chain(*parts[:3])) == rows == sorted(itertools.chain(*parts[3:]))
    assert parts[:3] != parts[3:]
    for whole in (pretraining._weights(held_out, 0), pretraining._weights(held_out, 6)):
        np.testing.assert_array_equal(whole(3), 1 - held_out)


def test_progress_tells_nats_a_token():
    x = bj.Sequences(jnp.zeros((3, 4), jnp.int32), jnp.asarray(
        [[1, 1, 0, 0], [1, 1, 1, 1], [1, 1, 1, 0]], bool))  # fmt: skip
    told = pretraining._nats_a_token(x, np.asarray([0.0, 0.0, 1.0]))
    losses = (jnp.float32(6.0), jnp.float32(1.5))  # a sequence, of 3 tokens and 3
    fitting = training.likelihood.Fitting(*[None] * 6, losses)
    assert told(fitting) == "2.0000 nats a token, held out 0.5000"
