"""Rows whose sequence was met before are answered from the ledger (`OracleConfig.memo`)."""

import json
from collections.abc import Sequence
from typing import Literal

from banel_jax.oracle.calls import Call
from banel_jax.oracle.hand import Result
from banel_jax.oracle.ledger import Ledger


def answer_from_memory(
    ledger: Ledger,
    call: Call,
    unpaid: Sequence[int],
    memo: Literal["free", "counted"],
    before: int,
) -> None:
    """Answers what it can of a round, durably.

    Of the rounds that are still in flight nothing is taken, as which of their answers are there
    depends on the clock, and on where the run was stopped.

    Args:
      ledger: which is looked into, and written to.
      call: all rows of a round.
      unpaid: places in it of those that have no answer.
      memo: whether they count as paid.
      before: the first row of the rounds in flight.
    """
    sources = dict[str, list[Result]]()
    x = call.sequences
    for i in unpaid:
        met = ledger.known_answer(x.tokens[i].tobytes(), x.mask[i].tobytes(), before)
        if met is not None and met.reward is not None:
            score = None if met.score is None else json.loads(met.score)
            result = Result(call.rows[i].row, met.reward, score)
            sources.setdefault(met.source, []).append(result)
    for source, results in sources.items():
        ledger.answer_from(source, results, memo == "counted")
