"""What would have happened without the method, told from what is paid already.

Two sources cost no evaluation. A control's samples can be looked up among the answers that are
known, which bounds its success rate. And rows that were drawn from a known distribution q tell of
another one, c: the mean of c(x) / q(x) reward(x) over them is its success rate.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax import checks, sampling
from banel_jax.oracle import met, reading
from banel_jax.oracle.evaluations import Evaluations
from banel_jax.runs import control_file
from banel_jax.runs import folder as run_folder
from banel_jax.runs.control_file import Control, Controls
from banel_jax.runs.odds import Known, known, scores
from banel_jax.runs.progress import progress
from banel_jax.runs.steps import compiled_steps
from banel_jax.runs.weighted import FEWEST, Estimate, weighted
from banel_jax.success_rate import clopper_pearson
from banel_jax.types import Algorithm, Params, SequenceModel, Sequences

TIE = 1e-4  # nats, by which a score may differ in another batch


def judge_controls(
    folder: Path | str,
    model: SequenceModel,
    prior_params: Params,
    *,
    samples: int = 1000,
    filter_factor: float | None = None,
    temperatures: Sequence[float] = sampling.LADDER,
    log_q: Callable[[Evaluations], Any] | None = None,
    algorithm: Algorithm | None = None,
    start: tuple[SequenceModel, Params] | None = None,
    seed: int = 0,
) -> list[Control]:
    """What a run's controls would have met; pays nothing, and writes `controls.json`.

    The prior, the prior at each temperature and at one of them by chance (the ladder), its
    likeliest and its least likely `1 / filter_factor`; and, as far as it can be told, the run's
    own algorithm told nothing but rewards of 0, and with f = 1. The page of the run shows them.

    Args:
      folder: of a run, going on or ended; its ledger is read.
      model: the prior.
      prior_params: its parameters.
      samples: of each control, looked up among the known answers. A cut draws `filter_factor`
        times as many.
      filter_factor: f of the cuts, above 1; None for the run's own, or 2.
      temperatures: of the ladder.
      log_q: `log_q(evaluations [k]) -> [k]`, log-likelihoods in nats of the rows under what they
        were drawn from, NaN for those of unknown. None for what is exact without being told: the
        first round, or all of `prior_sampling`, where it was drawn from this prior.
      algorithm: of the run, which is then run once more and told nothing but 0. That costs its
        computing, whose progress a terminal shows, and no evaluation.
      start: the run's own model and the parameters that its algorithm began with, where they are
        other ones that stand for the prior, such as adapters that are new; None for `model` and
        `prior_params`.
      seed: of the samples; keep it another than the run's.

    Returns:
      A `Control` each.

    Raises:
      LedgerError: for a folder without a ledger that can be read.
      ValueError: for arguments that are none.
      OSError: where `controls.json` cannot be written.
    """
    folder = run_folder.named(folder)
    path = folder / "config.json"
    settings = run_folder.in_force(path) if path.exists() else {}
    filter_factor = _filter_factor(filter_factor, settings)
    given = SimpleNamespace(samples=samples, seed=seed)
    checks.integers(given, "samples", at_least=1, below=2**24)
    checks.seeds(given, "seed")
    if not len(temperatures) or not all(t > 0 for t in temperatures):
        raise ValueError(f"temperatures={temperatures!r} must be one or more, all positive")
    run = known(folder, settings, model, prior_params, log_q, start)
    key = jax.random.fold_in(jax.random.key(seed), 0xC0)  # no run's own key
    found = _tempered(run, model, prior_params, samples, temperatures, key)
    found += _cuts(run, model, prior_params, samples, filter_factor, key)
    status = reading.status(folder)
    found += _learners(run, start[1] if start else prior_params, algorithm, status, key)
    control_file.write(folder, Controls(status.states["done"], found))
    return found


def _filter_factor(given: Any, settings: dict[str, Any]) -> float:
    own = settings.get("algorithm.settings.filter_factor")
    usable = lambda f: isinstance(f, int | float) and 1 < f < 2**20
    if given is None:
        given = own if usable(own) else 2.0
    if not usable(given):
        raise ValueError(f"filter_factor={given!r} must be a number above 1, and below 2**20")
    return float(given)


def _tempered(run, model, params, samples, temperatures, key) -> list[Control]:
    """The prior, its rungs, and their mixture."""
    draw = lambda i, t: sampling.sample(model, jax.random.fold_in(key, i), params, samples,
                                        temperature=t)[0]  # fmt: skip
    score = lambda t: scores(model, params, run.rows, t)
    prior = _told(run, "the prior", draw(0, None), score(None))
    drawn = [draw(1 + i, jnp.float32(t)) for i, t in enumerate(temperatures)]
    log_cs = [score(jnp.float32(t)) for t in temperatures]
    rung = np.asarray(jax.random.randint(key, (samples,), 0, len(drawn)))
    mixed = jax.tree.map(
        lambda *parts: np.stack(list(map(np.asarray, parts)))[rung, np.arange(samples)], *drawn
    )
    mixture = np.logaddexp.reduce(log_cs) - np.log(len(log_cs))
    rungs = [
        _told(run, f"the prior at T = {t:g}", x, log_c)
        for t, x, log_c in zip(temperatures, drawn, log_cs, strict=True) if t != 1
    ]  # fmt: skip
    return [prior, _told(run, "the ladder of temperatures", mixed, mixture), *rungs]


def _cuts(run, model, params, samples, f, key) -> list[Control]:
    """The likeliest and the least likely samples / (f samples) of the prior."""
    drawn = round(f * samples)
    key = jax.random.fold_in(key, 2**20)
    pool, log_probs = sampling.sample(model, key, params, drawn)
    log_probs = np.asarray(log_probs, np.float64)
    rows = scores(model, params, run.rows)
    found = []
    for name, sign in (("likeliest", 1), ("least likely", -1)):
        ranked = np.sort(sign * log_probs)[::-1]
        threshold = ranked[samples - 1] - TIE
        if samples < drawn and threshold > ranked[samples]:
            threshold = (ranked[samples - 1] + ranked[samples]) / 2
        passed = sign * log_probs >= threshold
        chosen = jax.tree.map(lambda x, passed=passed: np.asarray(x)[passed][:samples], pool)
        log_c = np.where(sign * rows >= threshold, rows - np.log(passed.mean()), -np.inf)
        found.append(_told(run, f"the {name} 1 / {f:g} of the prior", chosen, log_c))
    return found


def _learners(run, params, algorithm, status, key) -> list[Control]:
    """The algorithm told nothing, and without rejection."""
    cost, name = sum(status.states.values()), "the method told nothing but 0"
    wants = "it draws from models that this run has not trained; "
    untold = lambda name, why: Control(
        name, 0, 0, 0, None, None, None, None, cost, "nothing",
        f"nothing: {why}; a run of its own would cost {cost:,} evaluations",
    )  # fmt: skip
    told = untold(name, wants + "give algorithm, and it is run without the oracle")
    if algorithm is not None and status.last_round >= 0:
        steps = compiled_steps(algorithm)
        state, asked = steps.init(key, params), []
        rounds = status.last_round + 1
        for round in progress(range(rounds), rounds, f"rounds of {name}"):
            candidates, state = steps.ask(key, round, state)
            asked.append(jax.tree.map(np.asarray, candidates))
            zeros = jnp.zeros(candidates.tokens.shape[0], jnp.float32)
            state = steps.tell(key, round, state, candidates, zeros)[0]
        told = _told(run, name, jax.tree.map(lambda *x: np.concatenate(x), *asked), None)
    return [
        told,
        untold("the method with f = 1", wants + "and it would be told answers of its own"),
    ]


def _told(run: Known, name: str, drawn: Sequences, log_c: np.ndarray | None) -> Control:
    """A control, by what tells most of it."""
    tokens, mask = np.asarray(drawn.tokens, "<i4"), np.asarray(drawn.mask, np.uint8)
    names = [met.key(t.tobytes(), m.tobytes()) for t, m in zip(tokens, mask, strict=True)]
    rewards = [run.answers[name] for name in names if name in run.answers]
    n, known, successes = len(names), len(rewards), int(sum(rewards))
    cost = len(set(names) - run.answers.keys())
    estimate = weighted(log_c - run.log_q, run.rows.reward) if log_c is not None else None
    effective = None if estimate is None else estimate.effective
    make = lambda rate, low, high, by, words: Control(
        name, n, known, successes, rate, low, high, effective, cost, by, words
    )
    interval = clopper_pearson(successes, n)
    if known == n and (effective is None or effective < n):
        rate = successes / n
        words = f"{rate:.3g} ({_range(*interval)}): all {n:,} samples have a known answer"
        return make(rate, *interval, "samples", words)
    if estimate is not None and estimate.effective >= FEWEST:
        words = f"{estimate.rate:.3g} ({_range(estimate.low, estimate.high)}), from "
        words += f"{estimate.rows:,} rows that are worth {estimate.effective:,.0f} of its own"
        return make(estimate.rate, estimate.low, estimate.high, "rows", words)
    if successes or known >= FEWEST:
        low, high = interval[0], clopper_pearson(successes + n - known, n)[1]
        words = f"{_range(low, high)}: {known:,} of {n:,} samples have a known answer, "
        words += f"{successes:,} of them 1; the others would cost {cost:,} evaluations"
        return make(None, low, high, "bounds", words)
    return make(None, None, None, "nothing", _nothing(run, estimate, n, known, cost))


def _range(low: float, high: float) -> str:
    return f"between {low:.3g} and {high:.3g}"


def _nothing(run: Known, estimate: Estimate | None, n: int, known: int, cost: int) -> str:
    words = f"nothing: {known:,} of {n:,} samples have a known answer"
    if estimate is not None and estimate.rows:
        words += f", and {estimate.rows:,} rows are worth {estimate.effective:.1f} of its own, "
        words += f"where {FEWEST} are needed"
    elif estimate is not None:
        words += f", and no row can be weighted ({run.lacking or 'none has an answer yet'})"
    return f"{words}; it would cost {cost:,} evaluations"
