"""Breaks the library in small ways, one after another, and tells which tests notice.

python tests/breakages.py -x                     each breakage, against the tests that it names
python tests/breakages.py -x budget_off_by_one   one of them; `--list` has their names
python tests/breakages.py -x --all-tests         each against the whole of the fast tests

The breakages stand in the files of the folder breakages/, under the library's file that they break:
`tests` says which should notice, and by name stands [the old text, the new one, what is broken
then], with tests of its own if any. Each is made in a copy of the tree, never in the tree itself.
Beforehand the tests that are to be run must pass there unbroken. One that no test notices needs a
test.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
LISTS = Path(__file__).with_suffix("")
COPIED = ("banel_jax", "experiments", "tests", "docs")
FAILED = re.compile(r"^(?:FAILED|ERROR) (?:tests/)?(\S.*?)(?: - .*)?$", re.M)
NO_TESTS = (3, 4, 5)  # pytest's own: an internal error, a wrong usage, nothing collected


class Breakage(NamedTuple):
    """One line of the list.

    Attributes:
      name: to choose it by.
      file: of the library.
      old, new: text in that file and what takes its place.
      breaks: what is wrong then.
      tests: that should notice: files in `tests/`, or functions in them as `file::function`.
    """

    name: str
    file: str
    old: str
    new: str
    breaks: str
    tests: tuple[str, ...]

    def broken(self, root: Path = ROOT) -> str:
        """The file's text with the breakage in it.

        Raises:
          ValueError: where the old text does not stand there exactly once, or a test is missing.
        """
        path = root / self.file
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        if text.count(self.old) != 1:
            raise ValueError(
                f"{self.name}: {self.old!r} stands {text.count(self.old)} times in {self.file}, "
                f"and must once; mend it in {LISTS.name}/"
            )
        for test in self.tests:
            file, _, function = test.partition("::")
            there = root / "tests" / file
            if not there.is_file() or (function and f"def {function}(" not in there.read_text()):
                raise ValueError(f"{self.name}: there is no tests/{test}; mend {LISTS.name}/")
        return text.replace(self.old, self.new)


def load() -> list[Breakage]:
    """All of them, in the order of the files."""
    found = []
    for path in sorted(LISTS.glob("*.toml")):
        for file, entries in tomllib.loads(path.read_text(encoding="utf-8")).items():
            usual = entries.pop("tests")
            for name, (old, new, breaks, *tests) in entries.items():
                found.append(Breakage(name, file, old, new, breaks, tuple(tests or usual)))
    names = [breakage.name for breakage in found]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"{min(twice)} stands twice in {LISTS.name}/; give one another name")
    return found


def untrue(breakages: list[Breakage]) -> list[str]:
    """What is wrong with those that do not apply, a line each."""
    found = []
    for breakage in breakages:
        try:
            breakage.broken()
        except ValueError as error:
            found.append(str(error))
    return found


class Outcome(NamedTuple):
    """How the tests ended: pytest's code, None where they had to be ended; what failed; seconds."""

    code: int | None
    failed: list[str]
    seconds: float


def copied(to: Path) -> Path:
    """A copy of what the tests need, with the folder of compiled programs that all tests share."""
    for path in ROOT.iterdir():
        if path.name in COPIED:
            shutil.copytree(path, to / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        elif path.is_file():
            shutil.copy(path, to / path.name)
    programs = ROOT / ".pytest_cache" / "d" / "compiled"
    programs.mkdir(parents=True, exist_ok=True)
    link = to / programs.relative_to(ROOT)
    link.parent.mkdir(parents=True)
    link.symlink_to(programs)
    return to


def run(copy: Path, tests: list[str], options: argparse.Namespace) -> Outcome:
    """Runs tests of the copy, in files by name or all of them."""
    command = [sys.executable, "-m", "pytest", "-q", "--tb=no", "-rfE", *tests]
    command += ["-m", "slow or not slow"] * options.slow + ["-x"] * options.x
    command += ["-n", str(options.workers), "--dist", "loadgroup"] * (options.workers > 1)
    # Where a file is changed within a second to another of its length, Python would not see it.
    environment = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    started = time.monotonic()
    process = subprocess.Popen(
        command, cwd=copy, env=environment, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    code: int | None
    try:
        printed, _ = process.communicate(timeout=options.timeout)
        code = process.returncode
    except subprocess.TimeoutExpired:
        printed, code = "", None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if code in NO_TESTS:
        raise SystemExit(f"error: pytest could not run {' '.join(tests)}:\n{printed[-2000:]}")
    return Outcome(code, FAILED.findall(printed), time.monotonic() - started)


def tried(copy: Path, breakage: Breakage, options: argparse.Namespace) -> Outcome:
    """What the tests say of one breakage; the copy is whole again afterwards."""
    path = copy / breakage.file
    text = path.read_text(encoding="utf-8")
    path.write_text(breakage.broken(copy), encoding="utf-8")
    try:
        return run(copy, wanted([breakage], options), options)
    finally:
        path.write_text(text, encoding="utf-8")


def wanted(breakages: list[Breakage], options: argparse.Namespace) -> list[str]:
    if options.all_tests:
        return ["tests"]
    return list(dict.fromkeys(f"tests/{test}" for b in breakages for test in b.tests))


def told(outcome: Outcome) -> str:
    if outcome.code == 0:
        return "NOT NOTICED"
    if outcome.code is None:
        return "noticed: the tests do not end"
    if not outcome.failed:
        return f"noticed: the tests end with {outcome.code}"
    more = f" and {len(outcome.failed) - 1} more" * (len(outcome.failed) > 1)
    return f"noticed by {outcome.failed[0]}{more}"


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flags.add_argument("names", nargs="*", help="of breakages; all where none is given")
    flags.add_argument("--list", action="store_true", help="print them and run nothing")
    flags.add_argument("--all-tests", action="store_true", help="not only those that each names")
    flags.add_argument("--slow", action="store_true", help="slow tests as well")
    flags.add_argument("-x", action="store_true", help="the first test that notices is enough")
    flags.add_argument("--workers", type=int, default=1, help="processes that run the tests")
    flags.add_argument("--timeout", type=float, default=900, help="seconds for each breakage")
    flags.add_argument("--trusting", action="store_true", help="do not run the tests unbroken")
    return flags


def main() -> int:
    options = parser().parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # so that the tests end with it
        signal.signal(number, lambda *_: sys.exit(1))
    breakages = load()
    if wrong := untrue(breakages):
        raise SystemExit("\n".join(f"error: {line}" for line in wrong))
    if unknown := set(options.names) - {breakage.name for breakage in breakages}:
        raise SystemExit(f"error: there is no breakage {min(unknown)}; --list has them all")
    chosen = [b for b in breakages if b.name in options.names or not options.names]
    if options.list:
        print("\n".join(f"{b.name:30} {b.file}: {b.breaks}" for b in chosen))
        return 0
    with tempfile.TemporaryDirectory(prefix="breakages.") as folder:
        copy = copied(Path(folder))
        if not options.trusting:
            sound = run(copy, wanted(chosen, options), options)
            if sound.code != 0:
                raise SystemExit(f"error: unbroken, {', '.join(sound.failed) or 'the tests'} fail")
            print(f"unbroken, the tests pass; {sound.seconds:.0f} s", flush=True)
        unnoticed = 0
        for breakage in chosen:
            outcome = tried(copy, breakage, options)
            unnoticed += outcome.code == 0
            print(f"{breakage.name:30} {told(outcome)}; {outcome.seconds:.0f} s", flush=True)
    print(f"{len(chosen) - unnoticed} of {len(chosen)} noticed")
    return int(unnoticed > 0)


if __name__ == "__main__":
    sys.exit(main())
