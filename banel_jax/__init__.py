"""Bayesian Negative Evidence Learning (BaNEL): learn from the failures of a costly oracle."""

from banel_jax import compiler

compiler.guard()
