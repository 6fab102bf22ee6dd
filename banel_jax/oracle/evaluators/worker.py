"""The program of a worker process: loads a function, and answers calls until its input ends.

JAX is loaded only if the function loads it, so nothing of this package is imported but the file
calls.py, by its path. Messages are pickles after their length; the standard streams are the
function's own, what it prints being on the standard error.
"""

import importlib
import importlib.util
import multiprocessing.spawn
import os
import pickle
import queue
import signal
import struct
import sys
import threading
from pathlib import Path
from typing import Any

LENGTH = struct.Struct("<Q")
LOADING = "BANEL_WORKER_LOADING"  # in the environment while the function is loaded: the process


def send(descriptor: int, message: Any) -> None:
    data = memoryview(framed(message))
    while data:
        data = data[os.write(descriptor, data) :]


def framed(message: Any) -> bytes:
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return LENGTH.pack(len(data)) + data


def receive(descriptor: int) -> Any:
    (length,) = LENGTH.unpack(_exactly(descriptor, LENGTH.size))
    return pickle.loads(_exactly(descriptor, length))


def _exactly(descriptor: int, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        piece = os.read(descriptor, min(length - len(data), 2**20))
        if not piece:
            raise EOFError
        data += piece
    return bytes(data)


def load(start: dict[str, Any], calls: Any) -> Any:
    """The function that the start names, or holds."""
    os.environ[LOADING] = str(os.getpid())
    sys.path[:] = start["path"]
    if start["main"] is not None:
        multiprocessing.spawn.prepare(start["main"])
    if start["name"] is not None:
        module, _, name = start["name"].partition(":")
        function = importlib.import_module(module)
        for part in name.split("."):
            function = getattr(function, part)
    else:
        function = pickle.loads(start["function"])
    del os.environ[LOADING]
    return calls.each(function) if start["each"] else function


def told(error: BaseException, calls: Any) -> tuple:
    return ("raised", calls.kinds(type(error)), str(error))


def sendable(answer: Any, calls: Any) -> tuple:
    """An answer without what only this process knows: its arrays' and exceptions' types."""
    if isinstance(answer, list | tuple):
        return ("each", [sendable(one, calls) for one in answer])
    if isinstance(answer, BaseException):
        return told(answer, calls)
    if hasattr(answer, "__array__"):
        import numpy as np

        return ("answer", np.asarray(answer))
    return ("answer", answer)


def answered(function: Any, call: Any, calls: Any) -> bytes:
    try:
        answer = calls.taken(calls.ask(function, call), len(call.rows))
        return framed(sendable(answer, calls))
    except BaseException as error:
        return framed(told(error, calls))


def main() -> None:
    source, target = os.dup(0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    path = Path(__file__).parents[1] / "calls.py"
    spec = importlib.util.spec_from_file_location("banel_jax_calls", path)
    assert spec and spec.loader
    calls = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = calls
    spec.loader.exec_module(calls)
    try:
        function = load(receive(source), calls)
    except EOFError:
        return
    except BaseException as error:
        return send(target, told(error, calls))
    send(target, "ready")
    requests: queue.SimpleQueue = queue.SimpleQueue()
    at_work = threading.Event()

    def read() -> None:
        try:
            while True:
                requests.put(receive(source))
        except EOFError:
            if at_work.is_set():  # whoever wanted the answer is gone
                os.killpg(0, signal.SIGKILL)
            requests.put(None)

    threading.Thread(target=read, daemon=True).start()
    process = os.getpid()
    while (request := requests.get()) is not None:
        at_work.set()
        answer = answered(function, calls.call_of(*request), calls)
        if os.getpid() != process:  # a fork of the function's that came back
            os._exit(0)
        data = memoryview(answer)
        at_work.clear()
        while data:
            data = data[os.write(target, data) :]


if __name__ == "__main__":
    main()
