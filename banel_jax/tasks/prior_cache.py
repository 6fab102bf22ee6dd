"""Pretrained priors on disk: trained once, found again by their configuration."""

import dataclasses
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from banel_jax import naming, run_folder, training
from banel_jax.checkpoint import Checkpoints
from banel_jax.types import Params, SequenceModel, Sequences

CONFIG, METRICS, PARAMS = "config", "metrics", "params"  # names of the arrays in a file


class Prior(NamedTuple):
    """A pretrained model; metrics: held_out_nats (a sequence) and epochs (that ran)."""

    model: SequenceModel
    params: Params
    metrics: dict[str, float]


def pretrained(
    cache_dir: str | os.PathLike,
    name: str,
    config: Any,
    model: SequenceModel,
    pretraining: training.TrainingConfig,
    seed: int,
    data: Callable[[], tuple[Sequences, Float[Array, " n"]]],
    file: str | os.PathLike | None = None,
) -> Prior:
    """A prior fitted to data with early stopping, from the cache or trained now.

    Args:
      cache_dir, name, config, file: as for `load_or_train`, and errors as there.
      model: to pretrain, from its own initialisation.
      pretraining: the fit.
      seed: of initialisation and fit.
      data: `data() -> (sequences [n, length], held_out [n])`, 1 for the rows that are held out;
        called only where there is no file.
    """
    init_key, fit_key = jax.random.split(jax.random.key(seed))

    def train():
        sequences, held_out = data()
        folder = _file(cache_dir, name, config).with_suffix(".training")
        with ExitStack() as stack:
            stack.enter_context(run_folder.hold(folder))
            checkpoints = Checkpoints(folder, naming.identity({"fit": _text(config)}))
            stack.enter_context(closing(checkpoints))
            trained = training.fit_by_epochs(
                model, pretraining, fit_key, model.init(init_key), sequences, held_out,
                checkpoints, f"pretraining {name}",
            )  # fmt: skip
            checkpoints.wait()
        shutil.rmtree(folder, ignore_errors=True)
        return trained

    like = jax.eval_shape(model.init, init_key)
    params, metrics = load_or_train(cache_dir, name, config, like, train, file)
    return Prior(model, params, metrics)


def load_or_train(
    cache_dir: str | os.PathLike,
    name: str,
    config: Any,
    like: Params,
    train: Callable[[], tuple[Params, dict[str, float]]],
    file: str | os.PathLike | None = None,
) -> tuple[Params, dict[str, float]]:
    """The prior that was trained under this configuration, or else trains and keeps it.

    Args:
      cache_dir: the folder of the cache; made if missing.
      name: begins the file's name, `<name>-<hash of the configuration>.npz`.
      config: what determines the parameters: a dict, or a dataclass, of plain values.
      like: a pytree of arrays or `jax.ShapeDtypeStruct`s, as `train` returns it.
      train: `train() -> (params, metrics)`; called only where there is no file.
      file: a file of an earlier cache to take the prior from, whatever its name.

    Returns:
      (parameters, metrics), the same whether trained or found.

    Raises:
      ValueError: if the folder cannot be written, or the file is corrupt or of another
        configuration or model. The file stays as it was.
    """
    text = _text(config)
    if file:
        if not Path(file).is_file():
            raise ValueError(f"there is no prior {file}; name another, or none to pretrain one")
        return _load(Path(file), text, like, "name another file, or none to pretrain one")
    cached = _file(cache_dir, name, config)
    if cached.exists():
        return _load(cached, text, like, f"delete {cached} to pretrain again")
    with _temporary(cached) as temporary:
        start = time.monotonic()
        _say(f"pretraining the prior of {name} ...")
        params, metrics = train()
        metrics = {key: float(value) for key, value in metrics.items()}
        _say(f" done in {time.monotonic() - start:.0f} s\n")
        arrays = {CONFIG: np.array(text), METRICS: np.array(json.dumps(metrics))}
        arrays |= {_array_name(path): np.asarray(leaf) for path, leaf in _leaves(params)}
        np.savez(temporary, **arrays)  # type: ignore[arg-type]
        temporary.flush()
        os.fsync(temporary.fileno())
        os.replace(temporary.name, cached)
    return params, metrics


def _text(config):
    return json.dumps(_plain(config), sort_keys=True)


def _file(cache_dir, name, config):
    digest = hashlib.sha256(_text(config).encode()).hexdigest()[:16]
    return Path(cache_dir) / f"{name}-{digest}.npz"


def _load(file, text, like, mend):
    try:
        with np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        found, metrics = str(arrays.pop(CONFIG)), json.loads(str(arrays.pop(METRICS)))
    except (OSError, ValueError, KeyError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise ValueError(f"the cached prior {file} cannot be read; {mend}") from error
    if found != text:
        differences = _differences(found, text)
        raise ValueError(f"the prior {file} is of another configuration: {differences}; {mend}")
    wanted = {
        _array_name(path): (leaf.shape, jnp.dtype(leaf.dtype)) for path, leaf in _leaves(like)
    }
    if wanted != {name: (array.shape, array.dtype) for name, array in arrays.items()}:
        raise ValueError(f"the cached prior {file} is of another model; {mend}")
    restore = lambda path, _: jnp.asarray(arrays[_array_name(path)])
    return jax.tree_util.tree_map_with_path(restore, like), metrics


def _differences(found, wanted):
    """What the two differ in, as 'width is 32 there and 64 here'."""
    try:
        found, wanted = (naming.flatten(json.loads(text)) for text in (found, wanted))
    except (ValueError, AttributeError):
        return "it cannot be read"
    missing = "(absent)"
    return ", ".join(
        f"{name} is {found.get(name, missing)} there and {wanted.get(name, missing)} here"
        for name in sorted(found.keys() | wanted.keys())
        if found.get(name, missing) != wanted.get(name, missing)
    )


class _temporary:
    """A file beside `file`, gone at the end unless it was renamed."""

    def __init__(self, file: Path):
        self.file = file

    def __enter__(self):
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self.handle = tempfile.NamedTemporaryFile(
                dir=self.file.parent, prefix=self.file.stem, suffix=".tmp", delete=False
            )
        except OSError as error:
            raise ValueError(
                f"the prior's cache folder {self.file.parent} cannot be written "
                f"({error.strerror}); choose another"
            ) from error
        return self.handle

    def __exit__(self, *_):
        self.handle.close()
        Path(self.handle.name).unlink(missing_ok=True)


def _leaves(tree):
    return jax.tree_util.tree_leaves_with_path(tree)


def _array_name(path):
    return PARAMS + jax.tree_util.keystr(path)


def _plain(config):
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return dataclasses.asdict(config)
    return config


def _say(text):
    if sys.stderr.isatty():
        print(text, end="", file=sys.stderr, flush=True)
