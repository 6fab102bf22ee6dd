"""A prior by its name: a folder, a file, a task, or a function."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import jax

from banel_jax import files, prior_files, sampling
from banel_jax.commands import named
from banel_jax.commands.settings import What
from banel_jax.models.language import named_models
from banel_jax.models.language.model_files import CONVERT
from banel_jax.oracle.known import Known
from banel_jax.oracle.known import read as read_known
from banel_jax.oracle.values import one_line
from banel_jax.tasks.gaussian_1d import Gaussian1DConfig, gaussian_1d
from banel_jax.tasks.strings import Alphabet
from banel_jax.tasks.two_circles import TwoCirclesConfig, two_circles
from banel_jax.types import Params, SequenceModel, Sequences, Task

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
      reward_fn: of a task; None without one.
      is_language_model: whether it is, whose adapters are trained unless told otherwise.
    """

    model: SequenceModel
    params: Params
    text: Text | None = None
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
    elif path.is_dir() or what.prior in named_models.NAMED:
        found = _language_model(what)
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
    return found._replace(text=_text(what.text)) if what.text else found


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
    return Found(task.prior, task.prior_params, task.render if texts else None, task.reward_fn)


def _language_model(what: What) -> Found:
    from banel_jax.models.language import prompted

    if not what.prompt:
        raise ValueError(f"--prior={what.prior} is a language model; give it a --prompt")
    found = prompted.load(what.prior, what.prompt, what.max_new_tokens)
    text = found._replace(params=None).text  # which needs none of the weights
    return Found(found.model, found.params, text, is_language_model=True)


def known(what: What, found: Found) -> Known | None:
    """What is known before the run; texts where an alphabet tells what they are.

    Raises:
      OSError, ValueError: as `oracle.known.read`.
    """
    if not what.known:
        return None
    sequence, _ = jax.eval_shape(found.model.sample, jax.random.key(0), found.params)
    (length,) = sequence.tokens.shape
    alphabet = _alphabet(what.text)
    encode = partial(alphabet.encode, length=length) if alphabet else None
    return read_known(what.known, length, encode)


def _alphabet(name: str) -> Alphabet | None:
    kind, colon, rest = name.partition(":")
    if not colon or kind != "alphabet":
        return None
    try:
        return Alphabet(rest.removeprefix(" "))
    except ValueError as error:
        raise ValueError(f"--text: {error}") from error


def _text(name: str) -> Text:
    if alphabet := _alphabet(name):
        return alphabet.decode
    function = named.found("text", name)
    if not callable(function):
        raise ValueError(f"--text={name} is a {type(function).__name__}; name a function")
    return cast(Text, function)
