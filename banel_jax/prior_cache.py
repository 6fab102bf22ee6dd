"""Pretrained priors on disk: trained once, found again by their configuration."""

import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Collection
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from banel_jax import files, numerics, prior_files, training
from banel_jax.pretraining import fit_by_epochs
from banel_jax.prior_files import CONFIG, METRICS, TRAINING, VERSION
from banel_jax.runs import fingerprint, naming
from banel_jax.runs import folder as run_folder
from banel_jax.runs.checkpoint import Checkpoints
from banel_jax.runs.model_check import check_data
from banel_jax.runs.progress import on_terminal
from banel_jax.types import Params, SequenceModel, Sequences

ANOTHER = "name another file, or none to pretrain one"


class Prior(NamedTuple):
    """A pretrained model.

    Attributes:
      model, params: of it.
      metrics: held_out_nats (a sequence) and epochs (that ran).
      file: where it is kept, if it is.
    """

    model: SequenceModel
    params: Params
    metrics: dict[str, float]
    file: Path = Path()


def pretrained(
    cache_dir: str | os.PathLike,
    name: str,
    config: Any,
    model: SequenceModel,
    pretraining: training.TrainingConfig,
    seed: int,
    data: Callable[[], tuple[Sequences, Float[Array, " n"]]],
    file: str | os.PathLike | None = None,
    without: Collection[str] = (),
    epoch_rows: int = 0,
    mend: str = ANOTHER,
) -> Prior:
    """A prior fitted to data with early stopping, from the cache or trained now.

    It is known by its data, the settings of the model and of the fit, the seed, and `config`,
    whose names say what differs where a file is refused.

    Args:
      cache_dir, name, file, mend: as for `load_or_train`, and errors as there.
      config: what the caller wants it to be known by: a dict, or a dataclass, of plain values.
      model: to pretrain, from its own initialisation.
      pretraining: the fit.
      seed: of initialisation and fit.
      data: `data() -> (sequences [n, length], held_out [n])`, 1 for the rows that are held out.
      without: fields of a dataclass `config` that the prior does not depend on.
      epoch_rows: as for `fit_by_epochs`.

    Raises:
      ValueError: also for data that are none of this model's, as `model_check.check_data` tells.
    """
    init_key, fit_key = jax.random.split(jax.random.key(seed))
    sequences, held_out = data()
    config = naming.plain(config)
    config = (config.without(without) if without else config) | {
        TRAINING: {
            "data": fingerprint.of_arrays((sequences.tokens, sequences.mask, held_out)),
            "model": naming.plain(model.settings),
            "fit": naming.plain(pretraining),
            "seed": seed,
        }
        | ({"epoch_rows": epoch_rows} if epoch_rows else {})
    }
    known_by = config | {VERSION: numerics.VERSION}
    cached = _file(cache_dir, name, known_by)
    folder = cached.with_suffix(".training")

    like = jax.eval_shape(model.init, init_key)
    with ExitStack() as stack:  # held until the prior is on disk

        def train():
            check_data(model, sequences)
            stack.enter_context(run_folder.hold(folder))
            checkpoints = Checkpoints(folder, naming.identity(config))
            stack.enter_context(closing(checkpoints))
            fitted = fit_by_epochs(
                model, pretraining, fit_key, model.init(init_key), sequences, held_out,
                checkpoints, f"pretraining {name}", epoch_rows,
            )  # fmt: skip
            checkpoints.wait()
            stale.append(folder)
            return fitted

        stale: list[Path] = []
        params, metrics = load_or_train(cache_dir, name, config, like, train, file, mend)
    for folder in stale:
        shutil.rmtree(folder, ignore_errors=True)
    return Prior(model, params, metrics, files.expand(file) if file else cached)


def load_or_train(
    cache_dir: str | os.PathLike,
    name: str,
    config: Any,
    like: Params,
    train: Callable[[], tuple[Params, dict[str, float]]],
    file: str | os.PathLike | None = None,
    mend: str = ANOTHER,
) -> tuple[Params, dict[str, float]]:
    """The prior that was trained under this configuration, or else trains and keeps it.

    Args:
      cache_dir: the folder of the cache; made if missing.
      name: begins the file's name, `<name>-<identity of the configuration>.npz`.
      config: what determines the parameters, beside the version of the numerics: a dict, or a
        dataclass, of plain values.
      like: a pytree of arrays or `jax.ShapeDtypeStruct`s, as `train` returns it.
      train: `train() -> (params, metrics)`; called only where there is no file.
      file: a file to take the prior from, whatever its name and the version that it was made by.
      mend: what to do about such a file that is refused.

    Returns:
      (parameters, metrics), the same whether trained or found.

    Raises:
      ValueError: if the folder cannot be written, or the file is corrupt or of another
        configuration or model. The file stays as it was.
    """
    known_by = naming.plain(config) | {VERSION: numerics.VERSION}
    if file:
        file = files.expand(file)
        if not file.is_file():
            raise ValueError(f"there is no prior {file}; {mend}")
        return prior_files.load(file, known_by, like, mend, of_any_version=True)
    cached = _file(cache_dir, name, known_by)
    if cached.exists():
        return prior_files.load(cached, known_by, like, f"delete {cached} to pretrain again")
    with _written(cached):  # found out before the work
        cached.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cached.parent):
            pass
    start = time.monotonic()
    _say(f"pretraining the prior of {name} ...")
    params, metrics = train()
    metrics = {key: float(value) for key, value in metrics.items()}
    _say(f" done in {time.monotonic() - start:.0f} s\n")
    arrays = {
        CONFIG: np.array(json.dumps(naming.written(known_by))),
        METRICS: np.array(json.dumps(metrics)),
    }
    arrays |= {
        prior_files.array_name(path): np.asarray(leaf) for path, leaf in prior_files.leaves(params)
    }
    with _written(cached), files.replacing(cached) as out:
        np.savez(out, **arrays)  # type: ignore[arg-type]
    return params, metrics


@contextlib.contextmanager
def _written(file):
    """An error of the file system as one line."""
    try:
        yield
    except OSError as error:
        raise ValueError(
            f"the prior's cache folder {file.parent} cannot be written ({error.strerror}); choose "
            "another, or make room"
        ) from error


def _file(cache_dir, name, known_by):
    place = lambda identity: files.expand(cache_dir) / f"{name}-{identity}.npz"
    return place(naming.name_at(place, known_by))


def _say(text):
    if on_terminal():
        print(text, end="", file=sys.stderr, flush=True)
