"""Shapes and types in the signatures of reusable functions are checked wherever a test calls them.

Modules that define pytrees are left out: JAX rebuilds those with leaves that are no arrays.
"""

from jaxtyping import install_import_hook

CHECKED = ("diagnostics", "sampling", "scoring", "success_rate", "training")
install_import_hook([f"banel_jax.{name}" for name in CHECKED], "beartype.beartype")
