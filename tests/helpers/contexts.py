"""One MLIR context for the programs of a test file: JAX makes one for each, a tenth of the time."""

import threading

_kept = threading.local()  # a context is not for several threads


def keep() -> None:
    from jax._src.interpreters import mlir  # there is no public way

    make = mlir.make_ir_context

    def kept():
        if not hasattr(_kept, "context"):
            _kept.context = make()
        return _kept.context

    mlir.make_ir_context = kept


def forget() -> None:
    """What programs were made of stays in their context: called between files."""
    vars(_kept).clear()
