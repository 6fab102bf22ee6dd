"""Runs by command: `python -m banel_jax COMMAND`, or `banel COMMAND` where it is installed."""
