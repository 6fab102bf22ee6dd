"""Priors by name: a file, a folder, a function; and what their sequences say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import banel_jax as bj
from banel_jax import prior_cache
from banel_jax.commands import priors
from banel_jax.commands.settings import What
from banel_jax.tasks.gaussian_1d import Gaussian1DConfig, centres

TRANSFORMER = bj.TransformerConfig(4, 3, num_layers=1, num_heads=1, width=8, eos_token=3)
FIT = bj.TrainingConfig(epochs=1, batch_size=4, learning_rate=0.1)
ABC = bj.Vocabulary(tuple("abc"))
DATA = bj.Sequences(jnp.asarray([[0, 1, 2], [2, 1, 3]] * 4, jnp.int32), jnp.ones((8, 3), bool))


@pytest.mark.parametrize(
    "model", [bj.table(4, 3), bj.transformer(TRANSFORMER)], ids=["table", "net"]
)
def test_a_file_of_the_cache_brings_its_model(tmp_path, model):
    held_out = jnp.asarray([0.0] * 6 + [1.0] * 2)
    kept = prior_cache.pretrained(tmp_path, "it", {}, model, FIT, 0, lambda: (DATA, held_out))
    (file,) = tmp_path.glob("*.npz")
    found = priors.prior(What(prior=str(file), text="alphabet: abc"))
    scores = [bj.log_likelihood(of, kept.params, DATA) for of in (model, found.model)]
    np.testing.assert_array_equal(*scores)
    jax.tree.map(np.testing.assert_array_equal, kept.params, found.params)
    assert found.text(DATA)[:2] == ["abc", "cb"]


def test_a_file_of_another_model_is_refused(tmp_path):
    model = bj.table(4, 3)._replace(settings=("mine", 1))
    held_out = jnp.asarray([0.0] * 6 + [1.0] * 2)
    prior_cache.pretrained(tmp_path, "it", {}, model, FIT, 0, lambda: (DATA, held_out))
    (file,) = tmp_path.glob("*.npz")
    with pytest.raises(ValueError, match="must be given in Python"):
        priors.prior(What(prior=str(file)))


def test_tasks_tell_what_their_sequences_mean():
    found = priors.prior(What(prior="gaussian_1d"))
    places = centres(Gaussian1DConfig())
    first = bj.Sequences(jnp.zeros((1, 1), jnp.int32), jnp.ones((1, 1), bool))
    assert found.text(first) == [f"{places[0]:+.1f}"]
    assert priors.prior(What(prior="two_circles")).text is None  # images are no texts


def test_what_is_known_is_read_by_the_vocabulary(tmp_path):
    what = What(known=str(tmp_path / "known.csv"))
    model = bj.table(4, 3)
    (tmp_path / "known.csv").write_text("text,reward\nab,0\nabc,1\n")
    known = priors.known(what, priors.Found(model, model.init(None), None, ABC))
    assert known.tokens.tolist() == [[0, 1, 3], [0, 1, 2]] and known.reward.tolist() == [0, 1]


@pytest.mark.parametrize("again", [False, True], ids=["pair", "function"])
def test_a_module_gives_a_pair_or_a_function(tmp_path, monkeypatch, again):
    name = f"prior_of_{tmp_path.name}".replace("-", "_")
    pair = "(model, model.init(None))"
    text = f"import banel_jax as bj\nmodel = bj.table(4, 3)\nit = {'lambda: ' * again}{pair}\n"
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert priors.prior(What(prior=f"{name}:it")).params.shape == (4, 4, 4)


def test_a_folder_of_strings_brings_its_vocabulary(tmp_path):
    config = bj.StringPriorConfig(num_layers=1, num_heads=1, width=8, training=FIT)
    kept = bj.pretrain(["ab", "b", "cab", "a"], tmp_path / "p", config)
    found = priors.prior(What(prior=str(tmp_path / "p")))
    jax.tree.map(np.testing.assert_array_equal, kept.params, found.params)
    assert priors._of(lambda: kept, "it").vocabulary == ABC
    x = ABC.sequences_of(["cab", "b"])
    assert found.text(x) == ["cab", "b"] and found.vocabulary == ABC
    (tmp_path / "known.jsonl").write_text('{"text": "ca", "reward": 1}\n')
    what = What(known=str(tmp_path / "known.jsonl"))
    assert priors.known(what, found).tokens.tolist() == [[2, 0, 3, 0]]
    (tmp_path / "known.jsonl").write_text('{"text": "cax", "reward": 1}\n')
    with pytest.raises(ValueError, match="'cax' has 'x', which is not among the 3 tokens"):
        priors.known(what, found)
    with pytest.raises(ValueError, match="is a prior of strings, which take no --prompt"):
        priors.prior(What(prior=str(tmp_path / "p"), prompt="Why?"))


def test_a_folder_that_is_neither_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"has neither prior\.json, .* nor config\.json"):
        priors.prior(What(prior=str(tmp_path)))


def test_an_alphabet_of_another_size_is_refused(tmp_path):
    held_out = jnp.asarray([0.0] * 6 + [1.0] * 2)
    model = bj.transformer(TRANSFORMER)
    prior_cache.pretrained(tmp_path, "it", {}, model, FIT, 0, lambda: (DATA, held_out))
    (file,) = tmp_path.glob("*.npz")
    for characters in ("ab", "abcde"):
        with pytest.raises(ValueError, match=f"has {len(characters)} characters, and the prior 4"):
            priors.prior(What(prior=str(file), text=f"alphabet: {characters}"))
    # Four tokens, none of which is an end.
    assert priors.prior(What(prior=str(file), text="alphabet: abcd")).text(DATA)[0] == "abc"
