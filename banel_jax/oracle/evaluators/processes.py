"""A function in processes of its own, which can be ended."""

import multiprocessing.spawn
import os
import pickle
import sys
from collections.abc import Callable
from typing import Any

from banel_jax.checks import one_line
from banel_jax.oracle.answers import Failed, OracleError, Pending, Raised, WorkerDied
from banel_jax.oracle.calls import Call, each
from banel_jax.oracle.evaluators import worker
from banel_jax.oracle.evaluators.child import Child, Holder
from banel_jax.oracle.evaluators.pool import Pool
from banel_jax.oracle.evaluators.protocol import check_function


class processes(Pool):
    """A function in worker processes, which live long and are ended when a call takes too long.

    A worker that is out of time, or dies, is ended with all that it started, and another takes its
    place. They begin anew, not as forks of this process, and load JAX only if the function does.
    What the function prints is kept for the reason of a failure, and told by `logging` at INFO.
    They end when this process does, even by `kill -9`.

    Args:
      fn: as for `in_place`, or its name as "module:function". It must be at the top of a module
        that the workers can import, which the script that is run is as well if it begins its work
        under `if __name__ == "__main__":`; others need the package cloudpickle.
      workers: how many processes; None for one a core.
      start_seconds: in which a worker must have loaded the function.

    Raises:
      ValueError: for a function that cannot be given to another process.
    """

    can_end = "yes"

    def __init__(
        self, fn: Callable | str, workers: int | None = None, start_seconds: float = 300.0
    ):
        if os.environ.get(worker.LOADING) == str(os.getpid()):
            raise RuntimeError(
                "the script begins a run when a worker imports it; put what it does under "
                "if __name__ == '__main__':"
            )
        start = _start(fn)
        super().__init__(workers or os.cpu_count() or 1, lambda: _Process(start, start_seconds))


def _start(fn: Any) -> dict[str, Any]:
    """What a worker needs to load a function."""
    start: dict[str, Any] = dict.fromkeys(("main", "name", "function")) | {
        "path": sys.path,
        "each": False,
    }
    if isinstance(fn, str):
        module, colon, name = fn.partition(":")
        if not colon or not all(part.isidentifier() for part in f"{module}.{name}".split(".")):
            raise ValueError(f"processes was given {fn!r}; name a function as 'module:function'")
        return start | {"name": fn}
    check_function(fn, "processes", "give it to asynchronous(fn)")
    if isinstance(fn, each):
        return _start(fn.fn) | {"each": True}
    script = sys.modules["__main__"]
    imported = getattr(script, "__file__", None) or getattr(script, "__spec__", None)
    try:
        data = pickle.dumps(fn)
        in_main = b"__main__" in data
        if in_main and not imported:
            raise pickle.PicklingError("it is of a session that no other process can import")
    except Exception as error:
        return start | {"function": _by_value(fn, error)}
    if in_main:
        main = multiprocessing.spawn.get_preparation_data("oracle")
        start["main"] = {name: value for name, value in main.items() if name != "authkey"}
    return start | {"function": data}


def _by_value(fn: Any, error: Exception) -> bytes:
    try:
        import cloudpickle
    except ImportError:
        raise ValueError(
            f"processes cannot give {repr(fn)[:60]} to another process ({one_line(error)}); put it "
            "at the top of a module, or install cloudpickle"
        ) from error
    try:
        return cloudpickle.dumps(fn)
    except Exception as failure:
        raise ValueError(
            f"processes cannot give {repr(fn)[:60]} to another process: {one_line(failure)}"
        ) from failure


class _Process(Holder):
    """One worker process, which is begun when there is work."""

    def __init__(self, start: dict[str, Any], start_seconds: float):
        super().__init__()
        self._start, self._seconds = start, start_seconds

    def work(self, call: Call, begun: Callable[[], bool]) -> Any:
        try:
            if self._child and not self._child.is_ready():
                self._drop()
            child = self._child or self._begin()
            if begun():
                return _told(_exchange(child, call.__reduce__()[1]))
        except BaseException:
            self._drop()
            raise

    def _begin(self) -> Child:
        child = self._child = Child([sys.executable, "-u", worker.__file__])
        try:
            said = _exchange(child, self._start, self._seconds)
        except WorkerDied as error:
            raise OracleError(f"a worker process did not begin: {error}") from error
        if said != "ready":
            _, kinds, message = said
            name = self._start["name"] or "the function"
            raise OracleError(
                f"a worker process could not load {name}: "
                f"{kinds[0].rpartition('.')[2]}: {one_line(message)}"
            )
        return child

    def _drop(self) -> None:
        if self._child:
            self._child.release()
        self._child = None


def _exchange(child: Child, message: Any, seconds: float = float("inf")) -> Any:
    """What the worker says to a message."""
    said: list[Any] = []

    def take(read: bytearray, at_end: bool) -> bool:
        size = worker.LENGTH.size
        if len(read) < size or len(read) < size + worker.LENGTH.unpack_from(read)[0]:
            return False
        length = worker.LENGTH.unpack_from(read)[0]
        said.append(bytes(read[size : size + length]))
        del read[: size + length]
        return True

    child.exchange(worker.framed(message), take, seconds=seconds)
    try:
        return pickle.loads(said[0])
    except Exception as error:
        raise WorkerDied(f"answered what cannot be read here: {one_line(error)}") from error


def _told(message: tuple) -> Any:
    how, *what = message
    if how == "each":
        return [_told(one) for one in what[0]]
    if how == "answer":
        return what[0]
    kinds, text = what
    name = kinds[0].rpartition(".")[2]
    for known in (Failed, Pending):
        if kinds[0] == f"{known.__module__}.{known.__name__}":
            return known(text)
    return Raised(f"raised {name}: {one_line(text)}".rstrip(" :"), kinds)
