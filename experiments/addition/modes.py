"""What queries of the addition attack are like: a small classifier, so that counts can be read."""

import re
from collections import Counter
from collections.abc import Iterable

GRAMMATICAL = re.compile(r"([0-9]+)\+([0-9]+)=")
# In order: a query counts under the first of them that it has.
MODES = (
    "malformed", "leading zeros", "longer than trained", "long carry chain", "uneven lengths",
    "other",
)  # fmt: skip
LONG_CHAIN = 3  # carries in a row
UNEVEN = 3  # digits that one operand has more than the other


def carry_chain(a: int, b: int) -> int:
    """The longest run of columns in a row that carry, when a and b are added by hand."""
    longest = run = carry = 0
    while a or b or carry:
        carry = (a % 10 + b % 10 + carry) // 10
        run = run + 1 if carry else 0
        longest = max(longest, run)
        a, b = a // 10, b // 10
    return longest


def mode(query: str, max_digits: int) -> str:
    """Which of `MODES` a query is of; max_digits: of an operand in the training data."""
    match = GRAMMATICAL.fullmatch(query)
    if not match:
        return "malformed"
    operands = match.groups()
    if any(len(o) > 1 and o[0] == "0" for o in operands):
        return "leading zeros"
    if max(map(len, operands)) > max_digits:
        return "longer than trained"
    if carry_chain(*map(int, operands)) >= LONG_CHAIN:
        return "long carry chain"
    if abs(len(operands[0]) - len(operands[1])) >= UNEVEN:
        return "uneven lengths"
    return "other"


def count(queries: Iterable[str], max_digits: int) -> dict[str, int]:
    """How many of the queries are of each mode."""
    found = Counter(mode(query, max_digits) for query in queries)
    return {name: found[name] for name in MODES}
