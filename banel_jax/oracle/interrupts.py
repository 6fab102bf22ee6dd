"""Ctrl-C is held back while an answer is written down, and comes right after it."""

import contextlib
import itertools
import signal
import threading
from collections.abc import Callable, Iterator, Sized
from typing import Any, Literal

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


def receive(
    source: Iterator, take: Callable[[Any, Literal["came", "raised"]], None]
) -> Literal["came", "raised", "ended"]:
    """Hands the next of an iterator to `take`, and how it came, and no signal comes between.

    An exception of the iterator's, but no interrupt, is handed over in the place of an answer.
    """
    came: list = []
    how: Literal["came", "raised"] = "came"
    with held_back(came):
        try:
            # Within C, as no signal can come between an answer and its place in the list there.
            came.extend(itertools.islice(source, 1))
        except Exception as error:
            how = "raised"
            came.append(error)
        for answer in came:
            take(answer, how)
    return how if came else "ended"
