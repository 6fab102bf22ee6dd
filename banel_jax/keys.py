"""Random keys whose draws are the same however they are mapped over."""

import jax
import jax.numpy as jnp

from banel_jax.types import Key

THREEFRY = "threefry2x32"


def portable(key: Key) -> Key:
    """The threefry key that stands for a key of any implementation; of threefry it is `key`.

    Others, such as `rbg`, draw other numbers under `jax.vmap` than one by one, and so for every
    size of a chunk; some distributions do not know them at all.
    """
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.wrap_key_data(key)
    if str(jax.random.key_impl(key)) == THREEFRY:
        return key
    words = jax.random.key_data(key)
    found = jax.random.wrap_key_data(words[:2], impl=THREEFRY)
    for i in range(2, words.shape[0]):
        found = jax.random.fold_in(found, words[i])
    return found
