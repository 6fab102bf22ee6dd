"""The standard streams of a program."""

import contextlib
import io
import os
import select
import sys


def reopen() -> None:
    """Closed ones lead nowhere, or the next file would be written to as one of them; and what a
    terminal cannot show is escaped."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace", line_buffering=True)


def flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()


def reader_left() -> bool:
    """Whether nobody reads what we print any more."""
    both = select.poll()
    for descriptor in (1, 2):
        both.register(descriptor, select.POLLOUT)
    return any(event & select.POLLERR for _, event in both.poll(0))


def broken_output() -> OSError | None:
    try:
        print(end="", flush=True)
    except OSError as error:
        return error
    return None
