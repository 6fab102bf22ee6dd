"""What is reported of a batch, by hand and against enumeration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from enumeration import EVERY, TABLE, sequences, table_params, table_probabilities

from banel_jax import diagnostics, sampling, scoring
from banel_jax.types import Sequences


@pytest.mark.parametrize(
    ("rows", "rate"),
    [
        ([[0, 1]], 0),
        ([[0, 1], [1, 0], [1, 1], [0, 0]], 0),
        ([[0, 1], [1, 0], [0, 1], [1, 0]], 2 / 4),
        ([[2, 2]] * 5, 4 / 5),
        ([[1, 0], [0, 1], [1, 0], [0, 0], [1, 0]], 2 / 5),
    ],
)
def test_duplicates_by_hand(rows, rate):
    assert float(diagnostics.duplicate_rate(sequences(rows))) == pytest.approx(rate)


def test_a_copy_is_what_equals_an_earlier_row():
    rows = [[1, 0], [0, 1], [1, 0], [0, 0], [1, 0], [0, 1]]
    found = diagnostics.copies(sequences(rows))
    np.testing.assert_array_equal(found, [False, False, True, False, True, True])
    np.testing.assert_array_equal(diagnostics.first_equal(sequences(rows)), [0, 1, 0, 3, 0, 1])
    beside = diagnostics.copies(sequences(rows), sequences([[0, 1], [1, 1]]))
    np.testing.assert_array_equal(beside, [False, True, True, False, True, True])


def test_what_is_masked_tells_no_sequences_apart_but_the_mask_does():
    tokens = jnp.array([[0, 1], [0, 2], [0, 0], [0, 0]])
    mask = jnp.array([[True, False], [True, False], [True, True], [True, False]])
    # The first, second and last are one; a scored token 0 is not a masked one.
    assert float(diagnostics.duplicate_rate(Sequences(tokens, mask))) == 0.5


def test_a_batch_in_exact_proportions_has_the_enumerated_entropy_and_divergence():
    """Sequence i stands counts[i] times in the batch, so the sample means are the sums."""
    counts = np.random.default_rng(0).integers(0, 6, len(EVERY))
    p, q = counts / counts.sum(), table_probabilities(table_params(1))
    rows = np.repeat(np.arange(len(EVERY)), counts)
    report = diagnostics.proposal_diagnostics(
        0.0, sequences(EVERY[rows]), jnp.log(jnp.array(p[rows])), jnp.log(jnp.array(q[rows]))
    )
    some = counts > 0
    expected = {
        "entropy": -(p[some] * np.log(p[some])).sum(),
        "kl_to_base": (p[some] * np.log(p[some] / q[some])).sum(),
        "duplicate_rate": 1 - some.sum() / counts.sum(),
    }
    assert report.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(report[name], value, rtol=1e-5)


def test_samples_estimate_the_enumerated_entropy_and_divergence():
    generator, base, n = table_params(2), table_params(3), 4000
    drawn, scores = sampling.sample(TABLE, jax.random.key(0), generator, n)
    report = diagnostics.proposal_diagnostics(
        0.0, drawn, scores, scoring.log_likelihood(TABLE, base, drawn)
    )
    p, q = table_probabilities(generator), table_probabilities(base)
    for name, values in (("entropy", -np.log(p)), ("kl_to_base", np.log(p / q))):
        mean = (p * values).sum()
        error = np.sqrt((p * (values - mean) ** 2).sum() / n)
        assert abs(float(report[name]) - mean) < 4 * error


def test_what_filters_let_through_has_the_entropy_of_the_restricted_distribution():
    """Counts stand for the sequences that pass; p is the generator's, over all of them."""
    p, q = (table_probabilities(table_params(seed)) for seed in (4, 5))
    passed = np.random.default_rng(1).random(len(EVERY)) < 0.4
    restricted = np.where(passed, p, 0) / p[passed].sum()
    counts = np.round(restricted * 20_000).astype(int)
    rows = np.repeat(np.arange(len(EVERY)), counts)
    report = diagnostics.proposal_diagnostics(
        jnp.log(p[passed].sum()),
        sequences(EVERY[rows]),
        jnp.log(jnp.array(p[rows])),
        jnp.log(jnp.array(q[rows])),
    )
    r = restricted[passed]
    np.testing.assert_allclose(report["entropy"], -(r * np.log(r)).sum(), rtol=2e-3)
    divergence = (r * np.log(r / q[passed])).sum()
    np.testing.assert_allclose(report["kl_to_base"], divergence, rtol=2e-3)
