"""Prints, as pip's constraints, the oldest version that is declared of each package needed."""

import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def constraints(declared: list[str]) -> list[str]:
    """`name==version` of each `name>=version`.

    Raises:
      ValueError: for what is declared otherwise.
    """
    found = [re.fullmatch(r"([\w-]+)>=([\d.]+)", line) for line in declared]
    if not all(found):
        raise ValueError(f"not all of the form name>=version: {declared}")
    return [f"{one[1]}=={one[2]}" for one in found]


if __name__ == "__main__":
    needed = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["dependencies"]
    print("\n".join(constraints(needed)))
