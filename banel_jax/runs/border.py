"""Where a program meets its terminal: it ends with one line at any moment, and never hangs.

Nothing is lost by an end like a kill: what was paid for is on disk. So a first signal raises
KeyboardInterrupt, for what is in hand to be put down; a compiler or a long call does not listen,
and is left after a while, as it is at once by a second signal. The interpreter is never torn
down around XLA's threads, which ends in a segmentation fault.

While a run waits for rows in flight, a first signal is the run's (`oracle.signals`): nothing is
ended for as long as that takes, and the signal comes here when they have ended.
"""

import contextlib
import logging
import os
import select
import shlex
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from banel_jax.runs import streams

DEAF, UNWINDING = 2.0, 10.0  # seconds for the interrupt to be heard, and then for the unwinding
LOOK = 0.1  # seconds between two looks at what is in flight
AGAIN = "stopped; give the same command again"  # before it began
STARTS_ANEW = "stopped; the same command starts anew"
GOES_ON = "stopped; the same command goes on from there"
SCRIPT = "banel"  # how `python -m banel_jax` is installed


SIGNALS = [getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP")]


class _State:
    """Of this process: the signal that stopped it, whether the interrupt is heard by anything,
    and what is then said."""

    signal: int | None = None
    installed = running = leaving = False
    words = AGAIN


def install() -> None:
    """Takes over the signals and the standard streams of this process, once."""
    if _State.installed or threading.current_thread() is not threading.main_thread():
        return
    _State.installed = True
    streams.reopen()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in SIGNALS:
        # What nohup or a shell's `&` has switched off stays off.
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    threading.Thread(target=_watch, args=(reader,), daemon=True).start()
    sys.unraisablehook = _unraisable
    threading.excepthook = _in_thread
    sys.excepthook = _uncaught


def install_for(*packages: str) -> None:
    """`install`, where this process is a program of one of the packages: before its imports, which
    take seconds."""
    given = sys.orig_argv[sys.orig_argv.index("-m") + 1 :] if "-m" in sys.orig_argv else []
    if _is_script() or (given and given[0].partition(".")[0] in packages):
        install()


def program(
    function: Callable[[], Any],
    stopped: str,
    told: Callable[[BaseException], str | None] | None = None,
) -> NoReturn:
    """Runs a whole program and ends the process.

    Args:
      function: the program; ends by returning, by SystemExit or by any other exception.
      stopped: what is said, before the command, where a signal ends it.
      told: what an exception is to a person, in one line; None for a fault of the program's
        own, which is shown with its traceback. By default `mistakes.in_one_line`.
    """
    install()
    _State.words = stopped
    try:
        _State.running = True
        code = _run(function, told or _told)
        _State.running = False
    except KeyboardInterrupt:
        _stop(_State.signal or signal.SIGINT)
    if isinstance(code, str):
        leave(1, code)
    leave(code or 0)


def _run(function, told) -> Any:
    """The exit status, or a last line."""
    try:
        function()
        print(end="", flush=True)
    except SystemExit as end:
        return end.code
    except BaseException as error:
        if _State.signal:  # whatever became of the interrupt on its way
            raise KeyboardInterrupt from error
        # It has seen enough, as `head` has.
        if isinstance(error, BrokenPipeError) and streams.reader_left():
            return 128 + signal.SIGPIPE
        if broken := streams.broken_output():
            return f"error: the output cannot be written: {broken.strerror}"
        line = told(error)
        if line is None:
            traceback.print_exc()
        return 1 if line is None else f"error: {line}"
    return 0


def command() -> str:
    """The command of this process, as it can be given again."""
    given = [Path(sys.argv[0]).name, *sys.argv[1:]]
    if _is_script():
        return shlex.join(given)
    if "-m" in sys.orig_argv[:-1]:  # as it was given: a program may take words off sys.argv
        given = sys.orig_argv[sys.orig_argv.index("-m") :]
    return shlex.join(["python", *given])


def _is_script() -> bool:
    return Path(sys.argv[0] if sys.argv else "").name == SCRIPT


def program_name() -> str:
    """The same without its flags."""
    return shlex.join(word for word in shlex.split(command()) if word == "-m" or word[0] != "-")


def leave(code: int, line: str = "") -> NoReturn:
    """Ends the process now, with a last line on stderr."""

    def last_words():
        streams.flush()
        if line:
            with contextlib.suppress(OSError):
                over_a_bar = "\r\x1b[K" if os.isatty(2) else ""
                os.write(2, f"{over_a_bar}{line}\n".encode(errors="backslashreplace"))

    _State.leaving = True
    # In a thread of its own, for a stream that nobody reads blocks.
    speaker = threading.Thread(target=last_words, daemon=True)
    speaker.start()
    speaker.join(1.0)
    os._exit(code)


def _stop(number: int) -> NoReturn:
    leave(128 + number, f"{_State.words}: {command()}")


def _interrupt(number, frame):
    if _State.leaving:
        return
    if _State.signal or not _State.running:
        _stop(number)
    _State.signal = number
    logging.disable()  # of what falls with it
    raise KeyboardInterrupt


def _watch(reader: int) -> None:
    """Ends the process where the main thread does not."""
    number, passed, twice = _next(reader, None), 0, False
    deadline = time.monotonic() + DEAF
    while time.monotonic() < deadline:
        again, signals = _next(reader, LOOK), sys.modules.get("banel_jax.oracle.signals")
        awaited = signals is not None and signals.awaited()
        if signals is not None and signals.passed_on() > passed:  # the first, that comes on now
            passed, again = signals.passed_on(), None
            deadline = time.monotonic() + DEAF
        if again is not None and (twice or not awaited):
            break
        if again is not None or (awaited and not twice):  # what is in flight may take its time
            twice, deadline = again is not None, time.monotonic() + DEAF
    else:
        if _State.signal:
            _next(reader, UNWINDING)
    if not _State.leaving:
        _stop(number)


def _next(reader: int, seconds: float | None) -> Any:
    """The next of our signals; None where there is none for so long."""
    while select.select([reader], [], [], seconds)[0]:
        number = os.read(reader, 1)[0]
        if number in SIGNALS:
            return number
    return None


def _unraisable(event):
    """What a destructor or a C library's call of Python raises."""
    if _State.signal and event.exc_type is KeyboardInterrupt:  # the interrupt was swallowed
        _stop(_State.signal)
    # Threads of libraries tell of what is raised in the main one as well.
    if not _State.signal and threading.current_thread() is threading.main_thread():
        sys.__unraisablehook__(event)


def _in_thread(event):
    if not _State.signal:
        threading.__excepthook__(event)


def _told(error):
    from banel_jax.runs import mistakes

    return mistakes.in_one_line(error)


def _uncaught(kind, error, trace):
    """What an import raises, before the program."""
    line = _told(error)
    if line is None:
        sys.__excepthook__(kind, error, trace)
    else:
        print(f"error: {line}", file=sys.stderr)
