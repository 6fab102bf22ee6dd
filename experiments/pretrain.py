"""A prior of strings, from a file of them: a transformer over their tokens.

    python -m experiments.pretrain --data=FILE --output=FOLDER

reads lines, a column of CSV or Parquet or a field of JSON lines (packed by gzip or not), holds some
strings out, trains until these become no likelier, and says what the prior draws. Stopped, even
killed, the same command goes on. `banel run --prior=FOLDER` starts from what it made.
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import jax
import numpy as np

from banel_jax import checks
from banel_jax.commands import named
from banel_jax.models.transformer import transformer
from banel_jax.strings import preparing, reading
from banel_jax.strings import prior as string_prior
from banel_jax.strings.preparing import StringPriorConfig
from banel_jax.strings.report import report as report_of
from experiments.common import flags, report


@dataclass(frozen=True, kw_only=True)
class Config(StringPriorConfig):
    """Settings of a prior of strings, and where its strings are.

    Attributes:
      data: file of the strings: .csv, .tsv, .jsonl, .parquet (by pyarrow), .fasta, or lines; also
        with .gz after it.
      column: of a table; by default its only one, or the one called text, string, sequence or
        smiles.
      output: folder of the prior.
      samples: to draw for the report.
      checker: module:function of a string, true for a valid one; by default none.
    """

    main_flags: ClassVar[tuple[str, ...]] = (
        "data", "output", "column", "tokens", "length", "too_long", "held_out", "num_layers",
        "width", "training.epochs", "training.batch_size", "samples", "checker",
    )  # fmt: skip

    data: str = ""
    column: str = ""
    output: str = ""
    samples: int = 1000
    checker: str = ""

    def __post_init__(self):
        super().__post_init__()
        checks.integers(self, "samples", at_least=1)

    @property
    def prior(self) -> StringPriorConfig:
        own = dataclasses.fields(StringPriorConfig)
        return StringPriorConfig(**{field.name: getattr(self, field.name) for field in own})


def main(config: Config) -> None:
    for name in ("data", "output"):
        if not getattr(config, name):
            raise ValueError(f"there is no --{name}; give --data=FILE --output=FOLDER")
    checker = named.found("checker", config.checker) if config.checker else None
    if checker and not callable(checker):
        raise ValueError(
            f"--checker={config.checker} is a {type(checker).__name__}; name a function"
        )
    strings = reading.read_strings(config.data, config.column)
    prepared = preparing.prepare(strings, config.prior)
    mask, held_out = np.asarray(prepared.sequences.mask), np.asarray(prepared.held_out) > 0
    model = transformer(string_prior.network(prepared, config.prior))
    size = sum(x.size for x in jax.tree.leaves(jax.eval_shape(model.init, jax.random.key(0))))
    left_out = f", {prepared.left_out:,} too long ones left out" if prepared.left_out else ""
    print(
        f"{len(strings):,} strings, {prepared.different:,} of them different{left_out}; "
        f"{held_out.sum():,} held out; {mask[~held_out].sum():,} tokens to train on, "
        f"{mask.shape[1]} a string at most; {prepared.vocabulary.vocab_size:,} tokens of "
        f"vocabulary; {size:,} parameters",
        flush=True,
    )
    prior = string_prior.trained(prepared, config.output, config.prior)
    about = string_prior.described(config.output)
    print(
        f"held out: {about['held_out_nats_a_token']:.4f} nats a token, after {about['epochs']} "
        "epochs",
        flush=True,
    )
    found = report_of(prior, strings, config.samples, checker, config.seed)
    report.write_json(report.output_folder(config.output) / "report.json", found)
    print(in_words(found))
    print(f"written: {config.output}; banel run RUN --prior={config.output} --oracle=MODULE:NAME")


def in_words(found: dict) -> str:
    """A report for a terminal."""
    text = (
        f"{found['samples']:,} samples of {found['mean_tokens']:.1f} tokens: "
        f"{found['unique']:.1%} different, {found['novel']:.1%} of these new, "
        f"{found['unended']:.1%} cut off"
    )
    if "valid" in found:
        low, high = found["valid_interval"]
        text += (
            f"; {found['valid']:.1%} valid [{low:.1%}, {high:.1%}], and "
            f"{found['valid_strings']:.1%} of the strings themselves"
        )
    shown = [one if one.isprintable() else repr(one) for one in found["examples"]]
    return "\n  ".join([f"{text}; such as", *(one[: report.WIDTH] for one in shown)])


if __name__ == "__main__":
    flags.run(main, Config())
