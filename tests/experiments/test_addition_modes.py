import pytest

from experiments.addition import modes as addition_modes


@pytest.mark.parametrize(
    ("a", "b", "chain"),
    [
        (0, 0, 0), (1, 2, 0), (5, 5, 1), (99, 1, 2), (99999999, 9, 8), (909, 101, 1), (95, 15, 2),
        (505, 505, 1), (1, 99, 2), (123, 456, 0),
    ],
)  # fmt: skip
def test_carries_in_a_row(a, b, chain):
    assert addition_modes.carry_chain(a, b) == addition_modes.carry_chain(b, a) == chain


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "malformed"), ("12+3", "malformed"), ("1++2=", "malformed"), ("1+2=\n", "malformed"),
        ("+2=", "malformed"), ("12+a=", "malformed"), ("760+051=", "leading zeros"),
        ("00+1=", "leading zeros"), ("0+0=", "other"), ("0+10=", "other"),
        ("12345+0=", "longer than trained"),
        ("01234567+1=", "leading zeros"), ("999+9=", "long carry chain"),
        ("9999+1=", "long carry chain"),
        ("1234+5=", "uneven lengths"), ("123+5=", "other"), ("99+1=", "other"),
    ],
)  # fmt: skip
def test_modes_by_hand(query, expected):
    assert addition_modes.mode(query, 4) == expected


def test_counts_have_every_mode_in_order():
    found = addition_modes.count(["1+1=", "01+1=", "1", "02+2="], 3)
    assert found == {
        "malformed": 1, "leading zeros": 2, "longer than trained": 0, "long carry chain": 0,
        "uneven lengths": 0, "other": 1,
    }  # fmt: skip
    assert list(found) == list(addition_modes.MODES)
