"""A prior of strings: a transformer over their tokens, trained once and kept in a folder."""

import contextlib
import dataclasses
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from banel_jax import files, prior_cache, prior_files
from banel_jax.models.transformer import TransformerConfig, transformer
from banel_jax.runs import code_names, naming
from banel_jax.runs import folder as run_folder
from banel_jax.strings.preparing import Prepared, StringPriorConfig, prepare
from banel_jax.types import Params, SequenceModel
from banel_jax.vocabulary import Vocabulary

ABOUT = "prior.json"  # written last: a folder without it holds no prior
NAME = "strings"  # begins the name of the file of parameters
ANOTHER = "choose another folder, or delete this one"


class StringPrior(NamedTuple):
    """A model of strings.

    Attributes:
      model, params: over sequences that end with the vocabulary's end.
      vocabulary: turns them to strings, `strings_of`, and back, `sequences_of`.
    """

    model: SequenceModel
    params: Params
    vocabulary: Vocabulary


def network(prepared: Prepared, config: StringPriorConfig) -> TransformerConfig:
    """The transformer over these sequences."""
    vocabulary, length = prepared.vocabulary, prepared.sequences.tokens.shape[1]
    return config.decoder(vocabulary.vocab_size, length, vocabulary.eos)


def pretrain(
    strings: Sequence[str], folder: str | os.PathLike, config: StringPriorConfig | None = None
) -> StringPrior:
    """A prior of strings, trained into a folder, or found there.

    What is trained is a transformer over their tokens, by maximum likelihood, until strings that
    are held out become no likelier. A string that is held out is not among those trained on, and
    counts once however often it occurs; all others count as often as they occur. Stopped, even
    killed, the same call goes on, and ends with the same files.

    Args:
      strings: of the kind that is to be proposed; from a file by `read_strings`.
      folder: where the prior is kept, for `load_prior` and `banel run --prior=FOLDER`.
      config: settings; None for the defaults.

    Returns:
      The model, its parameters and its vocabulary.

    Raises:
      ValueError: in one line, for strings as `prepare` refuses them, a folder that cannot be
        written or that another process works on, and one that holds a prior of other strings or
        settings.
    """
    config = config or StringPriorConfig()
    return trained(prepare(strings, config), folder, config)


def trained(
    prepared: Prepared, folder: str | os.PathLike, config: StringPriorConfig
) -> StringPrior:
    """As `pretrain`, of strings that are prepared."""
    folder = files.expand(folder)
    vocabulary = prepared.vocabulary
    written = dataclasses.asdict(vocabulary)
    with run_folder.hold(folder):
        about = folder / ABOUT
        if not about.exists():
            _check_free(folder)
        found = prior_cache.pretrained(
            folder,
            NAME,
            {"vocabulary": code_names.digest(json.dumps(written).encode())},
            transformer(network(prepared, config)),
            config.training,
            config.seed,
            lambda: (prepared.sequences, prepared.held_out),
            file=folder / described(folder)["parameters"] if about.exists() else None,
            epoch_rows=config.epoch_rows,
            mend=ANOTHER,
        )
        if not about.exists():
            _remove_others(folder, found.file)
            _describe(folder, prepared, config, found)
    return StringPrior(found.model, found.params, vocabulary)


def _check_free(folder: Path) -> None:
    others = sorted(n for n in os.listdir(folder) if not n.startswith((".", f"{NAME}-")))
    if others:
        raise ValueError(f"{folder} holds {others[0]}, which is no prior of strings; {ANOTHER}")


def _remove_others(folder: Path, file: Path) -> None:
    """What fits with other settings left that did not end."""
    files.sweep(folder)
    for path in folder.glob(f"{NAME}-*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path != file:
            path.unlink()


def _describe(folder, prepared, config, found):
    mask, held_out = np.asarray(prepared.sequences.mask), np.asarray(prepared.held_out)
    about = {
        "parameters": found.file.name,
        "held_out_nats_a_token": found.metrics["held_out_nats"] / mask[held_out > 0].sum(1).mean(),
        "epochs": int(found.metrics["epochs"]),
        "strings": {
            "different": prepared.different,
            "trained_on": int((held_out == 0).sum()),
            "held_out": int(held_out.sum()),
            "too_long": prepared.left_out,
        },
        "settings": naming.plain(config),
        "vocabulary": dataclasses.asdict(prepared.vocabulary),
    }
    files.write_atomically(folder / ABOUT, json.dumps(about, indent=1) + "\n")


def is_prior(folder: Path) -> bool:
    """Whether a folder holds a prior of strings."""
    return (folder / ABOUT).exists()


def load_prior(folder: str | os.PathLike) -> StringPrior:
    """The prior that `pretrain` keeps in a folder.

    Args:
      folder: that was given to it.

    Returns:
      The model, its parameters and its vocabulary.

    Raises:
      ValueError: in one line that names the file, for a folder without one and for what is
        damaged.
    """
    folder = files.expand(folder)
    if not is_prior(folder):
        raise ValueError(f"{folder} has no {ABOUT}, and so no prior of strings that is whole")
    about = described(folder)
    try:
        vocabulary = Vocabulary(**about["vocabulary"])
    except (TypeError, ValueError) as error:
        raise ValueError(f"{folder / ABOUT} has a damaged vocabulary ({error}); {MEND}") from error
    model, params = prior_files.with_model(folder / about["parameters"])
    sizes = [getattr(model.settings, name, None) for name in ("vocab_size", "eos_token")]
    if sizes != [vocabulary.vocab_size, vocabulary.eos]:
        raise ValueError(
            f"{folder / ABOUT} has {vocabulary.vocab_size} tokens, and the model in "
            f"{about['parameters']} {sizes[0]}; {MEND}"
        )
    return StringPrior(model, params, vocabulary)


MEND = "put the folder back from a copy, or pretrain into another"


def described(folder: str | os.PathLike) -> dict[str, Any]:
    """What a prior's folder says of it, as `pretrain` wrote it.

    Raises:
      ValueError: in one line, where it is damaged.
    """
    path = files.expand(folder) / ABOUT
    with contextlib.suppress(OSError):
        about = files.read_object(path, MEND)
        name = about.get("parameters")
        if isinstance(name, str) and name == Path(name).name and "vocabulary" in about:
            return about
    raise ValueError(f"{path} is damaged; {MEND}")
