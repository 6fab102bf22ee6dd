r"""The addition attack over many rounds (Appendix B.1): every method, and its controls.

    python -m experiments.addition --preset=small

trains the target and the attacker, runs each algorithm from each seed for the same number of
reward evaluations, and writes a table, the success rates by round, and what was found. What is
on disk is not run again.

    python -m experiments.addition --preset=small --algorithms=banel,banel_f1 \
        --task.grammar.leading_zeros=false --sweep.failure_epochs=1,2,3,5,10,20,50,100

runs them at several values of any field. See the README for minutes and results.
"""

import dataclasses
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax import checks, files, sampling, success_rate
from banel_jax.algorithms.banel import BanelConfig
from banel_jax.algorithms.policy_gradient import PolicyGradientConfig
from banel_jax.runs.checkpoint import checksum
from banel_jax.tasks.addition import models as addition_models
from banel_jax.tasks.addition.models import AdditionConfig, ModelConfig
from banel_jax.tasks.addition.task import AdditionOracle, GrammarConfig
from banel_jax.training import TrainingConfig
from banel_jax.types import Algorithm, Params, State, Task
from experiments.addition import figures as addition_figures
from experiments.addition import table as addition_table
from experiments.common import methods, rate_table, report, sweeps
from experiments.common.broadening import BroadenConfig, broadened
from experiments.common.cells import Cell, Runner, run_each
from experiments.common.methods import Method, Networks, Settings
from experiments.common.pieces import in_pieces
from experiments.common.rate_table import Costless, Rate

TEMPERATURES = (0.5, 0.7, 0.85, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0)
FACTORS = (4, 16, 64, 256)
NUM_SNAPSHOT = 500  # samples kept of each block of rounds, from which failure modes are counted
JUDGED = 10_000  # proposals in a compiled call outside the rounds
LEGEND = rate_table.legend(
    "are grammatical", "the best T and the best 1 in f, chosen by looking,",
    "; the target's own are left out",
)  # fmt: skip


def _by_novelty(settings: Settings) -> BanelConfig:
    """No failures: what the base finds unlikely passes. p_phi is the base, and kappa 2."""
    return dataclasses.replace(
        methods.ours(settings),
        kappa=2.0,
        failure_start="base",
        failure_training=TrainingConfig(epochs=0),
        rejection="best",
    )


_BY_NOVELTY = methods.variant_of_ours("ours, ranked by 1 / p_base alone", True, _by_novelty)


def _every_round(method: Method, setting: Callable[[Settings], BanelConfig]) -> Method:
    """Without falling back, which may take from a control what it has."""
    return methods.variant_of_ours(
        f"{method.title}, distilling every round",
        method.control,
        lambda settings: dataclasses.replace(setting(settings), fall_back=0.0),
    )


def _from_broadened(name: str) -> Method:
    """A baseline from what ours starts from."""
    method = methods.METHODS[name]
    return method._replace(
        title=f"{method.title}, from the base of ours", base=lambda settings: settings.ours_base
    )


METHODS = methods.METHODS | {
    "ours_by_novelty": _BY_NOVELTY,
    "ours_told_nothing": methods.variant_of_ours(
        "ours, told nothing but zeros", True, methods.ours
    )._replace(told=False),
    "ours_every_round": _every_round(methods.METHODS["ours"], methods.ours),
    "ours_f1_every_round": _every_round(methods.METHODS["ours_f1"], methods.ours_f1),
    "ours_by_novelty_every_round": _every_round(_BY_NOVELTY, _by_novelty),
    "policy_gradient_ours": _from_broadened("policy_gradient"),
    "rnd_ours": _from_broadened("rnd"),
}
OURS = BanelConfig(
    filter_factor=4.0,
    failure_rounds=30,
    failure_weighting=0.5,
    failure_training=TrainingConfig(epochs=5, learning_rate=5e-4),
    num_distilled=2000,
    # As many steps as these epochs have: a fit that ends at rest loses less of what it is given.
    generator_training=TrainingConfig(epochs=4, learning_rate=2e-3, decay_steps=160),
    distinct=True,
    fall_back=0.95,
)

# The rate that the search found best, ten times the usual one.
POLICY_GRADIENT = PolicyGradientConfig(training=TrainingConfig(epochs=1, learning_rate=1e-3))


@dataclass(frozen=True)
class Config:
    """Settings of the experiment.

    Attributes:
      algorithms: which to run; empty for all: prior, ladder, broadened, banel_f1, ours_f1,
        ours_by_prior, ours_by_novelty, ours_told_nothing, ours_f1_every_round,
        ours_by_novelty_every_round (controls), banel, banel_base, importance, inverse, ours,
        ours_every_round, filtering, policy_gradient, negative_rl, rnd, pseudo_count, gflownet_tb,
        gflownet_vargrad, rtb, policy_gradient_ours, rnd_ours.
      rounds: of num_candidates reward evaluations each, of every algorithm.
      seeds: how many runs of each algorithm.
      first_seed: the seeds are this one and those that follow.
      seeds_at_once: in one compiled call, computed as one batch. All of them use a GPU best, 1
        a CPU.
      block: rounds in a compiled call; what it did is on disk before the next.
      num_evaluated: samples after each round, judged for its success rate.
      num_final: the same of the last state.
      num_prior: the same of the prior, for its rate and the controls made of its samples.
      num_tempered: the same of the prior at each temperature.
      num_problems: fresh ones for each number of digits, on which the target is tried.
      target_file, attacker_file: trained models from another run's folder; empty to train them.
      output: folder of the tables and figures.
      runs: folder of the trained models and of the runs themselves.
      settings: of the algorithms.
      broaden: the broadened prior.
      task: the task.
    """

    main_flags: ClassVar[tuple[str, ...]] = (
        "algorithms", "rounds", "seeds", "first_seed", "seeds_at_once", "settings.num_candidates",
        "num_evaluated", "num_final", "task.grammar.max_digits", "target_file", "attacker_file",
        "output", "runs",
    )  # fmt: skip

    algorithms: tuple[str, ...] = ()
    rounds: int = 30
    seeds: int = 5
    first_seed: int = 0
    seeds_at_once: int = 5
    block: int = 5
    num_evaluated: int = 4000
    num_final: int = 20_000
    num_prior: int = 60_000
    num_tempered: int = 10_000
    num_problems: int = 1000
    target_file: str = ""
    attacker_file: str = ""
    output: str = "runs/addition/results"
    runs: str = "runs/addition"
    settings: Settings = field(
        default_factory=lambda: Settings(
            ours=OURS, ours_base="broadened", policy_gradient=POLICY_GRADIENT
        )
    )
    broaden: BroadenConfig = field(
        default_factory=lambda: BroadenConfig(
            num_samples=30_000, training=TrainingConfig(epochs=6, batch_size=100)
        )
    )
    task: AdditionConfig = field(default_factory=AdditionConfig)

    def __post_init__(self):
        checks.fields(self)
        numbers = (
            "rounds", "seeds", "seeds_at_once", "block", "num_evaluated", "num_final",
            "num_prior", "num_tempered", "num_problems",
        )  # fmt: skip
        checks.integers(self, *numbers, at_least=1)
        checks.seeds(self, "first_seed")
        methods.check(self, METHODS)

    @property
    def chosen(self) -> tuple[str, ...]:
        return self.algorithms or tuple(METHODS)

    @property
    def networks(self) -> Networks:
        """Random network distillation sees tokens as indicators."""
        transformer = self.task.attacker_transformer
        return methods.of_transformer(transformer, transformer.length * transformer.vocab_size)


class Ground(NamedTuple):
    """What the algorithms of a configuration have in common.

    Attributes:
      task, oracle: the attack, and its oracle, which says more than the reward.
      bases: parameters to start from, by name.
      prior: its success rate.
      valid: the share of its proposals that the grammar allows.
      by_temperature: rates of the prior at single temperatures.
      by_factor: rates of its least likely 1 in f.
      accuracy: of the target, by the digits of the longer operand.
      modes: of the prior's proposals, and of those that succeed, how many of each.
      metrics: held-out nats and epochs of both models.
    """

    task: Task
    oracle: AdditionOracle
    bases: dict[str, Params]
    prior: Rate
    valid: float
    by_temperature: dict[float, Rate]
    by_factor: dict[float, Rate]
    accuracy: dict[int, float]
    modes: dict[str, dict[str, int]]
    metrics: dict[str, dict[str, float]]

    @property
    def costless(self) -> list[Costless]:
        return [
            rate_table.best_of("best T", self.by_temperature),
            rate_table.best_of("least likely 1 in f of the prior", self.by_factor),
        ]


def prepare(config: Config) -> Ground:
    """The models, from `config.runs` or trained into it, and what is measured of them."""
    cache = report.output_folder(config.runs)
    c = config.task
    train = lambda name, file: addition_models.trained(c, name, cache, file or None)
    target, attacker = train("target", config.target_file), train("attacker", config.attacker_file)
    task, oracle = addition_models.attack(c, target, attacker)

    @partial(jax.jit, static_argnums=2)
    def draw(key, temperature, n):
        sequences, scores = sampling.sample(
            task.prior, key, task.prior_params, n, temperature=temperature
        )
        return sequences, scores, oracle.judge(sequences)

    def drawn(seed, n, temperature=1.0):
        key, size = jax.random.key(seed), min(n, JUDGED)
        one = lambda i: draw(jax.random.fold_in(key, i), jnp.float32(temperature), size)
        return in_pieces(one, n, size, f"prior at T = {temperature:g}")

    sequences, scores, verdict = drawn(11, config.num_prior)
    rate = lambda rewards: Rate(int(rewards.sum()), len(rewards))
    by_novelty = verdict.reward[np.argsort(scores, kind="stable")]
    bases = {"prior": task.prior_params}
    needed = {METHODS[name].base(config.settings) for name in config.chosen}
    if "broadened" in needed:
        bases["broadened"] = broadened(task, config.broaden, c.seed, cache, "addition")
    return Ground(
        task,
        oracle,
        bases,
        prior=rate(verdict.reward),
        valid=float(verdict.valid.mean()),
        by_temperature={t: rate(drawn(12, config.num_tempered, t)[2].reward) for t in TEMPERATURES},
        by_factor={f: rate(by_novelty[: -(-len(by_novelty) // f)]) for f in FACTORS},
        accuracy=addition_models.accuracy(oracle, c.seed + 1, config.num_problems),
        modes=addition_table.modes(sequences, verdict.reward, c.grammar.max_digits),
        metrics={"target": target.metrics, "attacker": attacker.metrics},
    )


def evaluation(config: Config, ground: Ground, algorithm: Algorithm):
    """Of each round: what the generator and, where there is a filter, what passed it gets right."""
    count = _counted(ground, algorithm, config.num_evaluated, 9)

    def evaluate(asked: State, state: State):
        counted = count(state)
        found = {"success_rate": counted.share("reward"), "valid_rate": counted.share("valid")}
        if hasattr(asked, "batch"):  # Algorithm 2's, all that it distils
            found["filtered_success_rate"] = jnp.mean(ground.oracle.reward(asked.batch))
        return found

    return evaluate


def final_evaluation(config: Config, ground: Ground, algorithm: Algorithm):
    """Of the last state, by more samples."""
    count = _counted(ground, algorithm, config.num_final, 10)

    def final(state: State):
        counted = count(state)
        return {"successes": counted.totals["reward"], "valid": counted.share("valid")}

    return final


def _counted(ground: Ground, algorithm: Algorithm, n: int, seed: int):
    def measure(samples):
        verdict = ground.oracle.judge(samples)
        return {"reward": verdict.reward, "valid": verdict.valid}

    return success_rate.monte_carlo(algorithm, measure, n, jax.random.key(seed))


def runner(config: Config, name: str, ground: Ground, watch=None) -> Runner:
    method: Method = METHODS[name]
    algorithm = method.build(config.settings, config.networks)
    return Runner(
        name,
        algorithm,
        method.task(ground.task),
        ground.bases[method.base(config.settings)],
        config.rounds,
        evaluation(config, ground, algorithm),
        final_evaluation(config, ground, algorithm),
        {
            "task": asdict(config.task),
            "num_evaluated": config.num_evaluated,
            "num_final": config.num_final,
            "target": f"{checksum(ground.oracle.params):08x}",
            **method.configuration,
        },
        files.expand(config.runs) / "cells",
        config.block,
        min(config.seeds_at_once, config.seeds),
        NUM_SNAPSHOT,
        watch,
    )


def run(config: Config, ground: Ground) -> dict[str, Cell]:
    """The chosen algorithms, from disk or run now; one that cannot go on is told of and left."""
    methods.check_rounds(config)

    def watched(name):
        learns = name not in ("prior", "ladder", "broadened")
        watch = partial(addition_table.watch, ground, METHODS[name].title) if learns else None
        return runner(config, name, ground, watch)

    def in_words(name, cell):
        rate = np.median(cell.final["successes"]) / config.num_final
        met = int(cell.metrics["num_successes"][:, -1].sum())
        spent = f", {met:,} successes met" if METHODS[name].told else ""
        return f"{rate:.3g} in the median{spent}"

    seeds = range(config.first_seed, config.first_seed + config.seeds)
    return run_each(METHODS, config.chosen, watched, seeds, in_words)


def describe(ground: Ground) -> str:
    low, high = ground.prior.interval
    right = ", ".join(f"{digits}: {share:.4f}" for digits, share in ground.accuracy.items())
    return (
        f"the target answers right, by digits of the longer operand: {right}\n"
        f"the attacker succeeds at {ground.prior.value:.3g} [{low:.3g}, {high:.3g}] "
        f"({ground.prior.samples:,} samples, 95% interval); {ground.valid:.3f} of its proposals "
        "are grammatical"
    )


_MODEL = ModelConfig(
    num_layers=3,
    num_heads=4,
    width=64,
    num_problems=150_000,
    training=TrainingConfig(
        epochs=14,
        batch_size=150,
        learning_rate=2e-3,
        warmup_steps=200,
        decay_steps=14_000,
        patience=3,
    ),
)
_ATTACKER = dataclasses.replace(
    _MODEL,
    num_problems=80_000,
    training=TrainingConfig(
        epochs=5,
        batch_size=100,
        learning_rate=2e-3,
        warmup_steps=200,
        decay_steps=4000,
        patience=3,
    ),
)


def _small(num_problems: int, epochs: int, decay_steps: int) -> ModelConfig:
    fit = TrainingConfig(
        epochs=epochs,
        batch_size=50,
        learning_rate=2e-3,
        warmup_steps=100,
        decay_steps=decay_steps,
    )
    return ModelConfig(2, 4, 48, num_problems=num_problems, training=fit)


def _tiny(epochs: int) -> ModelConfig:
    fit = TrainingConfig(epochs=epochs, batch_size=20, learning_rate=5e-3)
    return ModelConfig(1, 2, 16, num_problems=2000, training=fit)


PRESETS: dict[str, Config] = {
    "paper": Config(),
    "small": Config(
        seeds_at_once=1,
        task=AdditionConfig(grammar=GrammarConfig(max_digits=3), target=_MODEL, attacker=_ATTACKER),
    ),
    # Both models are trained here, so that a newcomer has the whole of it in minutes.
    "demo": Config(
        algorithms=(
            "prior",
            "ladder",
            "broadened",
            "ours_f1",
            "ours_told_nothing",
            "ours",
            "policy_gradient",
            "policy_gradient_ours",
        ),
        rounds=12,
        seeds=2,
        seeds_at_once=1,
        block=3,
        num_evaluated=2000,
        num_final=5000,
        num_prior=20_000,
        num_tempered=2000,
        num_problems=500,
        output="runs/addition_demo/results",
        runs="runs/addition_demo",
        settings=Settings(
            ours=dataclasses.replace(
                OURS,
                num_distilled=1000,
                fall_back=0.6,  # of few successes, as in its first rounds, 0.95 is mostly chance
                generator_training=dataclasses.replace(OURS.generator_training, decay_steps=80),
            ),
            ours_base="broadened",
            policy_gradient=POLICY_GRADIENT,
        ),
        broaden=BroadenConfig(num_samples=10_000, training=TrainingConfig(epochs=5)),
        task=AdditionConfig(
            grammar=GrammarConfig(max_digits=2),
            target=_small(num_problems=30_000, epochs=8, decay_steps=4800),
            attacker=_small(num_problems=20_000, epochs=4, decay_steps=1600),
            held_out=500,
        ),
    ),
    "smoke": Config(
        algorithms=(
            "prior",
            "ladder",
            "banel_f1",
            "ours_f1",
            "ours_by_novelty",
            "banel",
            "ours",
            "rnd",
            "pseudo_count",
        ),
        rounds=2,
        seeds=2,
        seeds_at_once=1,
        num_evaluated=100,
        num_final=200,
        num_prior=500,
        num_tempered=100,
        num_problems=50,
        output="runs/addition_smoke/results",
        runs="runs/addition_smoke",
        settings=Settings(
            num_candidates=20,
            failure_epochs=2,
            generator_epochs=1,
            ours=dataclasses.replace(OURS, num_candidates=20, num_distilled=40, failure_rounds=2),
            ours_base="broadened",
        ),
        broaden=BroadenConfig(num_samples=100, training=TrainingConfig(epochs=1)),
        task=AdditionConfig(
            grammar=GrammarConfig(max_digits=1),
            target=_tiny(epochs=3),
            attacker=_tiny(epochs=4),
            held_out=100,
        ),
    ),
}


def main(config: Config) -> None:
    started = time.perf_counter()
    output = report.output_folder(config.output)
    ground = prepare(config)
    print(describe(ground))
    cells = run(config, ground)
    if not cells:
        raise ValueError("no algorithm came to its end; see above")
    rows = rate_table.rows(config, ground, cells, METHODS)
    print()
    for columns in rate_table.TABLES:
        report.print_table(rate_table.readable(rows), columns)
        print()
    words = rate_table.in_words(rows)
    print(LEGEND + "\n\n" + words + "\n")
    found = addition_table.what_was_found(config, ground, cells, METHODS)
    report.print_table(found["modes"], addition_table.MODES)
    print("\nfailure modes, of 100 proposals after the last round | of 100 that succeed\n")
    print(found["text"])
    about = report.provenance(started)
    stamp: dict[str, Any] = {k: about[k] for k in ("command", "commit", "device")}
    report.write_json(
        output / "table.json",
        [stamp | {"preset": methods.preset_of(config, PRESETS)} | row for row in rows],
    )
    summary = report.jsonable(
        about
        | {"config": asdict(config), "conclusion": words, **measured(ground)}
        | {"found": found}
        | {"algorithms": {name: rate_table.details(cell) for name, cell in cells.items()}},
    )
    report.write_json(output / "summary.json", summary)
    files.write_atomically(output / "attacks.txt", found["text"] + "\n")
    addition_figures.draw(summary, output / "figures", METHODS)
    print(
        f"\nwritten: {output}/table.json, summary.json, attacks.txt, figures/ "
        f"({time.perf_counter() - started:.0f} s in all)"
    )


def measured(ground: Ground) -> dict[str, Any]:
    """What is known of the models themselves, for a file."""
    told = rate_table.as_told
    return {
        "prior": told(ground.prior) | {"valid": ground.valid},
        "by_temperature": {t: told(rate) for t, rate in ground.by_temperature.items()},
        "least_likely_1_in": {f: told(rate) for f, rate in ground.by_factor.items()},
        "target_accuracy_by_digits": ground.accuracy,
        "models": ground.metrics,
    }


def sweep(field: str, points: list[tuple[str, Config]]) -> None:
    """The algorithms at several values of one field."""
    started = time.perf_counter()
    config = points[0][1]
    sweeps.check(field, [c for _, c in points])
    output = report.output_folder(config.output)
    found: dict[str, list[dict[str, np.ndarray]]] = {"best": [], "final": []}
    grounds: dict[Any, Ground] = {}  # most fields are of algorithms alone
    for value, point in points:
        print(f"{field} = {value}", flush=True)
        bases = frozenset(METHODS[name].base(point.settings) for name in point.chosen)
        needs = (dataclasses.replace(point, settings=config.settings), bases)
        ground = grounds[needs] = grounds.get(needs) or prepare(point)
        rate_table.check_base(ground.prior)
        rows = rate_table.rows(point, ground, run(point, ground), METHODS)
        for measure, samples in (("best", point.num_evaluated), ("final", point.num_final)):
            gains = {
                row["kind"]: rate_table.log10_gain(row[measure], row["base"], samples)
                for row in rows
            }
            found[measure].append(gains)
    stacked = {measure: sweeps.stack(gains) for measure, gains in found.items()}
    about = report.provenance(started) | {"config": asdict(config)}
    sweeps.show(
        output, field, [value for value, _ in points], stacked, about, sweeps.colours(METHODS)
    )
