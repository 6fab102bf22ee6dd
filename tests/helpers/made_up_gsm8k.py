"""Problems made up here in place of GSM8K's, and a small model trained on them."""

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from banel_jax.tasks.gsm8k import data as gsm8k_data
from banel_jax.tasks.gsm8k.data import Problem
from experiments.gsm8k import pretrain as gsm8k_pretrain

PROBLEMS = [
    Problem(f"Tom has {i} eggs and eats {i % 3}.", f"He has <<{i}>>{i} left.\n#### {i}", str(i))
    for i in range(3, 63)
]
LINES = {"train": len(PROBLEMS), "test": len(PROBLEMS)}


@contextmanager
def in_place(folder: Path) -> Iterator[Path]:
    """They are written into the folder, and the reader of GSM8K's files takes them for these."""
    for split in LINES:
        lines = [json.dumps({"question": p.question, "answer": p.answer}) for p in PROBLEMS]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gsm8k_data, "LINES", LINES)
        yield folder


def train_stand_in(data: Path, folder: Path) -> None:
    smoke = gsm8k_pretrain.PRESETS["smoke"]
    gsm8k_pretrain.main(
        dataclasses.replace(smoke, data_dir=str(data), folder=str(folder), length=120)
    )
