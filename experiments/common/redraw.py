"""Figures drawn again from a folder of results, without running anything."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from banel_jax import files
from experiments.common import flags, sweeps


@dataclass(frozen=True)
class Config:
    """What is drawn again.

    Attributes:
      output: folder of the results, with its summary.json, or sweeps alone.
    """

    output: str


def run(
    draw: Callable[[dict[str, Any], Path], None],
    output: str,
    methods: Mapping[str, Any] | None = None,
) -> None:
    """The program.

    Args:
      draw: `draw(summary, folder of the figures)`.
      output: the folder by default, of the committed results; sweeps in it are drawn as well.
      methods: by name, whose colours the sweeps have.
    """

    def main(config: Config) -> None:
        folder = files.expand(config.output)
        sweeps_of = sorted(folder.glob("sweep_*.json"))
        if not sweeps_of or (folder / "summary.json").exists():
            draw(files.read_json(folder / "summary.json"), folder / "figures")
        for file in sweeps_of:
            swept = files.read_json(file)
            if "values" not in swept:
                continue
            name = file.stem.removeprefix("sweep_")
            title = lambda name: methods[name].title if methods and name in methods else name
            measures = {
                m: {title(name): gain for name, gain in swept[f"log10_gain_{m}"].items()}
                for m in ("best", "final")
            }
            path = folder / "figures" / f"{file.stem}.png"
            sweeps.figure(path, name, swept["values"], measures, sweeps.colours(methods or {}))
        print(f"drawn again: {folder / 'figures'}")

    flags.run(main, Config(output), resumes=False)
