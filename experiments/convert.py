"""A GGUF file, as llama.cpp and its like distribute models, made a Hugging Face folder.

    python -m experiments.convert model.gguf FOLDER

The folder is a model like any other: `--prior=FOLDER` of `banel run`, `--model=FOLDER` of
`experiments.gsm8k`. Needs the extra `gguf`.
"""

import time
from dataclasses import dataclass

from banel_jax import checks
from banel_jax.models.language import gguf
from experiments.common import flags


@dataclass(frozen=True)
class Config:
    """What is converted.

    Attributes:
      file: of GGUF, of the architecture llama, qwen2, qwen3 or gpt2.
      folder: to write to; made if need be.
      shard_bytes: of a file of weights; converting takes as much memory.
    """

    file: str = ""
    folder: str = ""
    shard_bytes: int = 2_000_000_000

    def __post_init__(self):
        checks.integers(self, "shard_bytes", at_least=1)


def main(config: Config) -> None:
    if not config.file or not config.folder:
        raise ValueError("give the file and the folder: model.gguf FOLDER")
    started = time.perf_counter()
    gguf.convert(config.file, config.folder, config.shard_bytes)
    print(f"written: {config.folder} ({time.perf_counter() - started:.0f} s)")


if __name__ == "__main__":
    flags.run(main, Config(), resumes=False, positional=("file", "folder"))
