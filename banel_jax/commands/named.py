"""What a person names as "module:function"."""

import importlib
import os
import sys
from typing import Any

from banel_jax.checks import one_line


def is_name(text: str) -> bool:
    """Whether a text reads as `module:function`."""
    module, colon, name = text.partition(":")
    parts = f"{module}.{name}".split(".")
    return bool(colon) and all(part.isidentifier() for part in parts)


def look_in(folder: str) -> None:
    """Has modules of a folder found, if it is there, after those of the current one."""
    if folder and os.path.isdir(folder) and folder not in sys.path:
        sys.path.append(folder)


def found(flag: str, text: str) -> Any:
    """What stands in a module under a name; modules of the current folder are found too.

    Raises:
      ValueError: in one line that begins with the flag, whatever importing it raises.
    """
    if not is_name(text):
        raise ValueError(f"--{flag}={text} must be named as module:function")
    module, _, name = text.partition(":")
    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)
    try:
        value = importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if missing != module and not module.startswith(f"{missing}."):
            raise ValueError(
                f"--{flag}={text}: {module} needs {missing}, which is not there"
            ) from error
        raise ValueError(
            f"--{flag}={text}: there is no module {missing}, neither in {here} nor installed"
        ) from error
    except (Exception, SystemExit) as error:
        what = f"{type(error).__name__}: {one_line(error)}".rstrip(": ")
        raise ValueError(f"--{flag}={text}: importing {module} raised {what}") from error
    for part in name.split("."):
        if not hasattr(value, part):
            raise ValueError(f"--{flag}={text}: {module} has no {name}")
        value = getattr(value, part)
    return value
