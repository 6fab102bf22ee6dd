"""Small arrays of a checkpoint as one, since orbax takes half a millisecond for each."""

from collections.abc import Mapping

import numpy as np

BELOW = 2**20  # bytes
NAME = "packed"


def pack(leaves: Mapping[str, np.ndarray], below: int = BELOW) -> dict[str, np.ndarray]:
    """The arrays, those of fewer bytes than `below` one after another in one of uint8."""
    small = [leaf for leaf in leaves.values() if leaf.nbytes < below]
    packed = {name: leaf for name, leaf in leaves.items() if leaf.nbytes >= below}
    if small:
        packed[NAME] = np.frombuffer(b"".join(leaf.tobytes() for leaf in small), np.uint8)
    return packed


def unpack(
    packed: Mapping[str, np.ndarray], like: Mapping[str, np.ndarray], below: int
) -> dict[str, np.ndarray]:
    """The inverse of `pack`, for arrays that are `like` these."""
    leaves, data, begin = dict(packed), bytes(np.asarray(packed.get(NAME, b""))), 0
    for name, leaf in like.items():
        if leaf.nbytes < below:
            part = data[begin : begin + leaf.nbytes]
            leaves[name] = np.frombuffer(part, leaf.dtype).reshape(leaf.shape)
            begin += leaf.nbytes
    return leaves
