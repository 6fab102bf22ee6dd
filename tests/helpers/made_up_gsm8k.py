"""Problems made up here in place of GSM8K's, and a small model trained on them."""

import dataclasses
import json
from pathlib import Path

from banel_jax.tasks.gsm8k.data import Problem
from experiments.gsm8k import pretrain as gsm8k_pretrain

PROBLEMS = [
    Problem(f"Tom has {i} eggs and eats {i % 3}.", f"He has <<{i}>>{i} left.\n#### {i}", str(i))
    for i in range(3, 63)
]
LINES = {"train": len(PROBLEMS), "test": len(PROBLEMS)}


def write(folder: Path) -> None:
    for split in LINES:
        lines = [json.dumps({"question": p.question, "answer": p.answer}) for p in PROBLEMS]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")


def train_stand_in(data: Path, folder: Path) -> None:
    smoke = gsm8k_pretrain.PRESETS["smoke"]
    gsm8k_pretrain.main(
        dataclasses.replace(smoke, data_dir=str(data), folder=str(folder), length=120)
    )
