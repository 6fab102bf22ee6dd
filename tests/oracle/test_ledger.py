"""A ledger that was changed, exchanged or cut short, and its counts."""

import shutil
import sqlite3
import struct
import zlib

import numpy as np
import pytest

from banel_jax.oracle import Ledger, LedgerError, Oracle, OracleConfig
from banel_jax.types import Sequences

M = 4


def candidates(round):
    tokens = np.random.default_rng(round).integers(0, 9, (M, 3)).astype(np.int32)
    return Sequences(tokens, tokens > 1)


def reward(sequences):
    return [float(sum(row) % 3 == 0) for row in sequences.tokens]


def pay(path, rounds, run="a", reward_fn=reward, close=True):
    ledger = Ledger(path, run)
    for round in range(rounds):
        Oracle(reward_fn, ledger=ledger).evaluate(round, candidates(round))
    if close:
        ledger.close()
    return ledger


def as_killed(source, target):
    """Copies the files as a kill leaves them, with what is in the -wal only there."""
    for path in source.parent.glob(f"{source.name}*"):
        if not path.name.endswith("-shm"):
            shutil.copy(path, target.with_name(path.name.replace(source.name, target.name)))


def test_a_lost_wal_is_told_before_anything_is_paid_again(tmp_path):
    path, copy = tmp_path / "live", tmp_path / "copy"
    pay(path, 1)
    ledger = pay(path, 2, close=False)
    Oracle(reward, ledger=ledger).evaluate(2, candidates(2))
    as_killed(path, copy)
    ledger.close()
    whole = Ledger(copy, "a")
    assert whole.totals()[0] == 3 * M
    whole.close()

    as_killed(path, copy)
    ledger = Ledger(path, "a")
    Oracle(reward, ledger=ledger).evaluate(3, candidates(3))
    as_killed(path, copy)
    ledger.close()
    (tmp_path / "copy-wal").unlink()
    message = r"holds 12 answers for 12 rows, and is not the one that had 16 for 16.*-wal"
    with pytest.raises(LedgerError, match=message):
        Ledger(copy, "a")
    (tmp_path / "copy.mark").unlink()  # as the message says
    assert pay(copy, 4).totals()[0] == 4 * M


def change(statement):
    def apply(path):
        with sqlite3.connect(path) as other:
            other.execute(statement)
        other.close()

    return apply


COLUMNS = "row, round, index_in_round, tokens, mask, reward, attempts, checksum"
TOKENS = np.array([1, 2, 3], "<i4").tobytes().hex()
CHANGES = {
    "reward": "UPDATE evaluations SET reward = 1 - reward WHERE row = 2",
    "no reward": "UPDATE evaluations SET reward = NULL WHERE row = 2",
    "half a reward": "UPDATE evaluations SET reward = 0.5 WHERE row = 2",
    "a reward in words": "UPDATE evaluations SET reward = 'one' WHERE row = 2",
    "two rewards": "UPDATE evaluations SET reward = 1 - reward WHERE row IN (2, 3)",
    "tokens": f"UPDATE evaluations SET tokens = x'{TOKENS}' WHERE row = 5",
    "tokens in words": "UPDATE evaluations SET tokens = 'abc' WHERE row = 5",
    "mask": "UPDATE evaluations SET mask = x'000000' WHERE row = 5",
    "round": "UPDATE evaluations SET round = 7 WHERE row = 7",
    "index": "UPDATE evaluations SET index_in_round = 9 WHERE row = 7",
    "checksum": "UPDATE evaluations SET checksum = checksum + 1 WHERE row = 0",
    "first row gone": "DELETE FROM evaluations WHERE row = 0",
    "a row gone": "DELETE FROM evaluations WHERE row = 3",
    "last row gone": "DELETE FROM evaluations WHERE row = 7",
    "a round gone": "DELETE FROM evaluations WHERE round = 1",
    "all gone": "DELETE FROM evaluations",
    "an invented row": "INSERT INTO evaluations (row, round, index_in_round, tokens, mask, reward, "
    "attempts, checksum) SELECT 8, 2, 0, tokens, mask, reward, 1, checksum "
    "FROM evaluations WHERE row = 7",
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_ledger_is_refused(tmp_path, name):
    path = tmp_path / "oracle.sqlite"
    pay(path, 2)
    change(CHANGES[name])(path)
    with pytest.raises(LedgerError, match=r"oracle\.sqlite ") as caught:
        Ledger(path, "a")
    assert "\n" not in str(caught.value)


def test_swapped_and_older_ledgers_are_refused(tmp_path):
    one, other = tmp_path / "one" / "oracle.sqlite", tmp_path / "other" / "oracle.sqlite"
    for path in (one, other):
        path.parent.mkdir()
    pay(one, 1)
    shutil.copy(one, tmp_path / "older")
    pay(one, 2)
    # The same run with an oracle that answers otherwise.
    pay(other, 2, reward_fn=lambda s: [1 - r for r in reward(s)])
    shutil.copy(other, one)
    with pytest.raises(LedgerError, match="is not the one that had 8"):
        Ledger(one, "a")
    shutil.copy(tmp_path / "older", one)
    with pytest.raises(LedgerError, match="holds 4 answers for 4 rows, and is not the one that"):
        Ledger(one, "a")


def test_a_mark_that_lags_or_is_garbage_contradicts_nothing(tmp_path):
    path = tmp_path / "oracle.sqlite"
    pay(path, 1)
    old = (tmp_path / "oracle.sqlite.mark").read_bytes()
    pay(path, 3)
    for mark in (old, b"\0" * 192, b'{"rows": 1', b""):
        (tmp_path / "oracle.sqlite.mark").write_bytes(mark)
        ledger = Ledger(path, "a")
        assert ledger.totals()[0] == 3 * M
        ledger.close()


def test_rows_have_names_of_their_own_in_each_folder(tmp_path):
    asked, names = [], []

    def fails_at_first(sequences, rows):
        asked.append(rows[0].id)
        if len(asked) == 2:
            raise RuntimeError
        return [1]

    for name in ("one", "other"):
        with pytest.raises(ValueError, match="RuntimeError"):
            pay(tmp_path / name, 1, reward_fn=fails_at_first)
        pay(tmp_path / name, 2, reward_fn=fails_at_first)
        assert len(asked) == 2 * M + 1 and len(set(asked)) == 2 * M
        assert asked[1] == asked[2]  # it failed, and was asked again
        names += set(asked)
        asked.clear()
    names += [Ledger(None, "a").name_of(0) for _ in range(3)]
    assert len(set(names)) == 4 * M + 3


def test_a_salt_that_was_changed_is_refused(tmp_path):
    path = tmp_path / "oracle.sqlite"
    pay(path, 1)
    change("UPDATE about SET value = replace(value, ' ', '0 ') WHERE name = 'salt'")(path)
    with pytest.raises(LedgerError, match="its salt is"):
        Ledger(path, "a")


def test_checksums_are_crc_32_of_the_row(tmp_path):
    path = tmp_path / "oracle.sqlite"
    pay(path, 2)
    with sqlite3.connect(path) as reader:
        rows = reader.execute(f"SELECT {COLUMNS} FROM evaluations").fetchall()
    reader.close()
    for row, round, index, tokens, mask, reward, _, checksum in rows:
        place = struct.pack("<qqqq", row, round, index, len(tokens))
        text = b"a" + tokens + mask + place + str(int(reward)).encode()
        assert checksum == zlib.crc32(text)


def test_each_answer_is_synced(tmp_path):
    ledger = pay(tmp_path / "oracle.sqlite", 1, close=False)
    settings = [ledger._database.read(f"PRAGMA {name}") for name in ("synchronous", "journal_mode")]
    assert settings == [[(2,)], [("wal",)]]  # 2 is FULL: in WAL mode a sync at every transaction
    ledger.close()


def test_a_ledger_of_another_format_is_refused(tmp_path):
    path = tmp_path / "oracle.sqlite"
    pay(path, 1)
    change("UPDATE about SET value = '1' WHERE name = 'format'")(path)
    with pytest.raises(LedgerError, match="has format 1, not 3"):
        Ledger(path, "a")


def test_a_ledger_that_is_moved_away_takes_nothing_more(tmp_path):
    path = tmp_path / "oracle.sqlite"
    ledger = pay(path, 1, close=False)
    path.rename(tmp_path / "elsewhere")
    with pytest.raises(LedgerError, match=r"moved or deleted.*The oracle was not asked"):
        Oracle(pytest.fail, ledger=ledger).evaluate(1, candidates(1))


def counted(path):
    """The counts by SQL: (rows, successes) before each round and in all, and the rest."""
    with sqlite3.connect(path) as reader:
        one = lambda query: reader.execute(query).fetchone()[0]
        totals = [
            reader.execute(
                "SELECT coalesce(sum(attempts > 0), 0), coalesce(sum(reward = 1), 0) "
                "FROM evaluations WHERE round < ?",
                (round,),
            ).fetchone()
            for round in range(6)
        ]
        rest = (
            one("SELECT min(row) + 1 FROM evaluations WHERE reward = 1"),
            one("SELECT count(*) FROM evaluations WHERE state IN ('running', 'abandoned')"),
            one("SELECT sum(attempts - 1) FROM evaluations WHERE attempts > 0"),
            one("SELECT max(round) FROM evaluations"),
        )
    reader.close()
    return totals, rest


def test_counts_are_those_of_the_file(tmp_path):
    path = tmp_path / "oracle.sqlite"
    fail_at = [0, 3, 6, 11]

    def failing(sequences):
        if fail_at and fail_at[0] == calls[0]:
            fail_at.pop(0)
            raise RuntimeError
        calls[0] += 1
        return reward(sequences)

    calls = [0]
    ledger = Ledger(path, "a")

    def check(ledger):
        rest = (ledger.first_success(), ledger.unanswered(), ledger.repeated_attempts())
        totals = [ledger.totals(round) for round in range(6)]
        assert (totals, (*rest, ledger.last_round())) == counted(path)
        assert ledger.totals() == totals[-1]

    for round in (0, 1, 3, 4):  # a round may be passed over
        while True:
            try:
                Oracle(failing, ledger=ledger).evaluate(round, candidates(round))
                break
            except ValueError:
                check(ledger)
                other = Ledger(path, "a")
                check(other)
                other.close()
        check(ledger)
    assert ledger.repeated_attempts() == 4
    assert ledger.unanswered(3) == 0 and ledger.counts(3).answers == 2 * M


def test_a_round_costs_the_same_however_long_the_ledger_is(tmp_path):
    """In steps of SQLite's machine, which are what a scan of the file would multiply."""

    def steps(rounds):
        ledger = pay(tmp_path / str(rounds), rounds, close=False)
        count = [0]
        oracle = Oracle(reward, ledger=ledger, config=OracleConfig(batch_size=M))
        ledger._database._connection.set_progress_handler(
            lambda: count.__setitem__(0, count[0] + 1), 1
        )
        oracle.evaluate(rounds, candidates(rounds))
        ledger.totals(rounds + 1), ledger.unanswered(), ledger.first_success()
        ledger.repeated_attempts(), ledger.last_round(), Oracle(reward, ledger=ledger)
        ledger.close()
        return count[0]

    few, many = steps(2), steps(30)
    assert 0 < many <= few * 1.2
