"""What the addition attack found: as text, and by its mode of failure."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from banel_jax.tasks.addition.task import EOS, strings_of
from banel_jax.types import Sequences
from experiments.addition import modes as addition_modes
from experiments.common import report
from experiments.common.methods import Method
from experiments.common.seed_runs import SeedRuns

SHOWN = 4  # algorithms whose attacks are shown, those that end best
EXAMPLES = 10  # attacks of each kind that are shown
MODES = ("algorithm", *addition_modes.MODES, "distinct")


def modes(sequences: Sequences, rewards, max_digits: int) -> dict[str, dict[str, int]]:
    """How many proposals, and how many of those that succeed, are of each mode."""
    texts = strings_of(sequences)
    won = [text for text, reward in zip(texts, np.asarray(rewards), strict=True) if reward > 0]
    return {
        "proposed": addition_modes.count(texts, max_digits),
        "succeeded": addition_modes.count(won, max_digits)
        | {"distinct": len(set(won)), "all": len(won)},
    }


def watch(prepared, title: str, seeds, done: int, metrics, snapshot: np.ndarray) -> None:
    """Prints where each seed stands after a block of rounds, and attacks among fresh samples."""
    for seed, rates, tokens in zip(seeds, metrics["success_rate"], snapshot, strict=True):
        won = list(attacks(prepared, tokens))
        such = f", such as {', '.join(won[:3])}" if won else ""
        rate = report.format_value(float(rates[-1]))
        print(f"  {title}, seed {seed}, round {done}: {rate} succeed{such}", flush=True)


def attacks(prepared, tokens: np.ndarray) -> dict[str, None]:
    """Those of proposals [n, length] that succeed, each once, with the target's answers."""
    drawn = as_sequences(tokens)
    verdict = prepared.oracle.compiled_judge(drawn)
    rows = zip(strings_of(drawn), strings_of(verdict.answers), verdict.reward, strict=True)
    return {f"{text} {answer}": None for text, answer, reward in rows if reward > 0}


def proposals(result: SeedRuns) -> Sequences:
    """What the last generators of all seeds drew."""
    return as_sequences(result.snapshots[:, -1].reshape(-1, result.snapshots.shape[-1]))


def as_sequences(tokens: np.ndarray) -> Sequences:
    """Sampled tokens [n, length] with the mask that they were sampled with."""
    drawn = jnp.asarray(tokens)
    ended = jnp.cumsum(drawn == EOS, axis=1)
    return Sequences(drawn, (ended == 0) | ((ended == 1) & (drawn == EOS)))


def what_was_found(
    config, prepared, results: Mapping[str, SeedRuns], methods: Mapping[str, Method]
):
    """Failure modes of each algorithm's last proposals, and attacks as text (Figure 6).

    Returns:
      `modes`: rows of a table, percent of the proposals and of those that succeed;
      `counts`: the numbers behind it; `text`: successes and failures of what ends best.
    """
    counts = {"the prior": prepared.modes}
    verdicts = {}
    for name, result in results.items():
        drawn = proposals(result)
        verdicts[name] = (drawn, prepared.oracle.compiled_judge(drawn))
        counts[methods[name].title] = modes(
            drawn, verdicts[name][1].reward, config.task.grammar.max_digits
        )
    table = []
    for title, kinds in counts.items():
        all_, won = sum(kinds["proposed"].values()), kinds["succeeded"]["all"]
        share = lambda kind, of: f"{100 * kind / of:.0f}" if of else "-"
        table.append(
            {"algorithm": title, "distinct": f"{kinds['succeeded']['distinct']} of {won}"}
            | {
                mode: f"{share(kinds['proposed'][mode], all_)} | "
                + share(kinds["succeeded"][mode], won)
                for mode in addition_modes.MODES
            }
        )
    learners = [name for name in results if not methods[name].control] or list(results)
    ends = lambda name: np.median(results[name].final["successes"])
    best = sorted(learners, key=ends, reverse=True)[:SHOWN]
    after = lambda name: f"{methods[name].title}, after the last round:\n\n"
    text = "\n\n".join(after(name) + examples(*verdicts[name]) for name in best)
    return {"modes": table, "counts": counts, "text": text}


def examples(drawn: Sequences, verdict) -> str:
    """Successes left and failures right, the first distinct ones, with what the target said."""
    queries, answers = strings_of(drawn), strings_of(verdict.answers)
    columns: list[list[str]] = []
    for reward in (1, 0):
        lines: dict[str, None] = {}  # in order, each once
        for query, answer, valid, got in zip(
            queries, answers, verdict.valid, verdict.reward, strict=True
        ):
            if int(got) == reward:
                lines[f"{query} {answer}" if valid else f"{query or '(empty)'} (malformed)"] = None
        columns.append(list(lines)[:EXAMPLES])
    left, right = columns
    width = max([len("successful"), *map(len, left)]) + 4
    printed = [("successful", "failed")] + [
        (left[i] if i < len(left) else "", right[i] if i < len(right) else "")
        for i in range(max(len(left), len(right)))
    ]
    return "\n".join(f"{one:<{width}}{other}".rstrip() for one, other in printed)
