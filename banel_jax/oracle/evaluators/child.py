"""A program in a session of its own, which is ended with all that it started."""

import collections
import contextlib
import functools
import logging
import math
import os
import secrets
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import IO

from banel_jax.checks import one_line
from banel_jax.oracle.answers import WorkerDied
from banel_jax.oracle.evaluators import guardian
from banel_jax.oracle.evaluators.pool import PATIENCE

logger = logging.getLogger(__name__)

MOST = 64 * 2**20  # bytes of an answer
PIECE = 2**16
POLL = 0.1  # seconds between looks at whether it lives, where a child of it holds its pipes open


class Child:
    """One such program, talked to from one thread and ended from any.

    Its standard error is kept, so that the reason can be told when it dies, and told by `logging`
    at level INFO.

    Args:
      argv: the program and its arguments; no shell sees them.

    Raises:
      OSError: if there is no such program.
    """

    def __init__(self, argv: Sequence[str]):
        self._token = secrets.token_hex(8)
        name = "/".join([os.environ.get(guardian.NAME, ""), _guarded(os.getpid()), self._token])
        self._ended = False
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            list(argv), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            bufsize=0, start_new_session=True,
            env={**os.environ, guardian.NAME: name},
        )  # fmt: skip
        process = self._process
        assert process.stdin and process.stdout and process.stderr
        self._in, self._out, self._err = process.stdin, process.stdout, process.stderr
        for pipe in (self._in, self._out, self._err):
            os.set_blocking(pipe.fileno(), False)
        self._read = bytearray()
        self._said: collections.deque[bytes] = collections.deque([b""], maxlen=20)
        self._at_end = False  # of its standard output

    def exchange(
        self,
        data: bytes,
        take: Callable[[bytearray, bool], bool],
        close: bool = False,
        seconds: float = math.inf,
    ) -> None:
        """Writes `data` while reading, until `take` is content.

        Args:
          data: for its standard input.
          take: `take(read, at_end)` removes what it understands from the start of what was read;
            True when nothing more is awaited.
          close: its input, when all is written.
          seconds: in which `take` must be content.

        Raises:
          WorkerDied: if it ends, says too much or is out of time before `take` is content.
        """
        left, until = memoryview(data), time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self._err, selectors.EVENT_READ)
            selector.register(self._out, selectors.EVENT_READ)
            selector.register(self._in, selectors.EVENT_WRITE)
            while not take(self._read, self._at_end):
                dead = not self.lives()  # seen before it is read, so that nothing is missed
                ready = {key.fileobj for key, _ in selector.select(0 if dead else POLL)}
                if self._err in ready and self._hear() == b"":
                    selector.unregister(self._err)
                if self._in in ready:
                    left = left[self._write(left) :]
                    if not left:
                        selector.unregister(self._in)
                        if close:
                            self._in.close()
                if self._at_end:
                    raise WorkerDied(self.why_it_ended())
                if self._out in ready or dead:
                    piece = _read(self._out)
                    self._read += piece or b""
                    self._at_end = piece == b"" or (piece is None and dead)
                if len(self._read) > MOST:
                    raise WorkerDied(f"the worker answered with more than {MOST >> 20} MiB")
                if time.monotonic() > until:
                    raise WorkerDied(f"the worker did not start within {seconds:g} s")
        if left and not close:
            raise WorkerDied("the worker answered before it had read what it was asked")

    def is_ready(self) -> bool:
        """Whether it lives, and has said nothing that nobody asked for."""
        if not self._at_end:
            piece = _read(self._out)
            self._read += piece or b""
            self._at_end = piece == b""
        return not self._at_end and not self._read and self.lives()

    def _write(self, data: memoryview) -> int:
        """How many bytes were taken; all where nobody reads them, which its end will tell."""
        try:
            return os.write(self._in.fileno(), data[:PIECE])
        except BlockingIOError:
            return 0
        except OSError:
            return len(data)

    def _hear(self) -> bytes | None:
        """The next that it says on its standard error, which is kept."""
        piece = _read(self._err)
        *lines, rest = (self._said.pop() + (piece or b"")).split(b"\n")
        self._said.extend(line[-2000:] for line in [*lines, rest])
        for line in lines:
            logger.info("worker %d: %s", self._process.pid, line.decode("utf-8", "replace"))
        return piece

    def lives(self) -> bool:
        return self._process.poll() is None

    def why_it_ended(self) -> str:
        """One line, with the last that it said on its standard error."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)  # what closes its pipes is about to end
        code = self._process.poll()
        if code is None:
            how = "closed its standard output"
        elif code < 0:
            how = f"was ended by {_signal(-code)}"
        else:
            how = f"ended with exit status {code}"
        for _ in range(64):  # more than a pipe holds
            if not self._hear():
                break
        last = next((line for line in reversed(self._said) if line.strip()), b"")
        said = one_line(last.decode("utf-8", "replace"))[-200:]
        return f"the worker {how}" + (f": {said}" if said else "")

    def finish(self, seconds: float) -> None:
        """Closes its input, and ends it where it has not ended by itself after so long."""
        with contextlib.suppress(OSError):
            self._in.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        with self._lock:
            self._ended |= self._process.poll() == 0  # what it has left behind is its own affair
        self.release()

    def end(self) -> None:
        """Ends it and all that it started, now; from any thread."""
        with self._lock:
            if not self._ended:
                if self.lives():  # else the number may be another's by now
                    with contextlib.suppress(OSError):
                        os.killpg(self._process.pid, signal.SIGKILL)
                guardian.kill_named(self._token)
                self._process.wait()
            self._ended = True

    def release(self) -> None:
        """Ends it and frees its pipes, from the thread that talks to it."""
        self.end()
        for pipe in (self._in, self._out, self._err):
            with contextlib.suppress(OSError):
                pipe.close()


def _read(pipe: IO[bytes]) -> bytes | None:
    """What is there, b"" at the end, None where there is nothing now."""
    try:
        return os.read(pipe.fileno(), PIECE)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class Holder:
    """The end of a `pool.Worker` whose work is done by a child, where it has one."""

    def __init__(self) -> None:
        self._child: Child | None = None

    def end(self) -> None:
        if child := self._child:
            child.end()

    def close(self) -> None:
        if self._child:
            self._child.finish(PATIENCE)


def _guarded(pid: int) -> str:
    """The name of this process, whose workers are ended when it is gone; a fork has another."""
    with _guarding:
        return _guardian_of(pid)


@functools.cache
def _guardian_of(pid: int) -> str:
    token = secrets.token_hex(8)
    argv = [sys.executable, "-I", "-S", guardian.__file__, token, str(pid)]
    environment = {n: v for n, v in os.environ.items() if n != guardian.NAME}
    _guardians.append(
        subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            cwd="/", start_new_session=True, env=environment,
        )
    )  # fmt: skip
    return token


_guarding = threading.Lock()
_guardians: list[subprocess.Popen] = []  # whose pipes this process holds open
