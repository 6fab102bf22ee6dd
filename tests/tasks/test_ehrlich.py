"""Ehrlich functions against holo-bench's own values, and by hand; their task and its prior."""

import json

import holo_reference
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from banel_jax import sampling, scoring
from banel_jax.models.markov import chain_params, markov_chain
from banel_jax.prior_cache import Prior
from banel_jax.runs import naming
from banel_jax.tasks.ehrlich import (
    Ehrlich,
    EhrlichConfig,
    EhrlichPriorConfig,
    alphabet,
    chain,
    draw,
    ehrlich,
    fitted,
)
from banel_jax.tasks.ehrlich.drawing import transition_matrix
from banel_jax.training import TrainingConfig
from banel_jax.types import Sequences

# Made by `tests/helpers/holo_reference.py`, with pytorch-holo 0.0.5.
REFERENCE = json.loads(holo_reference.TABLE.read_text(encoding="utf-8"))
# Three tokens, of which 0 never follows 2; motifs 0 . 1 and 1 . . 2 in sequences of seven.
MOVES = np.array([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.0, 0.5, 0.5]])
SMALL = Ehrlich(np.full(3, 1 / 3), MOVES, [[0, 1], [1, 2]], [[2], [3]], 7, 2)


def sequences_of(rows):
    tokens = jnp.asarray(rows, jnp.int32)
    return Sequences(tokens, jnp.ones(tokens.shape, bool))


def spelt(*texts):
    return sequences_of([[int(c) for c in text] for text in texts])


@pytest.mark.parametrize("row", REFERENCE, ids=lambda row: str(row["settings"]))
def test_values_are_those_of_holo(row):
    length, quantisation, epistasis = (row["settings"][i] for i in (1, 4, 5))
    arrays = row["initial"], row["transitions"], row["motifs"], row["spacings"]
    function = Ehrlich(*arrays, length, quantisation, epistasis)
    told = list(row["values"].values())
    tokens = [[holo_reference.DIGITS.index(c) for c in text] for text in row["values"]]
    sequences = sequences_of(tokens)
    feasible, values = function.feasible(sequences), np.asarray(function.value(sequences))
    assert np.asarray(feasible).tolist() == [value is not None for value in told]
    assert values.tolist() == [value or 0.0 for value in told]
    # The table has what it should tell apart: the optimum, less than it, and what is banned.
    assert tokens[0] == function.optimum().tolist() and told[0] == 1
    assert None in told and len(set(told)) >= 3
    assert set(told) - {None} <= set(function.levels)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0011112", 1.0),  # 0 at 0 or 1, and 1 two later; 1 at 3, and 2 three later
        ("0112222", 1.0),
        ("1111111", 0.25),  # one of two of each
        ("2222222", 0.0),  # nothing of the first
        ("0222222", 0.25),
        ("0011111", 0.5),
        ("1111222", 0.5),
        ("1111220", 0.0),  # 0 after 2 is banned
        ("2011111", 0.0),
    ],
)
def test_values_by_hand(text, value):
    assert SMALL.value(spelt(text)).tolist() == [value]


def test_a_motif_does_not_reach_past_the_end():
    """1 . . 2 begins at place 3 at the latest: a 1 at the end is nothing of it, nor a 2 at 2."""
    function = Ehrlich(np.full(3, 1 / 3), np.full((3, 3), 1 / 3), [[1, 2]], [[3]], 7, 2)
    texts = ("0000111", "0001000", "2220000", "0002000", "0001002")
    assert function.value(spelt(*texts)).tolist() == [0, 0.5, 0, 0.5, 1]


def test_levels_of_a_motif():
    motif = np.arange(4)[None]
    make = lambda q, epistasis=0.0: Ehrlich(
        np.full(4, 0.25), np.full((4, 4), 0.25), motif, [[1, 1, 1]], 4, q, epistasis
    )
    assert make(4).levels == (0, 0.25, 0.5, 0.75, 1)
    assert make(2).responses.tolist() == [0, 0, 0.5, 0.5, 1]
    assert make(1).levels == (0, 1)
    # x (1 + e x (x - 1)) at x = 1 / 2 and e = 2.
    assert make(2, 2.0).responses.tolist() == [0, 0, 0.25, 0.25, 1]
    assert SMALL.levels == (0, 0.25, 0.5, 1)


def test_what_is_no_sequence_of_the_task_has_no_value():
    whole = spelt("0011112")
    for tokens, mask in [
        (whole.tokens, whole.mask.at[0, 3].set(False)),
        (whole.tokens.at[0, 0].set(3), whole.mask),
        (whole.tokens.at[0, 0].set(-1), whole.mask),
    ]:
        assert SMALL.value(Sequences(tokens, mask)).tolist() == [0]
    with pytest.raises(ValueError, match="sequences have 6 tokens, and the function takes 7"):
        SMALL.value(spelt("001111"))


def test_rewards_at_a_threshold():
    """1 from the threshold on, also where a product is rounded; under jit and scan."""
    sequences = spelt("0011112", "0011111", "1111111", "2222222", "1111220")
    for threshold, expected in [(1.0, "10000"), (0.5, "11000"), (0.51, "10000"), (0.01, "11100")]:
        reward = jax.jit(SMALL.reward(threshold))(sequences)
        assert reward.dtype == jnp.float32
        assert reward.tolist() == [float(c) for c in expected], threshold
    one = lambda _, sequence: (0, SMALL.value(jax.tree.map(lambda x: x[None], sequence))[0])
    assert jax.lax.scan(one, 0, sequences)[1].tolist() == SMALL.value(sequences).tolist()
    # Five of six tokens of three motifs: as float32 less than 125 / 216.
    sixths = Ehrlich([0.5, 0.5], np.full((2, 2), 0.5), np.ones((3, 6)), np.ones((3, 5)), 18, 6)
    five = sequences_of([[1] * 5 + [0] * 13])
    assert sixths.value(five).tolist()[0] < np.float32(125 / 216)
    assert [sixths.reward(n / 216)(five).tolist() for n in (125, 126)] == [[1], [0]]
    name = lambda threshold: naming.plain(SMALL.reward(threshold))  # a run is bound to its reward
    assert name(0.5) == name(0.5) != name(1.0)
    for threshold in (0, -1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="threshold="):
            SMALL.reward(threshold)


SIZES = (
    EhrlichConfig(4, 12, 2, 3, 3), EhrlichConfig(8), EhrlichConfig(20, 32, 2),
    EhrlichConfig(32, 33, 8, 4, 2), EhrlichConfig(2, 9, 3, 2, 2),
)  # fmt: skip


@pytest.mark.parametrize("config", SIZES)
def test_drawn_functions_are_ergodic_and_have_an_optimum(config):
    """By 40 seeds of each size. The constructor refuses motifs that do not fit or are banned."""
    spread = set()
    for seed in range(40):
        function = draw(EhrlichConfig(**vars(config) | {"seed": seed}))
        moves, v = function.transitions, config.vocab_size
        assert np.all(np.linalg.matrix_power(moves, (v - 1) ** 2 + 1) > 0)
        assert np.all(np.diag(moves) > 0) and (v < 8 or np.any(moves == 0))
        assert function.initial @ moves == pytest.approx(function.initial, abs=1e-9)
        spans = function.spacings.sum(axis=1) + 1
        assert function.spacings.min() >= 1 and spans.max() <= config.length // config.num_motifs
        spread |= set(function.spacings.flatten().tolist())
        best = function.optimum()
        assert best.shape == (config.length,) and np.all(moves[best[:-1], best[1:]] > 0)
        for motif, spacing in zip(function.motifs, function.spacings, strict=True):
            places = np.append(0, np.cumsum(spacing))
            starts = range(config.length - places[-1])
            assert any(all(best[i + places] == motif) for i in starts)
    slack = config.length // config.num_motifs - config.motif_length
    assert len(spread) > 1 or not slack or config.motif_length == 2  # whose one distance takes all


def test_a_seed_draws_one_function_and_shares_its_chain():
    first, again = draw(EhrlichConfig(8, seed=3)), draw(EhrlichConfig(8, seed=3))
    assert naming.plain(first) == naming.plain(again)
    other, another = draw(EhrlichConfig(8, num_motifs=2, seed=3)), draw(EhrlichConfig(8, seed=4))
    assert np.array_equal(first.transitions, other.transitions)
    assert not np.array_equal(first.transitions, another.transitions)
    # As many moves as the band has: three to each side, and staying.
    moves = transition_matrix(np.random.default_rng(0), 10)
    assert set((moves > 0).sum(axis=1)) <= {9, 10} and moves.sum(axis=1) == pytest.approx(1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"initial": [0.5, 0.5]}, "must be .v. and .v, v."),
        ({"initial": [0.5, 0.5, 0.5]}, "initial must be probabilities"),
        ({"transitions": MOVES - np.eye(3)}, "transitions must be probabilities"),
        ({"motifs": [[0, 1]]}, r"must be \[c, k\] and \[c, k - 1\]"),
        ({"motifs": [[0, 1], [1, 3]]}, r"must lie in \[0, 3\)"),
        ({"motifs": [[1, 2], [0, 1]]}, "have a banned move"),
        ({"motifs": [[0, 1], [1, 1.5]]}, "motifs must be whole numbers"),
        ({"motifs": [[0, 1], [1, np.nan]]}, "motifs must be whole numbers"),
        ({"spacings": [[2], [0]]}, "spacings must be 1 or more"),
        ({"spacings": [[2], [4]]}, "take 8 tokens, and length=7"),
        ({"quantisation": 3}, "quantisation=3 does not divide .* choose one of 1, 2"),
        ({"quantisation": 0}, "quantisation=0"),
        ({"epistasis": 5.0}, "epistasis=5"),
    ],
)
def test_arrays_that_make_no_function_are_refused(change, message):
    names = ("initial", "transitions", "motifs", "spacings", "length", "quantisation")
    with pytest.raises(ValueError, match=message) as refused:
        Ehrlich(**{name: getattr(SMALL, name) for name in names} | change)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (lambda: EhrlichConfig(vocab_size=1), "vocab_size=1"),
        (lambda: EhrlichConfig(motif_length=1, quantisation=1), "motif_length=1"),
        (lambda: EhrlichConfig(length=15), "do not fit into length=15"),
        (lambda: EhrlichConfig(motif_length=5, quantisation=2), "quantisation=2 does not divide"),
        (lambda: EhrlichConfig(seed=-1), "seed=-1"),
        (lambda: EhrlichPriorConfig(held_out=30_000), "held_out=30000"),
        (lambda: EhrlichPriorConfig(width=50), "width=50"),
    ],
)
def test_bad_settings_are_named(config, message):
    with pytest.raises(ValueError, match=message):
        config()


def test_the_chain_draws_what_is_feasible_at_its_probabilities():
    model, params = chain(SMALL)
    drawn, log_probs = sampling.sample(model, jax.random.key(0), params, 4000)
    assert bool(SMALL.feasible(drawn).all())
    tokens = np.asarray(drawn.tokens)
    by_hand = np.log(SMALL.initial[tokens[:, 0]])
    by_hand = by_hand + np.log(MOVES[tokens[:, :-1], tokens[:, 1:]]).sum(axis=1)
    assert np.asarray(log_probs) == pytest.approx(by_hand, abs=1e-4)
    assert np.asarray(scoring.log_likelihood(model, params, drawn)) == pytest.approx(
        by_hand, abs=1e-4
    )
    met = np.bincount(tokens[:, 1][tokens[:, 0] == 0], minlength=3) / (tokens[:, 0] == 0).sum()
    assert met == pytest.approx(MOVES[0], abs=0.05)
    banned = scoring.log_likelihood(model, params, spelt("2011111"))
    assert banned.tolist() == [-np.inf]


def test_the_task_with_the_chain_as_its_prior_by_enumeration():
    """The targets' mass is the rate that samples have."""
    model, params = chain(SMALL)
    task = ehrlich(SMALL, 1.0, Prior(model, params, {}))
    every = sequences_of(np.indices((3,) * 7).reshape(7, -1).T)
    best = {text for text in map("".join, np.asarray(every.tokens).astype(str)) if whole(text)}
    found = {"".join(map(str, row)) for row in np.asarray(task.targets.tokens).tolist()}
    assert found == best and 0 < len(best) < 3**7
    rate = float(jnp.exp(scoring.log_likelihood(model, params, task.targets)).sum())
    drawn, _ = sampling.sample(model, jax.random.key(1), params, 4000)
    assert float(task.reward_fn(drawn).mean()) == pytest.approx(rate, abs=4 * (rate / 4000) ** 0.5)
    assert task.render(spelt("0011112")) == ["AABBBBC"]


def whole(text):
    """0 . 1 and 1 . . 2, and no 0 after a 2."""
    first = any(text[i] == "0" and text[i + 2] == "1" for i in range(5))
    second = any(text[i] == "1" and text[i + 3] == "2" for i in range(4))
    return first and second and "20" not in text


@pytest.mark.slow
def test_a_fitted_prior_learns_the_chain_and_is_kept(tmp_path):
    config = EhrlichPriorConfig(
        num_layers=1, num_heads=1, width=8, num_sequences=600, held_out=100,
        pretraining=TrainingConfig(epochs=4, batch_size=25, learning_rate=1e-2),
    )  # fmt: skip
    prior = fitted(SMALL, config, tmp_path)
    model, params = chain(SMALL)
    entropy = -float(sampling.sample(model, jax.random.key(2), params, 2000)[1].mean())
    assert entropy - 0.2 < prior.metrics["held_out_nats"] < 7 * np.log(3) - 0.3
    # Another function of this chain has it, too, and one of another chain has not.
    sibling = Ehrlich(SMALL.initial, MOVES, [[0, 0]], [[1]], 7, 1)
    assert fitted(sibling, config, tmp_path).file == prior.file
    stays = Ehrlich(SMALL.initial, MOVES[[0, 1, 1]], [[0, 0]], [[1]], 7, 1)
    assert fitted(stays, config, tmp_path).file != prior.file


def test_large_functions_are_not_enumerated_and_have_letters():
    function = draw(EhrlichConfig(32))
    model, params = chain(function)
    task = ehrlich(function, 0.5, Prior(model, params, {}))
    assert task.targets is None
    (text,) = task.render(sequences_of(function.optimum()[None]))
    assert alphabet(32).encode(text) == function.optimum().tolist()
    assert len(set(alphabet(1000).tokens)) == 1000
    assert markov_chain(3, 7).settings != markov_chain(3, 8).settings
    assert np.isneginf(np.asarray(chain_params(SMALL.initial, MOVES))[2, 0])
