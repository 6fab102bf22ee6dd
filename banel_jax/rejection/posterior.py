"""A generator restricted to what no filter in force rejects (Eq. 6): draws and likelihoods."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from banel_jax import diagnostics, sampling, scoring
from banel_jax.rejection.filters import Filters, Proposals, Ranking, passes_all
from banel_jax.rejection.regions import effective_sample_size
from banel_jax.rejection.sampler import rejection_sample
from banel_jax.types import Key, Params, SequenceModel, Sequences


class Posterior(NamedTuple):
    """The exploration posterior of Section 4.1.

    Attributes:
      model: functions of the generator and of the base.
      ranking: how the filters rank what it proposes.
      acceptance_floor: give up below this acceptance.
    """

    model: SequenceModel
    ranking: Ranking
    acceptance_floor: float

    def sample(
        self, key: Key, generator: Params, base: Params | None, filters: Filters, n: int
    ) -> tuple[Proposals, Int[Array, ""] | int, Filters]:
        """n proposals that pass, as `rejection_sample` returns them; base None: the generator."""

        def propose(indices):
            sequences, scores = sampling.sample_indices(self.model, key, generator, indices)
            return self._scored(base, sequences, scores)

        if not filters.capacity:
            return propose(jnp.arange(n, dtype=jnp.int32)), n, filters
        passes = partial(self.ranking.passes, filters)
        return rejection_sample(propose, passes, filters, n, self.acceptance_floor)

    def log_prob(
        self, generator: Params, base: Params | None, filters: Filters, sequences: Sequences
    ) -> tuple[Proposals, Float[Array, " n"]]:
        """The sequences as proposals, and the generator's log-likelihoods in nats of those that
        pass; less `filters.log_acceptance()` they are normalised."""
        scores = scoring.log_likelihood(self.model, generator, sequences)
        proposals, log_probs = self._scored(base, sequences, scores), scores
        if filters.capacity:
            passed = passes_all(partial(self.ranking.passes, filters), filters, proposals)
            log_probs = jnp.where(passed, log_probs, -jnp.inf)
        return proposals, log_probs

    def _scored(self, base, sequences, scores):
        if base is None:
            return Proposals(sequences, scores, scores)
        base_scores = scoring.log_likelihood(self.model, base, sequences)
        return Proposals(sequences, scores, base_scores)


REPORT = ("acceptance", "proposals_found", "entropy", "kl_to_base", "duplicate_rate")


def no_report(weighted: bool = True) -> dict[str, jax.Array]:
    """What stands for a report before the first; with `effective_sample_size` where weighted."""
    names = (*REPORT, "effective_sample_size") if weighted else REPORT
    return dict.fromkeys(names, jnp.float32(0.0))


def report(
    filters: Filters,
    proposals: Proposals,
    log_ratios: Float[Array, " n"] | None,
    found: Int[Array, ""] | int,
    log_share: Float[Array, ""] | float,
) -> dict[str, jax.Array]:
    """What can be told of a round's n proposals before any is paid for.

    Args:
      filters: that they passed.
      proposals: what the region chose among.
      log_ratios: by which it chose; None where proposals have no weights.
      found: how many of the n are proposals.
      log_share: log of the share of them that the region lets through.
    """
    log_acceptance = filters.log_acceptance()
    weights = {}
    if log_ratios is not None:
        weights["effective_sample_size"] = effective_sample_size(log_ratios)
    return {
        "acceptance": jnp.exp(log_acceptance + log_share),
        "proposals_found": jnp.float32(found) / proposals.base_scores.shape[0],
        **diagnostics.proposal_diagnostics(log_acceptance, *proposals),
        **weights,
    }
