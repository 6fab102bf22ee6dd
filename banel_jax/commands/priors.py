"""A prior by its name: a folder, a file, a task, or a function."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax

from banel_jax import files, prior_files, sampling
from banel_jax.checks import one_line
from banel_jax.commands import devices, named
from banel_jax.commands.settings import What
from banel_jax.models.language import named_models
from banel_jax.models.language.model_files import CONVERT
from banel_jax.oracle.known import Known
from banel_jax.oracle.known import read as read_known
from banel_jax.runs.model_check import vocab_size
from banel_jax.strings import prior as string_prior
from banel_jax.tasks.gaussian_1d import Gaussian1DConfig, gaussian_1d
from banel_jax.tasks.two_circles import TwoCirclesConfig, two_circles
from banel_jax.types import Params, SequenceModel, Sequences, Task
from banel_jax.vocabulary import Vocabulary

TASKS: dict[str, Callable[[], Task]] = {
    "two_circles": lambda: two_circles(TwoCirclesConfig()),
    "gaussian_1d": lambda: gaussian_1d(Gaussian1DConfig()),
}
Text = Callable[[Sequences], Sequence[str]]


class Found(NamedTuple):
    """A prior.

    Attributes:
      model, params: of it.
      text: `text(sequences [n]) -> n texts`; None where nothing renders them.
      vocabulary: of the texts, where they are strings of tokens; None else.
      reward_fn: of a task; None without one.
      is_language_model: whether it is, whose adapters are trained unless told otherwise.
    """

    model: SequenceModel
    params: Params
    text: Text | None = None
    vocabulary: Vocabulary | None = None
    reward_fn: Callable[[Sequences], Any] | None = None
    is_language_model: bool = False


def prior(what: What) -> Found:
    """The prior of a run, and its text.

    Raises:
      ValueError: in one line that names the flag.
    """
    if not what.prior:
        raise ValueError(
            "there is no --prior; give a folder, a file, a task or module:function, as --help tells"
        )
    path = files.expand(what.prior)
    if what.prior in TASKS:
        found = _of_task(TASKS[what.prior]())
    elif named_models.is_name(what.prior):
        found = _language_model(what)
    elif path.is_dir():
        found = _of_folder(path, what)
    elif path.suffix == ".gguf" and path.is_file():
        raise ValueError(f"--prior={what.prior} is a file of GGUF; {CONVERT}")
    elif path.is_file():
        found = Found(*prior_files.with_model(path))
    elif named.is_name(what.prior):
        found = _of(named.found("prior", what.prior), what.prior)
    else:
        raise ValueError(
            f"--prior={what.prior} is no folder, no file, none of the tasks {', '.join(TASKS)}, "
            f"none of the models {', '.join(named_models.NAMED)}, and not module:function"
        )
    return _with_text(found, what.text) if what.text else found


def _of(value: Any, name: str) -> Found:
    """What stands under a name, or what it returns."""
    if callable(value) and not isinstance(value, tuple):
        try:
            value = value()
        except Exception as error:
            raise ValueError(
                f"--prior={name} raised {type(error).__name__}: {one_line(error)}"
            ) from error
    if isinstance(value, Task):
        return _of_task(value)
    if isinstance(value, string_prior.StringPrior):
        return _of_strings(value)
    if isinstance(value, tuple | list) and len(value) >= 2 and isinstance(value[0], SequenceModel):
        return Found(value[0], value[1])
    raise ValueError(
        f"--prior={name} is a {type(value).__name__}; give a Task, a pair (SequenceModel, params), "
        "or a function without arguments that returns one"
    )


def _of_task(task: Task) -> Found:
    sample = task.targets
    if sample is None:
        sample = sampling.sample(task.prior, jax.random.key(0), task.prior_params, 1)[0]
    first = jax.tree.map(lambda x: x[:1], sample)
    rendered = task.render(first)
    texts = len(rendered) == 1 and isinstance(rendered[0], str)
    text = task.render if texts else None
    return Found(task.prior, task.prior_params, text, reward_fn=task.reward_fn)


def _of_folder(folder: Path, what: What) -> Found:
    """A prior of strings, or a language model."""
    if not string_prior.is_prior(folder):
        if not what.prompt and not (folder / "config.json").exists():
            raise ValueError(
                f"--prior={folder} has neither {string_prior.ABOUT}, of a prior of strings, nor "
                "config.json, of a language model; name the folder of one"
            )
        return _language_model(what)
    if what.prompt:
        raise ValueError(f"--prior={folder} is a prior of strings, which take no --prompt")
    return _of_strings(string_prior.load_prior(folder))


def _of_strings(value: string_prior.StringPrior) -> Found:
    return Found(value.model, value.params, value.vocabulary.strings_of, value.vocabulary)


def _language_model(what: What) -> Found:
    from banel_jax.models.language import prompted

    if not what.prompt:
        raise ValueError(f"--prior={what.prior} is a language model; give it a --prompt")
    with devices.spread(what):  # which may split its weights
        found = prompted.load(what.prior, what.prompt, what.max_new_tokens)
    text = found._replace(params=None).text  # which needs none of the weights
    return Found(found.model, found.params, text, is_language_model=True)


def known(what: What, found: Found) -> Known | None:
    """What is known before the run; texts where a vocabulary tells what they are.

    Raises:
      OSError, ValueError: as `oracle.known.read`.
    """
    if not what.known:
        return None
    sequence, _ = jax.eval_shape(found.model.sample, jax.random.key(0), found.params)
    (length,) = sequence.tokens.shape
    words = found.vocabulary
    encode = partial(words.sequences_of, length=length) if words else None
    return read_known(what.known, length, encode)


def _with_text(found: Found, name: str) -> Found:
    """With the text that is named in place of the prior's own."""
    kind, colon, rest = name.partition(":")
    if colon and kind == "alphabet":
        try:
            words = Vocabulary(tuple(rest.removeprefix(" ")))
        except ValueError as error:
            raise ValueError(f"--text: {error}") from error
        size = vocab_size(found.model.settings)
        if size not in (None, words.vocab_size, words.eos):  # the last for one without an end
            raise ValueError(
                f"--text={name} has {words.eos} characters, and the prior {size} tokens; give one "
                "for each but its end"
            )
        return found._replace(text=words.strings_of, vocabulary=words)
    function = named.found("text", name)
    if not callable(function):
        raise ValueError(f"--text={name} is a {type(function).__name__}; name a function")
    return found._replace(text=cast(Text, function), vocabulary=None)
