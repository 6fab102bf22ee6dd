"""What must hold after every start of a case, and at its end, by the oracle's own log."""

import contextlib
import json
import random
import shutil
import sqlite3

import disk
import misdeeds
import numpy as np
import world


def told(case, **what) -> None:
    with (case.path / "starts.jsonl").open("a") as file:
        file.write(json.dumps(what) + "\n")


def _told(case) -> list[dict]:
    path = case.path / "starts.jsonl"
    return list(map(json.loads, path.read_text().splitlines())) if path.exists() else []


def starts(case) -> int:
    return sum("start" in line for line in _told(case))


def injected(case, name: str) -> None:
    with (case.path / "injected").open("a") as file:
        file.write(f"{name}\n")


def trouble(case, what: str) -> None:
    with (case.path / "trouble").open("a") as file:
        file.write(f"{case.name()}: {what}\n")


def was_damaged(case) -> bool:
    """Whether a start was refused for what was done to the folder before it."""
    lines = _told(case)[-3:]
    refused = lines[-1]["end"].split(": ")[0] in ("LedgerError", "ValueError")
    return len(lines) == 3 and "damaged" in lines[0] and refused


def take_over(case) -> None:
    """After a process was killed: what it left, and what a power cut left of that."""
    lines = _told(case)
    if lines and "start" in lines[-1]:
        told(case, end="killed")
        after_a_start(case)
        if (case.path / "cut").exists():
            (case.path / "cut").unlink()
            rng = random.Random(f"{case.seed}/{lines[-1]['start']}/cut")
            disk.after_the_cut(case.folder, case.path / "image", rng)
            after_a_start(case)


def rows(case) -> dict[int, dict]:
    """The ledger's, of a copy, as to look at it changes its files."""
    there = [p for p in case.folder.glob("oracle.sqlite*") if p.name[13:] in ("", "-wal")]
    if not any(p.stat().st_size for p in there):
        return {}
    look = case.path / "look"
    shutil.rmtree(look, ignore_errors=True)
    look.mkdir()
    for path in there:
        shutil.copyfile(path, look / path.name)
    with contextlib.closing(sqlite3.Connection(look / "oracle.sqlite")) as ledger:
        ledger.row_factory = sqlite3.Row
        if not ledger.execute("SELECT 1 FROM sqlite_master").fetchone():
            return {}
        return {row["row"]: dict(row) for row in ledger.execute("SELECT * FROM evaluations")}


def after_a_start(case) -> None:
    """What was answered stays so, and is the truth."""
    before = case.path / "done.json"
    done = json.loads(before.read_text()) if before.exists() else {}
    try:
        now = rows(case)
    except sqlite3.Error as error:
        return trouble(case, f"the ledger cannot be read: {error}")
    for row, reward in done.items():
        if int(row) not in now or now[int(row)]["reward"] != reward:
            trouble(case, f"row {row} had {reward} and has {now.get(int(row))}")
    for number, row in now.items():
        tokens = np.frombuffer(row["tokens"], "<i4").tolist()
        for_good = case.permanent and misdeeds.fails(tokens)
        if row["state"] == "done":
            true = 0.0 if for_good else misdeeds.truth(tokens)
            if row["reward"] != true or (for_good and case.policy != "zero"):
                trouble(case, f"row {number} has {row['reward']} for {tokens}, {true} is true")
        elif row["state"] == "failed" and case.policy == "drop" and not for_good:
            trouble(case, f"row {number} failed, which did not: {row['reason']}")
    told_now = {number: row["reward"] for number, row in now.items() if row["state"] == "done"}
    before.write_text(json.dumps(told_now))


def at_the_end(case) -> None:
    ends = [line["end"] for line in _told(case) if "end" in line]
    if ends[-1] != "done":
        return trouble(case, f"is not done after {len(ends)} starts: {ends[-1]}")
    for name, ours in (("metrics.jsonl", case.folder), ("state", case.path)):
        if (ours / name).read_bytes() != (case.reference / name).read_bytes():
            trouble(case, f"{name} is not that of the undisturbed run")
    now = rows(case)
    for number, row in now.items():
        fine = row["state"] == "done" or (row["state"] == "failed" and case.policy == "drop")
        if not fine:
            trouble(case, f"row {number} is {row['state']} at the end")
    if case.way != "by_hand":
        _as_the_log_says(case, now)
    left = [path.name for path in case.folder.glob("*answers*")]
    if left:
        trouble(case, f"{left} was left")


def _as_the_log_says(case, now) -> None:
    lines = _told(case)
    hard = {}
    for start, end in zip(
        [x for x in lines if "start" in x], [x for x in lines if "end" in x], strict=True
    ):
        at_once = start["during"] in world.ENDS_AT_ONCE or end["end"] == "killed"
        several = case.way not in ("in_place", "generator")
        hard[start["start"]] = at_once or (several and end["end"].startswith("LedgerError"))
    repeated = sum(max(row["attempts"] - 1, 0) for row in now.values())
    summary = json.loads((case.folder / "summary.json").read_text())
    if summary["asked_again_after_a_stop"] != repeated:
        trouble(case, f"summary.json does not tell of {repeated} asked again")
    for number, row in now.items():
        path = case.path / "log" / str(number)
        events = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
        _of_a_row(case, number, row, events, hard)


def _of_a_row(case, number, row, events, hard) -> None:
    asked = [(int(event[1]), float(event[2])) for event in events if event[0] == "asked"]
    answers = [event for event in events if event[0] == "answered"]
    awaited = sum(event[3:] == ["pending"] for event in events)
    if len(asked) > row["attempts"] + awaited:
        trouble(case, f"row {number} was asked {len(asked)} times, of which {row['attempts']} told")
    if row["source"] == "memo":
        return
    if row["state"] == "done" and not case.permanent and not answers:
        trouble(case, f"row {number} is done, and nobody answered it")
    for _, session, moment, *_ in answers:
        again = [a for a in asked if a[1] > float(moment)]
        began = max((a[1] for a in asked if a[1] <= float(moment)), default=0.0)
        late = case.timeout and float(moment) - began > 0.8 * case.timeout
        if again and not hard[int(session)] and not late:
            trouble(case, f"row {number} was answered in start {session} and asked in {again[0]}")
        elif again and again[0][0] == int(session) and not late:
            trouble(case, f"row {number} was answered and asked again in start {session}")
