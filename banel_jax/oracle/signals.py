"""A first Ctrl-C or SIGTERM lets what is in flight end; a second ends it."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

_awaited = threading.Event()
_passed_on: list[int] = []


def awaited() -> bool:
    """Whether a signal was heard, and what is in flight is being waited for."""
    return _awaited.is_set()


def passed_on() -> int:
    """How many signals came a second time, at the end of the wait in which they were heard."""
    return len(_passed_on)


class Noted:
    """The first signal of a wait, None before it, and whether a second came."""

    number: int | None = None
    twice = False

    def reason(self) -> str | None:
        return None if self.number is None else f"stopped by {signal.Signals(self.number).name}"


@contextlib.contextmanager
def terminating() -> Iterator[None]:
    """A block that SIGTERM, where nobody hears it, ends by SystemExit and so in order."""
    process = os.getpid()

    def end(number, frame):
        if os.getpid() != process:
            signal.signal(number, signal.SIG_DFL)
            return os.kill(os.getpid(), number)
        raise SystemExit(128 + number)

    main = threading.current_thread() is threading.main_thread()
    unheard = main and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    try:
        if unheard:
            signal.signal(signal.SIGTERM, end)
        yield
    finally:
        if unheard and signal.getsignal(signal.SIGTERM) is end:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextlib.contextmanager
def in_order(in_flight: Callable[[], int]) -> Iterator[Noted]:
    """A block that looks at `reason()` and ends, after a signal, when what is in flight has.

    At its end the signal comes as it would have come; SIGTERM, where nobody hears it, as
    SystemExit. The second signal comes at once, as KeyboardInterrupt. Signals are handled in the
    main thread alone, and elsewhere nothing changes.

    Args:
      in_flight: how many rows are, to tell the user.
    """
    noted = Noted()
    handlers: dict[int, Any] = {}
    process = os.getpid()

    def handle(number, frame):
        if os.getpid() != process:  # a fork of the oracle's, which is to end at once
            signal.signal(number, handlers[number])
            return os.kill(os.getpid(), number)
        if noted.number is not None:
            noted.twice = True
            raise KeyboardInterrupt
        noted.number = number
        _awaited.set()
        count = in_flight()  # none where a function works in this thread
        rows = {0: "what is", 1: "one evaluation that is"}
        what = rows.get(count, f"{count} evaluations that are")
        line = f"\nstopping: waiting for {what} in flight; again to end without waiting\n"
        with contextlib.suppress(OSError):
            os.write(2, line.encode())

    def give_back():
        for number, before in handlers.items():
            if signal.getsignal(number) is handle:
                signal.signal(number, before)
        _awaited.clear()

    if threading.current_thread() is threading.main_thread():
        for one in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(one)
            if callable(handler) or (one == signal.SIGTERM and handler == signal.SIG_DFL):
                handlers[int(one)] = handler
    try:
        try:
            for number in handlers:
                signal.signal(number, handle)
            yield noted
        finally:
            give_back()
    finally:
        give_back()  # as the second signal may have come just before
        if noted.number is not None and callable(handlers[noted.number]):
            _passed_on.append(noted.number)
            signal.raise_signal(noted.number)
        elif noted.number is not None:
            raise SystemExit(128 + noted.number)
