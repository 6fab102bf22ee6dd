"""Ctrl-C is held back while an answer is written down, and comes right after it."""

import contextlib
import signal
import threading
from collections.abc import Iterator, Sized

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_noted: list[int] = []


def pending() -> bool:
    """Whether a signal is being held back, so that whoever waits should wait no longer."""
    return bool(_noted)


@contextlib.contextmanager
def held_back(received: Sized) -> Iterator[None]:
    """A block whose signals are held back to its end once `received` is no longer empty.

    Only signals that Python handles, which by default is Ctrl-C alone, and which it handles in
    the main thread alone; the others end the process as `kill -9` does.
    """
    handlers = {}
    if threading.current_thread() is threading.main_thread():
        handlers = {n: h for n in SIGNALS if callable(h := signal.getsignal(n))}

    def handle(number, frame):
        if received:
            _noted.append(number)
        else:
            handlers[number](number, frame)

    try:
        for number in handlers:
            signal.signal(number, handle)
        yield
    finally:
        for number in reversed(list(handlers)):
            if signal.getsignal(number) is handle:  # else the oracle has set its own
                signal.signal(number, handlers[number])
        noted = dict.fromkeys(_noted)
        _noted.clear()
        for one in noted:
            signal.raise_signal(one)
