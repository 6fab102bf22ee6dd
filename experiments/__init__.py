import contextlib

with contextlib.suppress(ImportError):  # without JAX, which each program tells
    import banel_jax  # noqa: F401  # takes over the signals before other imports, of seconds
