"""How much a function computes when it is run, counted equation by equation."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Literal

INNER = ("jaxpr", "call_jaxpr", "fun_jaxpr")  # programs that are run once where they stand


def counted(function: Callable[..., Any]) -> Callable[..., tuple[Any, jax.Array]]:
    """`function`, jitted, with the operations that it executes beside its result.

    A loop counts as often as it goes round, a branch where it is taken; XLA's own account
    (`cost_analysis`) knows neither. Matrix products count two for each multiply-add, all else one
    for each number that goes in or comes out, whichever are more; what only moves numbers, none.
    """

    def run(*args):
        closed, shapes = jax.make_jaxpr(function, return_shape=True)(*args)
        results, work = _run(closed, jax.tree.leaves(args))
        return jax.tree.unflatten(jax.tree.structure(shapes), results), work

    return jax.jit(run)


def _run(program: Any, args: Sequence[Any]) -> tuple[list[Any], jax.Array]:
    jaxpr = getattr(program, "jaxpr", program)
    known = dict(zip(jaxpr.constvars, getattr(program, "consts", ()), strict=True))
    known |= zip(jaxpr.invars, args, strict=True)
    read = lambda variables: [v.val if isinstance(v, Literal) else known[v] for v in variables]
    work = jnp.float32(0)
    for equation in jaxpr.eqns:
        given, name = read(equation.invars), equation.primitive.name
        inner = [equation.params[n] for n in INNER if n in equation.params]
        if name in LOOPS:
            results, more = LOOPS[name](equation.params, given)
        elif inner:
            results, more = _run(inner[0], given)
        else:
            results = equation.primitive.bind(*given, **equation.params)
            results = results if equation.primitive.multiple_results else [results]
            more = jnp.float32(_operations(equation))
        known |= zip(equation.outvars, results, strict=True)
        work += more
    return read(jaxpr.outvars), work


MOVES = {
    "reshape", "broadcast_in_dim", "squeeze", "slice", "dynamic_slice", "dynamic_update_slice",
    "pad", "concatenate", "transpose", "rev", "gather", "scatter", "copy", "optimization_barrier",
}  # fmt: skip


def _operations(equation: Any) -> int:
    size = lambda variables: sum(math.prod(getattr(v.aval, "shape", ())) for v in variables)
    results, name = size(equation.outvars), equation.primitive.name
    if name in MOVES:
        return 0
    if name == "dot_general":
        (summed, _), _ = equation.params["dimension_numbers"]
        return 2 * results * math.prod(equation.invars[0].aval.shape[d] for d in summed)
    return max(size(equation.invars), results)


def _while(params: Any, given: list[Any]) -> tuple[list[Any], jax.Array]:
    ends = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
    asked, used, start = given[: ends[0]], given[ends[0] : ends[1]], given[ends[1] :]

    def step(carry):
        results, work = _run(params["body_jaxpr"], [*used, *carry[0]])
        return results, carry[1] + work

    go_on = lambda carry: _run(params["cond_jaxpr"], [*asked, *carry[0]])[0][0]
    return jax.lax.while_loop(go_on, step, (start, jnp.float32(0)))


def _scan(params: Any, given: list[Any]) -> tuple[list[Any], jax.Array]:
    if "ft_in" in params:  # from JAX 0.12 on
        used, start, xs = map(list, params["ft_in"].update(given).unpack())
    else:
        ends = params["num_consts"], params["num_consts"] + params["num_carry"]
        used, start, xs = given[: ends[0]], given[ends[0] : ends[1]], given[ends[1] :]

    def step(carry, x):
        results, work = _run(params["jaxpr"], [*used, *carry[0], *x])
        return (results[: len(start)], carry[1] + work), results[len(start) :]

    length, reverse = params["length"], params["reverse"]
    (last, work), ys = jax.lax.scan(step, (start, jnp.float32(0)), xs, length, reverse)
    return [*last, *ys], work


def _cond(params: Any, given: list[Any]) -> tuple[list[Any], jax.Array]:
    branches = [lambda *args, b=b: _run(b, args) for b in params["branches"]]
    return jax.lax.switch(given[0], branches, *given[1:])


LOOPS = {"while": _while, "scan": _scan, "cond": _cond}
