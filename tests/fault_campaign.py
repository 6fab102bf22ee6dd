"""Injects faults into runs by all ways to evaluate, and tells of every case that they harmed.

    python tests/fault_campaign.py --faults=1000 --seed=0
    python tests/fault_campaign.py --only=17

A case is a run of a small learner with faults of its oracle, and of the world around its first
starts; it is started until it is done. What must hold is in faults/verdict.py. Processes that are
killed are forks of one that has imported everything, and go on with the next cases until killed.
"""

import argparse
import collections
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "faults"), str(HERE / "helpers"), str(HERE.parent)]
PATIENCE = 120.0  # seconds without a new start of a run, after which it hangs


def work(root: Path, seeds: list[int]) -> None:
    """In a process of its own: one case after another, as far as it comes."""
    log = os.open(root / "log", os.O_APPEND | os.O_CREAT | os.O_WRONLY)
    os.dup2(log, 1)
    os.dup2(log, 2)
    import cases
    import verdict

    signal.signal(signal.SIGINT, signal.default_int_handler)
    for seed in seeds:
        case = cases.Case(root, seed)
        if not (case.path / "judged").exists():
            os.environ["TMPDIR"] = tempfile.tempdir = str(case.path / "tmp")
            verdict.take_over(case)
            cases.go_on(case)
            (case.path / "judged").touch()


def newest(root: Path) -> float:
    times = [path.stat().st_mtime for path in root.glob("case_*/starts.jsonl")]
    return max(times, default=0.0)


def fork(root: Path, seeds: list[int]) -> int:
    """How a process that works on the cases ended."""
    child = os.fork()
    if not child:
        code = 1
        try:
            work(root, seeds)
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)
    begun = time.time()
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.time() - max(begun, newest(root)) > PATIENCE:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return -1000
        time.sleep(0.02)


def faults_of(case: Path) -> list[str]:
    """What was injected: around the run, and by the oracle."""
    told = (case / "injected").read_text().splitlines() if (case / "injected").exists() else []
    for log in case.glob("log/*"):
        lines = map(str.split, log.read_text().splitlines())
        told += [f"oracle: {line[3]}" for line in lines if line[0] == "deed"]
    return told


def table(counts: collections.Counter, troubled: collections.Counter, ways: list[str]) -> str:
    width = max(map(len, {fault for fault, _ in counts} | {"fault"}))
    lines = ["".join([f"{'fault':{width}}", *(f"{way[:12]:>13}" for way in [*ways, "all"])])]
    for fault in sorted({fault for fault, _ in counts}):
        row = [counts[fault, way] for way in ways]
        lines.append("".join([f"{fault:{width}}", *(f"{n or '':>13}" for n in [*row, sum(row)])]))
    for name, of in (
        ("faults", lambda way: sum(n for (_, w), n in counts.items() if w == way)),
        ("cases in trouble", lambda way: troubled[way]),
    ):
        row = [of(way) for way in ways]
        lines.append("".join([f"{name:{width}}", *(f"{n:>13}" for n in [*row, sum(row)])]))
    return "\n".join(lines)


@contextlib.contextmanager
def cluster(ways: Iterable[str]) -> Iterator[None]:
    """Dask's, where it is installed, in a process that outlives those that are killed."""
    import cases

    if "dask" not in ways:
        yield
        return
    program = [sys.executable, str(HERE / "faults" / "dask_cluster.py")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(program, **pipes) as child:
        os.environ[cases.CLUSTER] = child.stdout.readline().strip()
        yield
        child.stdin.close()


def campaign(root: Path, faults: int, first: int, only: list[int], until: float) -> int:
    """Prints troubles and the table; returns the number of cases in trouble."""
    import cases

    ways, seed = list(cases.WAYS), first
    together = len(ways) * (3 if faults > len(ways) else 1)
    counts: collections.Counter = collections.Counter()
    troubled: collections.Counter = collections.Counter()
    number = shown = 0
    while not number or (not only and sum(counts.values()) < faults and time.time() < until):
        seeds = only or list(range(seed, seed + together))
        code = None
        while code != 0:
            code = fork(root, seeds)
            unjudged = [s for s in seeds if not (root / f"case_{s}/judged").exists()]
            if code in (-1000, 1) and unjudged:  # it hangs, or the campaign itself failed
                case = root / f"case_{unjudged[0]}"
                with (case / "trouble").open("a") as file:
                    file.write(f"seed {unjudged[0]} {'hangs' if code < 0 else 'broke off'}\n")
                (case / "judged").touch()
        for one in seeds:
            case, way = root / f"case_{one}", ways[one % len(ways)]
            counts.update((fault, way) for fault in faults_of(case))
            number += 1
            if (case / "trouble").exists():
                shown += 1
                troubled[way] += 1
                print((case / "trouble").read_text().rstrip(), flush=True)
            elif not only:
                shutil.rmtree(case)
        seed += len(seeds)
    print(table(counts, troubled, ways))
    print(f"{sum(counts.values())} faults in {number} cases, {shown} of them in trouble")
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faults", type=int, default=1000, help="at least so many")
    parser.add_argument("--seed", type=int, default=0, help="of the first case")
    parser.add_argument("--only", type=int, nargs="*", default=[], help="the seeds of cases")
    parser.add_argument("--folder", help="to keep the cases in; a temporary one by default")
    parser.add_argument("--seconds", type=float, default=1e9, help="after which it ends")
    given = parser.parse_args()
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    root = Path(given.folder or tempfile.mkdtemp(prefix="faults.", dir=memory))
    root.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(root / "compiled"))
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path[:3])
    try:
        import cases

        with cluster(cases.WAYS):
            until = time.time() + given.seconds
            troubled = campaign(root, given.faults, given.seed, given.only, until)
    finally:
        if not given.folder:
            shutil.rmtree(root, ignore_errors=True)
    sys.exit(min(troubled, 1))


if __name__ == "__main__":
    main()
