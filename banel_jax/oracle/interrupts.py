"""Signals are held back while an answer is written down, and come right after it."""

import contextlib
import signal
import threading
from collections.abc import Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_noted: list[int] = []


def pending() -> bool:
    """Whether a signal is being held back, so that whoever waits should wait no longer."""
    return bool(_noted)


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """A block that no Ctrl-C, SIGTERM or SIGHUP ends; what came meanwhile is delivered after it.

    Python runs signal handlers in the main thread alone, so in others there is nothing to do.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    held = {n: h for n, h in handlers.items() if h not in (signal.SIG_IGN, None)}
    for number in held:
        signal.signal(number, lambda number, frame: _noted.append(number))
    try:
        yield
    finally:
        for number, handler in reversed(held.items()):
            signal.signal(number, handler)
        came = dict.fromkeys(_noted)
        _noted.clear()
        for one in came:
            signal.raise_signal(one)
