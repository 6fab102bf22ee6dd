"""What devices can do at most, by their makers' sheets."""

from typing import NamedTuple


class Device(NamedTuple):
    """One device.

    Attributes:
      kind: as JAX names it (`device_kind`).
      bfloat16, float32: FLOP/s of dense matrix products; a TPU's float32 is six products in
        bfloat16, which is what the precision "highest" takes there.
      memory: bytes of it.
      bandwidth: bytes of its memory a second.
      link: bytes a second that it sends to the others of its machine, one way.
    """

    kind: str
    bfloat16: float
    float32: float
    memory: float
    bandwidth: float
    link: float


DEVICES = {
    "a100": Device("NVIDIA A100-SXM4-80GB", 312e12, 19.5e12, 80e9, 2.04e12, 300e9),
    "h100": Device("NVIDIA H100 80GB HBM3", 989e12, 67e12, 80e9, 3.35e12, 450e9),
    "h200": Device("NVIDIA H200", 989e12, 67e12, 141e9, 4.8e12, 450e9),
    "tpu_v4": Device("TPU v4", 275e12, 46e12, 32e9, 1.2e12, 150e9),
    "tpu_v5e": Device("TPU v5 lite", 197e12, 33e12, 16e9, 0.82e12, 100e9),
    "tpu_v5p": Device("TPU v5p", 459e12, 76e12, 95e9, 2.77e12, 300e9),
    "tpu_v6e": Device("TPU v6 lite", 918e12, 153e12, 32e9, 1.64e12, 224e9),
}


def by_kind(kind: str) -> Device | None:
    """The device that JAX names so, None for one that is not known."""
    return next((device for device in DEVICES.values() if device.kind == kind), None)
