"""The loop as compiled calls, for rewards that are JAX functions: rounds scanned, seeds mapped."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax.parallel import map_shares, num_devices
from banel_jax.runs import memory
from banel_jax.runs import rounds as shared
from banel_jax.runs.report.numbers import count
from banel_jax.sampling import found
from banel_jax.types import Algorithm, Key, Params, Sequences, State


class CompiledRun(NamedTuple):
    """A whole experiment as compiled calls, each of as many rounds as one likes.

    Attributes:
      start: `start(keys [seeds], prior_params) -> progress`, before the first round.
      advance: `advance(keys [seeds], progress, first_round, rounds) -> (progress, metrics)`
        with metrics by name, [seeds, rounds]; `rounds` is static. One call of thirty rounds
        and six of five have the same numbers, so `progress` may be kept between them.
        It raises ValueError where `run` would, if only at the end of the call: for a candidate
        that was not found above the acceptance floor or a reward that is neither 0 nor 1.
        Under a caller's own jit it cannot: there such candidates are neither counted nor
        rewarded. Within its rounds nothing passes through the host.
    """

    start: Callable[[Key, Params], "Progress"]
    advance: Callable[[Key, "Progress", Any, int], tuple["Progress", dict[str, jax.Array]]]


class Progress(NamedTuple):
    """Of several seeds: states, each leaf [seeds, ...], and what was paid and met.

    Attributes:
      states: the algorithm's.
      counts: int32 [seeds, 2], as COUNTS names them.
    """

    states: State
    counts: jax.Array


def compiled_run(
    algorithm: Algorithm,
    reward_fn: Callable[[Sequences], jax.Array],
    rounds: int,
    evaluate: shared.Evaluate | None = None,
    seeds_at_once: int | None = None,
) -> Callable[[Key, Params], tuple[State, dict[str, jax.Array]]]:
    """The whole experiment as one compiled call: a scan over rounds, mapped over seeds.

    Args:
      algorithm: what learns.
      reward_fn: `reward_fn(sequences [m]) -> float32 [m]` in {0, 1}, a JAX function.
      rounds: of ask, evaluate, tell; each costs m reward evaluations a seed.
      evaluate: as in `run`.
      seeds_at_once: how many seeds are computed as one batch; None for all. Under a mesh whose
        devices divide the number of seeds, each device has its share of them.

    Returns:
      A function of (keys [seeds], prior_params) that returns the final states, each leaf
      [seeds, ...], and the metrics by name, [seeds, rounds]. At its end it raises a ValueError
      for a reward that is neither 0 nor 1 and for a candidate that was not found.
    """
    start, advance = compiled_blocks(algorithm, reward_fn, evaluate, seeds_at_once, donate=True)

    def experiment(keys: Key, prior_params: Params):
        progress, metrics = advance(keys, start(keys, prior_params), 0, rounds)
        return progress.states, metrics

    return experiment


def compiled_blocks(
    algorithm: Algorithm,
    reward_fn: Callable[[Sequences], jax.Array],
    evaluate: shared.Evaluate | None = None,
    seeds_at_once: int | None = None,
    donate: bool = False,
) -> CompiledRun:
    """An experiment in compiled calls, for rewards that are JAX functions.

    Keys are derived as in `run`, so a seed has the same numbers up to float32 rounding: XLA may
    order the sums of a larger program otherwise, and in time a sample may differ. With
    `seeds_at_once=1` the states of small models are those of `run` bit for bit.

    Args:
      algorithm: what learns.
      reward_fn: `reward_fn(sequences [m]) -> float32 [m]` in {0, 1}, a JAX function.
      evaluate: as in `run`.
      seeds_at_once: how many seeds are computed as one batch; None for all.
      donate: let `advance` work in the memory of the progress it is given, which is then gone.
    """
    # The barriers keep XLA from fusing across what are separate programs in `run`.
    barrier = jax.lax.optimization_barrier

    def start_one(key: Key, prior_params: Params):
        state = barrier(shared.strong(algorithm.init(shared.init_key(key), prior_params)))
        return Progress(state, jnp.zeros(2, jnp.int32))

    def advance_one(key: Key, progress: Progress, first_round, rounds: int):
        def one_round(progress, round):
            state, counts = progress
            keys = shared.round_keys(key, round)
            candidates, asked = barrier(shared.strong(algorithm.ask(keys.ask, state)))
            present, scored = found(candidates), ~jnp.isnan(algorithm.log_prob(asked, candidates))
            rewards = barrier(jnp.asarray(reward_fn(candidates), jnp.float32))
            if rewards.shape != candidates.tokens.shape[:1]:
                raise ValueError(
                    f"the reward function returned shape {rewards.shape} for "
                    f"{candidates.tokens.shape[0]} candidates; it must return one reward each"
                )
            sound = jnp.all((rewards == 0) | (rewards == 1))
            rewards = jnp.where(present & scored, rewards, 0.0)
            told = algorithm.tell(keys.tell, asked, candidates, rewards)
            state, info = barrier(shared.strong(told))
            nan = {"asked": shared.nan_parts(asked), "told": shared.nan_parts(state)}
            evaluation = evaluate(asked, state) if evaluate else {}
            counts += jnp.array([jnp.sum(present & scored), jnp.sum(rewards)], jnp.int32)
            record = {"round": round, **dict(zip(shared.COUNTS, counts, strict=True))}
            record = barrier(record | shared.merge(info, evaluation))
            return Progress(state, counts), (
                record,
                {"found": present, "scored": scored, "sound": sound, **nan},
            )

        progress, records = jax.lax.scan(
            one_round, progress, first_round + jnp.arange(rounds, dtype=jnp.int32)
        )
        return progress, *records

    if seeds_at_once is not None and seeds_at_once < 1:
        raise ValueError(f"seeds_at_once={seeds_at_once} must be at least 1")
    over_seeds = functools.partial(_over_seeds, seeds_at_once)

    @jax.jit
    def start(keys: Key, prior_params: Params):
        return over_seeds(
            lambda prior_params, key: start_one(key, prior_params), prior_params, keys
        )

    @functools.partial(jax.jit, static_argnums=3, donate_argnums=1 if donate else ())
    def advance_all(keys: Key, progress: Progress, first_round, rounds: int):
        one = lambda first_round, x: advance_one(x[0], x[1], first_round, rounds)
        return over_seeds(one, first_round, (keys, progress))

    call = _telling_memory(advance_all, seeds_at_once)

    def advance(keys: Key, progress: Progress, first_round, rounds: int):
        progress, metrics, checks = call(keys, progress, first_round, rounds)
        if not isinstance(checks["sound"], jax.core.Tracer):  # under a caller's jit it cannot raise
            # Explicitly, so that a caller's transfer guard lets it pass.
            first_round, checks = int(jax.device_get(first_round)), jax.device_get(checks)
            for seed, round in np.argwhere(~checks["sound"]):
                raise ValueError(
                    f"the reward function answered neither 0 nor 1 in round {first_round + round} "
                    f"of seed number {seed}; a reward is 0 or 1"
                )
            _check_rounds(first_round, checks)
        return progress, metrics

    return CompiledRun(start, advance)


def _telling_memory(advance: Any, seeds_at_once: int | None) -> Callable[..., Any]:
    """A jitted `advance(keys, progress, first_round, rounds)` that says, before a program's first
    call, what it takes of the memory."""
    told = set()

    def call(keys: Key, progress: Progress, first_round, rounds: int):
        seeds, mesh = len(keys), jax.sharding.get_abstract_mesh()
        traced = any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves((keys, progress)))
        if not traced and (seeds, rounds, mesh) not in told:
            devices = num_devices()
            at_once = _at_once(seeds if seeds % devices else seeds // devices, seeds_at_once)
            what = f"one call of {count(rounds, 'round')} for {count(seeds, 'seed')}"
            memory.check(what, at_once, advance, keys, progress, first_round, rounds)
            told.add((seeds, rounds, mesh))
        return advance(keys, progress, first_round, rounds)

    return call


def _over_seeds(
    seeds_at_once: int | None, each: Callable[[Any, Any], Any], shared: Any, xs: Any
) -> Any:
    """`each(shared, x)` of all seeds [seeds], a share of them on each device of the mesh."""
    seeds = jax.tree.leaves(xs)[0].shape[0]
    if seeds_at_once is not None and seeds % seeds_at_once:
        raise ValueError(f"{seeds} seeds are not a multiple of seeds_at_once={seeds_at_once}")

    def on_device(shared, xs):
        one, own = functools.partial(each, shared), jax.tree.leaves(xs)[0].shape[0]
        if seeds_at_once is None:
            return jax.vmap(one)(xs)
        at_once = _at_once(own, seeds_at_once)
        if at_once == 1:
            return jax.lax.map(one, xs)
        split = lambda x: x.reshape(own // at_once, at_once, *x.shape[1:])
        batches = jax.lax.map(jax.vmap(one), jax.tree.map(split, xs))
        return jax.tree.map(lambda x: x.reshape(own, *x.shape[2:]), batches)

    return map_shares(on_device, shared, xs)


def _at_once(own: int, seeds_at_once: int | None) -> int:
    """How many of a device's own seeds are one batch."""
    return own if seeds_at_once is None else math.gcd(own, seeds_at_once)


def _check_rounds(first_round: int, checks: dict) -> None:
    """Raises, for the first seed and round where `run` would have, what it would have raised."""
    seeds, rounds = checks["found"].shape[:2]
    for seed in range(seeds):
        for i in range(rounds):
            asked, told = ({k: v[seed, i] for k, v in checks[n].items()} for n in ("asked", "told"))
            shared.check_found(first_round + i, checks["found"][seed, i])
            shared.check_asked(first_round + i, asked, ~checks["scored"][seed, i])
            shared.check_told(first_round + i, told)
