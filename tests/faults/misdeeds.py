"""An oracle that keeps a log of its own, outside of the run's folder, and misbehaves as planned.

As a program it is the oracle of `command`. No JAX and no NumPy here, so that workers begin soon.
The log has a file a row, and each of its lines is on the disk before anything goes on:
`asked SESSION TIME`, `deed SESSION TIME NAME`, `answered SESSION TIME REWARD`.
"""

import asyncio
import json
import os
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import ClassVar

CASE, SESSION, RUN = "FAULT_CASE", "FAULT_SESSION", "FAULT_RUN"
_sync = os.fsync  # as it is without injected faults
_plans: dict[str, dict] = {}

VALUES = {
    "failed": {"failed": "the pose did not converge"},
    "nan": float("nan"),
    "two": 2,
    "text": "high",
    "none": None,
    "pending": {"pending": "the laboratory"},
}


def truth(tokens):
    return float(sum(tokens) >= 5)


def fails(tokens):
    """The rows that fail for good, in cases that have such."""
    return tokens[0] == 0 and tokens[1] > 0


def plan():
    case = os.environ[CASE]
    if case not in _plans:
        _plans.clear()
        _plans[case] = json.loads(Path(case, "plan.json").read_text())
    return _plans[case]


class Asked:
    """One row that the oracle was asked for."""

    untrusted: ClassVar[list[str]] = []  # what a program said wrongly, which ends it

    def __init__(self, row):
        self.row, self.path = row, Path(os.environ[CASE], "log", str(row))
        self.session = os.environ[SESSION]
        before = self.path.read_text() if self.path.exists() else ""
        deeds = plan()["deeds"].get(str(row), [])
        number = before.count("asked")
        self.note("asked")
        self.deed = deeds[number] if number < len(deeds) else None
        if self.deed:
            self.note("deed", self.deed)

    def note(self, *words):
        line = " ".join([words[0], self.session, f"{time.monotonic():.4f}", *map(str, words[1:])])
        file = os.open(self.path, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o644)
        try:
            os.write(file, line.encode() + b"\n")
            _sync(file)
        finally:
            os.close(file)

    def kill_run(self, when):
        if self.deed == when:
            os.kill(int(os.environ[RUN]), signal.SIGKILL)
            time.sleep(60)

    def misdeed(self):
        """What keeps it from an answer."""
        self.kill_run("kill_run")
        if self.deed == "raise":
            raise ValueError("bad\ninput")
        if self.deed == "transient":
            raise ConnectionError("down")
        if self.deed == "exit":
            os._exit(9)
        if self.deed == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.deed in ("hang", "late"):
            time.sleep(plan()["timeout"] * 1.5)

    def answer(self, tokens):
        if self.deed in VALUES:
            return VALUES[self.deed]
        if plan()["permanent"] and fails(tokens):
            return VALUES["failed"]
        return truth(tokens)

    def hand_over(self, answer):
        if answer in (0.0, 1.0) and self.deed != "count" and not self.untrusted:
            self.note("answered", answer)
        self.kill_run("kill_run_after")
        return answer


def _handed(asked, tokens):
    answers = [one.answer(row.tolist()) for one, row in zip(asked, tokens, strict=True)]
    if any(one.deed == "count" for one in asked):
        return [*answers, 1.0]
    return [one.hand_over(answer) for one, answer in zip(asked, answers, strict=True)]


def evaluate(sequences, rows):
    asked = [Asked(row.row) for row in rows]
    for one in asked:
        one.misdeed()
    return _handed(asked, sequences.tokens)


def elsewhere():
    """`evaluate` for a worker that has not this process's environment."""
    return partial(_under, {name: os.environ[name] for name in (CASE, SESSION, RUN)})


def _under(environment, sequences, rows):
    os.environ |= environment
    return evaluate(sequences, rows)


def generate(sequences, rows):
    for row, tokens in zip(rows, sequences.tokens, strict=True):
        one = Asked(row.row)
        one.misdeed()
        if one.deed == "count":
            return
        yield one.hand_over(one.answer(tokens.tolist()))


async def wait(sequences, rows):
    asked = [Asked(row.row) for row in rows]
    await asyncio.sleep(0.001)
    for one in asked:
        if one.deed == "hang":
            await asyncio.sleep(60)
        if one.deed == "late":  # and it does not let go
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                one.deed = None
        one.misdeed()
    return _handed(asked, sequences.tokens)


_lock = threading.Lock()


def say(text):
    with _lock:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def respond(asked, about, before):
    """A line of the program's input, answered well or badly."""
    name, deed = about["id"], asked.deed
    asked.misdeed()
    if deed == "hang":
        time.sleep(60)
    if deed in ("garbage", "other_row"):
        asked.untrusted.append(deed)
    if deed == "garbage":
        return say("Loading model... {")
    if deed == "other_row":
        return say(json.dumps({"id": name + "9", "reward": 1}))
    if deed == "half":
        sys.stdout.write(f'{{"id": "{name}", "rew')
        sys.stdout.flush()
        os._exit(0)
    if deed == "noise":
        sys.stderr.write("noise\n" * 50_000)
    answer = asked.answer(about["tokens"])
    said = answer if isinstance(answer, dict) else {"reward": answer}
    line = json.dumps(said if deed == "no_id" else {"id": name, **said})
    asked.hand_over(answer)
    if deed == "reorder":
        return threading.Timer(0.05, say, [line]).start()
    if deed == "repeat" and before:
        say(before)
    say(line)
    if deed == "twice":
        say(line)
    return line


def main():
    before = None
    for line in sys.stdin:
        about = json.loads(line)
        before = respond(Asked(about["row"]), about, before)


if __name__ == "__main__":
    main()
