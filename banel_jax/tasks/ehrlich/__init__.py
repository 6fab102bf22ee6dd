"""Ehrlich functions (arXiv:2407.00236): sequences with spaced motifs that a chain can draw."""

from banel_jax.tasks.ehrlich.drawing import EhrlichConfig, draw
from banel_jax.tasks.ehrlich.function import Ehrlich
from banel_jax.tasks.ehrlich.task import EhrlichPriorConfig, alphabet, chain, ehrlich, fitted

__all__ = [
    "Ehrlich",
    "EhrlichConfig",
    "EhrlichPriorConfig",
    "alphabet",
    "chain",
    "draw",
    "ehrlich",
    "fitted",
]
