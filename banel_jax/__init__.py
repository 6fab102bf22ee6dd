"""Bayesian Negative Evidence Learning (BaNEL): learn from the failures of a costly oracle."""
