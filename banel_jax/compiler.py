"""Keeps versions of the compiler that are known to be wrong on CPU from answering wrongly.

jaxlib 0.10.2 hands sums on CPU to a library by way of which some come out wrong without a word
(jax-ml/jax#39103: `jax.vmap(lambda row: jnp.sum((m @ row) ** 2))` over more than 32,768 rows), and
with it 0.11.0 crashes where arrays have seven axes or more (jax-ml/jax#39257). An XLA flag turns
that off. XLA reads its flags when JAX starts its first device, and other versions may end the
process over a flag that they do not know, so it is set for these versions alone.
"""

import logging
import os

from jaxlib.version import __version__

WRONG = {  # why, in the words of the line that is said where the guard could not act
    "0.10.2": "computes some sums wrongly on CPU (jax-ml/jax#39103)",
    "0.11.0": "crashes on CPU over arrays of many axes (jax-ml/jax#39257)",
}
FLAG = "--xla_cpu_experimental_ynn_fusion_type="  # to nothing


def guard(version: str = __version__) -> None:
    """Turns the fault off if JAX has not started yet, and says in one line where it stays on.

    The flag is added to `XLA_FLAGS` in the environment, which processes that are started from
    here inherit, unless that has a value of the flag already or names a file of flags. Whether it
    is in force is looked at when JAX starts its CPU device, or now if it has.

    Args:
      version: of jaxlib.
    """
    if version not in WRONG:
        return
    from jax._src import xla_bridge  # nothing public tells whether a device was started

    flags = os.environ.get("XLA_FLAGS", "").strip()
    started = xla_bridge.backends_are_initialized()
    if not started and FLAG not in flags and (not flags or flags.startswith("-")):
        os.environ["XLA_FLAGS"] = f"{flags} {FLAG}".strip()

    def look(platform: str) -> None:
        if platform == "cpu" and not guarded():
            logging.getLogger(__name__).warning(
                f"jaxlib {version} {WRONG[version]} and is in use without the flag that cures it: "
                f"start with XLA_FLAGS={FLAG} in the environment, or import banel_jax before JAX "
                "is used"
            )

    if hasattr(xla_bridge, "register_backend_initialization_hook"):  # of what has started, too
        xla_bridge.register_backend_initialization_hook(lambda client: look(client.platform))
    elif started:
        look("cpu")


def guarded() -> bool:
    """Whether `XLA_FLAGS`, or the file of flags that it names, turns the fault off."""
    flags = os.environ.get("XLA_FLAGS", "").strip()
    if flags and not flags.startswith("-"):
        try:
            with open(flags, encoding="utf-8") as file:
                flags = file.read()
        except (OSError, ValueError):
            return False
    values = [word.removeprefix(FLAG) for word in flags.split() if word.startswith(FLAG)]
    return bool(values) and values[-1].strip("\"'") == ""
