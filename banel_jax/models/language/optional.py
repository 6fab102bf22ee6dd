"""Packages of an extra, imported when a function needs them and not before."""

import importlib
from typing import Any


def optional(name: str, extra: str = "gsm8k") -> Any:
    """A module of the extra.

    Raises:
      ValueError: where it cannot be imported, with the command that installs it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(
            f"this needs {name.split('.')[0]}: pip install 'banel_jax[{extra}]' ({error})"
        ) from error
