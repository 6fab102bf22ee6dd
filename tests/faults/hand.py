"""A person who fills in a run's tables, in parts, in any order, and with slips."""

import csv
import json

import misdeeds
import verdict

SLIPS = ["none", "none", "half", "conflict", "twice", "other run", "no reward", "unknown row"]


def fill_in(case, rng, end: str) -> None:
    """Answers some of the rows that wait; takes away the slip that the run refused before."""
    folder = case.path / "hand"
    for slip in folder.glob("slip*"):
        if slip.name in end or "half" in slip.name:
            slip.unlink()
    answered = set()
    for path in folder.glob("part_*"):
        answered |= set(_rows(path))
    waiting = []
    for path in sorted(folder.glob("round_*.csv")):
        with path.open(newline="") as file:
            waiting += [row for row in csv.DictReader(file) if int(row["row"]) not in answered]
    if not waiting:
        return
    rng.shuffle(waiting)
    some = waiting[: rng.randint(1, len(waiting))]
    verdict.injected(case, "shuffled part" if len(some) < len(waiting) else "shuffled")
    lines = [(row, misdeeds.truth(map(int, row["tokens"].split()))) for row in some]
    number = len(list(folder.glob("part_*")))
    _write(folder / f"part_{number}", lines, rng)
    slip = rng.choice(SLIPS)
    if slip != "none":
        verdict.injected(case, slip)
        _slip(folder / f"slip_{number}_{slip.replace(' ', '_')}", slip, lines, rng)


def _rows(path):
    if path.suffix == ".jsonl":
        return [json.loads(line)["row"] for line in path.read_text().splitlines()]
    with path.open(newline="") as file:
        dialect = csv.Sniffer().sniff(file.readline())
        file.seek(0)
        return [int(row["row"]) for row in csv.DictReader(file, dialect=dialect)]


def _write(path, lines, rng):
    if rng.random() < 0.5:
        said = [{"row": int(row["row"]), "id": row["id"], "reward": r} for row, r in lines]
        path.with_suffix(".jsonl").write_text("".join(json.dumps(one) + "\n" for one in said))
    else:
        mark = rng.choice([",", ";", "\t"])
        said = [[row["row"], row["id"], str(r)] for row, r in lines]
        text = "\n".join(mark.join(one) for one in [["row", "id", "reward"], *said]) + "\n"
        path.with_suffix(".csv").write_text(text)


def _slip(path, slip, lines, rng):
    row, reward = lines[0]
    one = {"row": int(row["row"]), "id": row["id"], "reward": reward}
    if slip == "conflict":
        one["reward"] = 1 - reward
    if slip == "other run":
        one["id"] = "abc-0"
    if slip == "no reward":
        one["reward"] = rng.choice([2, "nan", "high", -1])
    if slip == "unknown row":
        one |= {"row": 10**6, "id": None}
    text = json.dumps(one) + "\n"
    if slip == "half":  # of a wrong answer, which is not whole
        text = json.dumps(one | {"reward": 1 - reward})[: rng.randrange(5, 30)]
    path.with_suffix(".jsonl").write_text(text)
