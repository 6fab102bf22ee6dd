"""A program that is an oracle, well or badly behaved, for which it needs the standard library."""

import json
import os
import sys
import time


def misbehave(how, row):
    """What it prints for row 1 in place of an answer; all other rows are answered by 1."""
    out = sys.stdout.buffer
    good = json.dumps({"reward": 1, "id": row["id"]}).encode()
    lines = {
        "text": b"Loading model...\n",
        "utf8": b'{"reward": "\xff\xfe"}\n',
        "nan": b'{"reward": NaN}\n',
        "two": b'{"reward": 2}\n',
        "deep": b"[" * 100_000 + b"\n",
        "list": b"[1]\n",
        "number": b" 0 \r\n",
        "other": b'{"reward": 1, "row": 77}\n',
        "twice": good + b"\n" + good + b"\n",
        "blank": b"\n\n" + good + b"\n",
        "failed": b'{"failed": "no pose\\nfound"}\n',
        "pending": b'{"pending": "plate 3"}\n',
        "score": b'{"reward": 0, "score": "=1+1\\u0000\\ud800", "cost": 2.5}\n',
        "long": json.dumps({"reward": 0, "score": "x" * 2**20}).encode() + b"\n",
        "endless": b"x" * 70 * 2**20,
        "unended": b'{"reward": 0}',
        "cut": b'{"reward": 0',
        "bare": b"1",
        "nothing": b"",
    }
    out.write(lines.get(how, b""))
    out.flush()
    if how in ("unended", "cut", "bare", "nothing", "status"):
        sys.stderr.write("licence expired\n")
        sys.stderr.flush()
        os._exit(7 if how == "status" else 0)
    if how == "noise":
        sys.stderr.write("noise\n" * 100_000)
        print(good.decode(), flush=True)
    if how == "hang":
        time.sleep(600)


def main():
    how, batch = sys.argv[1], []
    for line in sys.stdin:
        row = json.loads(line)
        if how == "reversed":
            batch.append(row)
            continue
        if how == "echo":
            about = {"pid": os.getpid(), "asked": row}
            print(json.dumps({"reward": row["tokens"][0] % 2, "score": about}), flush=True)
        elif how == "late":  # the answer before comes once more, with this one
            for number in (row["row"] - 1, row["row"]):
                if number >= 0:
                    print(json.dumps({"reward": number % 2, "row": number}), flush=True)
        elif row["row"] == 1:
            misbehave(how, row)
        else:
            print('{"reward": 1}', flush=True)
    for row in reversed(batch):
        print(json.dumps({"reward": row["row"] % 2, "row": row["row"]}))


if __name__ == "__main__":
    main()
