"""What a run's ledger tells of other distributions: its answers, and rows whose odds are known."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax import scoring
from banel_jax.oracle import reading
from banel_jax.oracle.evaluations import Evaluations
from banel_jax.runs import naming
from banel_jax.runs.leaves import checksum
from banel_jax.types import Params, SequenceModel

# Algorithms whose first round is drawn from the prior, unless they knew something before.
FIRST_IS_PRIOR = ("banel", "sequential_filtering", "policy_gradient", "gflownet")


class Known(NamedTuple):
    """What is known of a run.

    Attributes:
      answers: rewards by sequence.
      rows: that can be weighted.
      log_q: float64 [k], nats; their distribution's.
      lacking: why there are no such rows, or nothing.
    """

    answers: dict[bytes, float]
    rows: Evaluations
    log_q: np.ndarray
    lacking: str


def known(
    folder: Path,
    settings: dict[str, Any],
    model: SequenceModel,
    prior_params: Params,
    log_q: Callable[[Evaluations], Any] | None = None,
    start: tuple[SequenceModel, Params] | None = None,
) -> Known:
    """Of a run; `log_q` and `start` as for `controls.judge_controls`.

    Raises:
      LedgerError: for a folder without a ledger that can be read.
      ValueError: for a log_q that does not fit.
    """
    answers = reading.answers(folder)
    lacking = ""
    if log_q is None:
        rounds, lacking = drawn_from_prior(settings, *(start or (model, prior_params)))
        rows = reading.read(folder, rounds=rounds)
        densities = scores(model, prior_params, rows)
    else:
        rows = reading.read(folder)
        densities = np.asarray(log_q(rows), np.float64)
        if densities.shape != (len(rows),) or np.isinf(densities).any():
            raise ValueError(
                f"log_q gave {densities.shape} for {len(rows)} rows, or infinities; give a number "
                "for each row, NaN where it is not known"
            )
        lacking = "log_q knows none of them" if np.isnan(densities).all() else ""
    return Known(answers, rows, densities, lacking)


def drawn_from_prior(
    settings: dict[str, Any], model: SequenceModel, prior_params: Params
) -> tuple[list[int] | None, str]:
    """Which rounds of a run were drawn from this prior (None: all), and else why none was."""
    own = naming.entries(naming.written({"algorithm": {"model": model.settings}}))
    part = lambda entries: {k: v for k, v in entries.items() if _names_model(k)}
    name, params = settings.get("algorithm.name"), f"{checksum(prior_params):08x}"
    if name != "prior_sampling" and name not in FIRST_IS_PRIOR:
        return [], "what its algorithm draws first is not known; give log_q"
    if part(own) != part(settings) or settings.get("prior_params") != params:
        return [], "it was drawn from another prior"
    if name == "prior_sampling":
        return None, ""
    if any(name.startswith("known.") for name in settings):
        return [], "its first round was filtered by what was known before"
    if settings.get("algorithm.settings.distinct"):
        return [], "its first round leaves out copies"
    return [0], ""


def _names_model(name: str) -> bool:
    return name == "algorithm.model" or name.startswith("algorithm.model.")


def scores(
    model: SequenceModel, params: Params, rows: Evaluations, temperature: Any = None
) -> np.ndarray:
    """Log-likelihoods of rows in nats, float64 [k]."""
    if not len(rows):
        return np.zeros(0)
    sequences = jax.tree.map(jnp.asarray, rows.sequences)
    found = scoring.log_likelihood(model, params, sequences, temperature=temperature)
    return np.asarray(found, np.float64)
