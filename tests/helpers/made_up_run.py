"""A run's folder of any size, written in a moment: what a page would be drawn of."""

import json
import sqlite3
import time
from pathlib import Path

import numpy as np

from banel_jax.oracle import schema

LENGTH = 6


def write(
    folder: Path,
    rounds: int,
    m: int = 20,
    wanted: int | None = None,
    states: dict[int, str] | None = None,
    rates=None,
    reasons=("timed out after 600 s", "exit status 1: docking did not converge"),
) -> Path:
    """Writes config, metrics, timings and ledger.

    Args:
      folder: is made.
      rounds: that are told.
      m: rows a round.
      wanted: rounds asked for.
      states: of rows of one more round that is not told, by index; the others are pending.
      rates: success rate by round; one that grows where it is None.
      reasons: of failed rows, in turn.
    """
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    settings = {"num_candidates": m, "seed": 0, "may_change": {"rounds": wanted or rounds or 30}}
    config = {"run": settings, "algorithm": {"name": "banel", "settings": {"kappa": 1.5}}}
    (folder / "config.json").write_text(json.dumps(config))
    rates = 0.002 * 1.15 ** np.minimum(np.arange(rounds), 30) if rates is None else rates
    rows, metrics, timings, met, now = [], [], [], 0, time.time()
    for round in range(rounds + bool(states)):
        for index in range(m):
            row = round * m + index
            state = states.get(index, "pending") if states and round == rounds else "done"
            rate = rates[round] if round < rounds else 0.0
            reward = float(rng.random() < rate) if state == "done" else None
            reason = reasons[row % len(reasons)] if state == "failed" else None
            tokens = rng.integers(0, 9, LENGTH).astype("<i4").tobytes()
            asked = None if state == "pending" else now - 60
            met += reward == 1
            rows.append(
                (row, round, index, tokens, b"\1" * LENGTH, state, reason,
                 reward, int(state != "pending"), asked, 0)
            )  # fmt: skip
        if round < rounds:
            far = round / (round + 10)
            metrics.append({
                "round": round, "num_reward_evaluations": (round + 1) * m, "num_successes": met,
                "successes": 0.0, "acceptance": 0.5 * 0.9 ** min(round, 40) + 1e-4,
                "proposals_found": 1.0, "entropy": 9 - 4 * far + rng.normal() / 9,
                "kl_to_base": 6 * far + rng.normal() / 20, "duplicate_rate": 0.1 * far,
                "effective_sample_size": 200 - 100 * far, "failure_train_loss": 8 - 3 * far,
                "failure_validation_loss": "nan" if round == 0 else 8 - 2 * far,
                "failure_gap": "nan" if round == 0 else far, "failure_epochs": 5.0,
            })  # fmt: skip
            timings.append({"round": round, "ask": 0.8, "oracle": 25.0, "tell": 6.0,
                            "evaluate": 0.0, "checkpoint": 0.2})  # fmt: skip
    for name, records in (("metrics", metrics), ("timings", timings)):
        text = "".join(json.dumps(record) + "\n" for record in records)
        (folder / f"{name}.jsonl").write_text(text)
    with sqlite3.connect(folder / "oracle.sqlite") as database:
        database.execute("PRAGMA journal_mode = WAL")
        schema.describe(database, "made up")
        database.executemany(
            "INSERT INTO evaluations (row, round, index_in_round, tokens, mask, state, reason, "
            f"reward, attempts, started, checksum) VALUES ({', '.join('?' * 11)})",
            rows,
        )
    database.close()
    return folder
