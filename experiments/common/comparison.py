"""A comparison of methods on a task, whatever the task: prepare, run, table, figures, sweep.

An experiment says in an `Experiment` what is its own; `main`, `sweep`, `search` and `program` are
the same for all.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from experiments.common import flags, methods, report, sweeps
from experiments.common.config import MethodsConfig
from experiments.common.methods import Method
from experiments.common.publication import publish
from experiments.common.seed_runs import Runner, SeedRuns, run_each

Results = Mapping[str, SeedRuns]  # by the method's name
# Decades over the base: the highest of the rounds, and the final ones, each [seeds].
Gains = tuple[np.ndarray, np.ndarray]
Config = TypeVar("Config", bound=MethodsConfig)
Prepared = TypeVar("Prepared")


class Found(NamedTuple):
    """What a comparison found, as it is shown and kept.

    Attributes:
      rows: of the table, for its file.
      tables: (rows, columns) as the terminal shows them.
      words: what it says, whatever it says.
      summary: for summary.json.
      closing: what is shown last.
      texts: other files by name.
    """

    rows: Sequence[Mapping[str, Any]]
    tables: Sequence[tuple[Sequence[Mapping[str, Any]], Sequence[str]]]
    words: str
    summary: Mapping[str, Any]
    closing: str = ""
    texts: Mapping[str, str] = {}


class Part(NamedTuple, Generic[Prepared]):
    """One question that the methods were compared on; most experiments have one alone."""

    prepared: Prepared
    results: Results
    found: Found


def _the_only(config: Any, parts: Sequence[Part[Any]]) -> Found:
    (part,) = parts
    return part.found


@dataclass(frozen=True)
class Experiment(Generic[Config, Prepared]):
    """What differs from one comparison to another.

    Attributes:
      presets: configurations by name, the first one the default; their class knows the methods.
      prepare: what the methods of a configuration have in common, for one question after the
        other.
      describe: that in words, for the terminal.
      runner: `runner(config, name, prepared)`, of a method.
      outcome: `outcome(config, name, prepared, result)`, a result in a few words.
      found: `found(config, prepared, results)`, the table and what else there is.
      draw: `draw(config, parts, summary, folder)`, all figures.
      gains: `gains(config, prepared, result)` of a method that was run, by round [seeds, rounds]
        and final [seeds].
      free_gains: `free_gains(config, prepared)` of controls that cost nothing, by what they are.
      legend: what the columns mean.
      join: `join(config, parts)`, what several questions together found.
      label: of a question, where there are several.
      check: `check(config, prepared)` raises ValueError where nothing can be gained over.
      draw_sweep: `draw_sweep(path, config, prepared, results by title)`, of a sweep's rounds.
      table: name of the table's file.
      relevant: the flags, or groups of them, that matter to the chosen methods; None for what they
        read of `settings`.
    """

    presets: Mapping[str, Config]
    prepare: Callable[[Config], Iterable[Prepared]]
    describe: Callable[[Config, Prepared], str]
    runner: Callable[[Config, str, Prepared], Runner]
    outcome: Callable[[Config, str, Prepared, SeedRuns], str]
    found: Callable[[Config, Prepared, Results], Found]
    draw: Callable[[Config, Sequence[Part[Prepared]], dict[str, Any], Path], None]
    gains: Callable[[Config, Prepared, SeedRuns], tuple[np.ndarray, np.ndarray]]
    free_gains: Callable[[Config, Prepared], Mapping[str, Gains]]
    legend: str
    join: Callable[[Config, Sequence[Part[Prepared]]], Found] = _the_only
    label: Callable[[Prepared], str] = lambda prepared: ""
    check: Callable[[Config, Prepared], None] = lambda config, prepared: None
    draw_sweep: Callable[[Path, Config, Prepared, Results], None] | None = None
    table: str = "table.json"
    relevant: Callable[[Config], Collection[str]] | None = None

    @property
    def default(self) -> Config:
        return next(iter(self.presets.values()))

    @property
    def methods(self) -> Mapping[str, Method]:
        return self.default.known

    def run(self, config: Config, prepared: Prepared) -> dict[str, SeedRuns]:
        """The chosen methods, from disk or run now; one that cannot go on is told of and left."""
        methods.check_rounds(config)
        run_one = lambda name: self.runner(config, name, prepared)
        in_words = lambda name, result: self.outcome(config, name, prepared, result)
        return run_each(self.methods, config.chosen, run_one, config.every_seed, in_words)

    def main(self, config: Config) -> None:
        """All of it: runs what is not on disk, and writes tables, summary.json and figures."""
        started = time.perf_counter()
        output = report.output_folder(config.output)
        parts: list[Part[Prepared]] = []
        for prepared in self.prepare(config):
            print(self.describe(config, prepared), flush=True)
            results = self.run(config, prepared)
            found = self.found(config, prepared, results)
            parts.append(Part(prepared, results, found))
            if results:
                print()
                for rows, columns in found.tables:
                    report.print_table(rows, columns)
                    print()
                print(found.words + "\n", flush=True)
        if not any(part.results for part in parts):
            raise ValueError("no algorithm came to its end; see above")
        whole = self.join(config, parts)
        print("\n\n".join(text for text in (self.legend, whole.closing) if text))
        publish(
            started, output, config, whole.summary,
            lambda summary, folder: self.draw(config, parts, summary, folder), whole.rows,
            self.table, methods.preset_of(config, self.presets), whole.texts,
        )  # fmt: skip

    def sweep(self, field: str, points: list[tuple[str, Config]]) -> None:
        """The methods at several values of one field."""
        started = time.perf_counter()
        config = points[0][1]
        sweeps.check(field, [c for _, c in points])
        output = report.output_folder(config.output)
        kept: dict[Any, list[Prepared]] = {}
        swept: dict[str, _Swept] = {}  # by question
        for value, point in points:
            same = point.preparation()
            kept[same] = kept.get(same) or [*self.prepare(point)]
            for prepared in kept[same]:
                label = self.label(prepared)
                print(", ".join(filter(None, (f"{field} = {value}", label))), flush=True)
                self.check(point, prepared)
                results = self.run(point, prepared)
                gains = {name: self.gains(point, prepared, r) for name, r in results.items()}
                of = swept.setdefault(label, _Swept(prepared, [], [], []))
                of.gains.append({self.methods[n].title: _ends(*g) for n, g in gains.items()})
                of.free.append(dict(self.free_gains(point, prepared)))
                of.results.append(results)
        about = report.provenance(started) | {"config": asdict(config)}
        values, colours = [value for value, _ in points], sweeps.colours(self.methods)
        for label, of in swept.items():
            ending = f"_{label.replace(' ', '_')}" if len(swept) > 1 else ""
            told = about | ({"of": label} if label else {})
            sweeps.show(output, field, values, of.measures(), told, colours, ending)
            if self.draw_sweep:
                path = output / "figures" / f"sweep_{sweeps.short(field)}{ending}_by_round.png"
                titled = {
                    f"{self.methods[name].title}, {sweeps.short(field)} {value}": result
                    for value, results in zip(values, of.results, strict=True)
                    for name, result in results.items()
                }
                self.draw_sweep(path, config, of.prepared, titled)


class _Swept(NamedTuple):
    """At each value: gains of what was run, of controls that cost nothing, and the results."""

    prepared: Any
    gains: list[dict[str, Gains]]
    free: list[dict[str, Gains]]
    results: list[Results]

    def measures(self) -> dict[str, dict[str, np.ndarray]]:
        """Decades [values, seeds] by measure and title."""
        free = self.free
        if len({len(at) for at in free}) == 1:  # each is one control, whatever its setting
            free = [dict(zip(free[0], at.values(), strict=True)) for at in free]
        both = [run | costless for run, costless in zip(self.gains, free, strict=True)]
        return {
            measure: sweeps.stack([{title: g[i] for title, g in at.items()} for at in both])
            for i, measure in enumerate(("best", "final"))
        }


def _ends(by_round: np.ndarray, final: np.ndarray) -> Gains:
    return by_round.max(axis=1), final


def program(experiment: Experiment[Any, Any]) -> None:
    """What `python -m experiments.NAME` runs."""
    flags.run(
        experiment.main, experiment.default, dict(experiment.presets), experiment.sweep,
        relevant=experiment.relevant or (lambda c: methods.relevant(c, experiment.methods)),
    )  # fmt: skip
