"""What is rejected before it is paid for: regions, past filters, sampling from what they leave.

A filter is a failure model with a threshold tau: it rejects x where
log p_theta(x) - kappa log p_phi(x) < tau (Eqs. 5 and 6). Thresholds and ratios are in nats.
"""

from banel_jax.rejection.filters import (
    Filters,
    Proposals,
    Ranking,
    add_filter,
    forget_counts,
    no_filters,
    passes_all,
)
from banel_jax.rejection.posterior import Posterior, no_report, report
from banel_jax.rejection.regions import (
    TIE,
    Accepted,
    Best,
    Importance,
    Region,
    Threshold,
    above,
    best,
    check,
    effective_sample_size,
    resample,
)
from banel_jax.rejection.sampler import give_up, rejection_sample

__all__ = [
    "TIE", "Accepted", "Best", "Filters", "Importance", "Posterior", "Proposals",
    "Ranking", "Region", "Threshold", "above", "add_filter", "best", "check",
    "effective_sample_size", "forget_counts", "give_up", "no_filters", "no_report", "passes_all",
    "rejection_sample", "report", "resample",
]  # fmt: skip
