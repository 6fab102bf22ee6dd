"""Fits as pure functions: by maximum likelihood, or of any loss."""

from banel_jax.training.broadening import broaden
from banel_jax.training.likelihood import (
    Fit,
    FitInfo,
    Fitting,
    Validation,
    batch_loss,
    begin,
    epoch_rows,
    fit,
    one_epoch,
    weighted_gradient,
)
from banel_jax.training.optimisation import Loss, TrainingConfig, minimise, optimizer

__all__ = [
    "Fit", "FitInfo", "Fitting", "Loss", "TrainingConfig", "Validation", "batch_loss", "begin",
    "broaden", "epoch_rows", "fit", "minimise", "one_epoch", "optimizer", "weighted_gradient",
]  # fmt: skip
