"""Under a mesh nothing is compiled anew from round to round, whatever learns."""

import another_process
import every_algorithm
import pytest

PROGRAM = """
import math, re, sys
import jax, jax.numpy as jnp, numpy as np
import every_algorithm as every
from banel_jax import parallel, partitioning
from banel_jax.models.language import responses
from banel_jax.models.language.decoder_config import DecoderConfig
from banel_jax.runs import steps

compiled = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, *_, fun_name="", **__: "backend_compile" in event and compiled.append(fun_name)
)
over, meshes, names = sys.argv[1:]
if over == "table":
    model, prior = every.MODEL, every.PRIOR
else:  # whose weights are split over the devices of `model`
    decoder = DecoderConfig(every.V, 8, 1, 2, 2, 8, context=8, tied=False)
    model = responses.conditioned(decoder, responses.ResponseConfig(every.LENGTH, ()), [1, 2])
    prior = model.init(jax.random.key(0))
key, reward = jax.random.key(0), jax.jit(every.REWARDS["some"])
for text in meshes.split():
    number = math.prod(map(int, re.findall("[0-9]+", text)))
    with jax.set_mesh(parallel.mesh(text, jax.devices()[:number])):
        placed = partitioning.placed(prior)
        for name in names.split(";"):
            step, new = steps.compiled_steps(every.ALGORITHMS[name](model)), []
            state = step.init(key, placed)
            for round in map(jnp.int32, range(4)):
                before = len(compiled)
                candidates, asked = step.ask(key, round, state)
                rewards = reward(candidates.tokens)
                state, _ = step.tell(key, round, asked, candidates, rewards)
                new.append(compiled[before:])
            assert {"jit(ask)", "jit(tell)"} <= set(new[0]), new
            assert new[1:] == [[], [], []], (text, name, new)
            print(text, name, sep=";")
"""
BOTH = "data:2", "data:2,model:2"
SOME = ("banel, both sides", "policy gradient, replay", "genetic")
# Of each kind of state one; a decoder's programs take ten times as long to compile.
SPLIT = (
    ("banel, both sides", "gflownet, vargrad", "genetic"),
    ("filtering", "policy gradient, replay", "rnd"),
    ("VSD", "expert iteration", "pseudo count"),
)


def check(model, meshes, names):
    told = another_process.printed(PROGRAM, model, " ".join(meshes), ";".join(names), devices=4)
    assert told.split("\n")[:-1] == [f"{mesh};{name}" for mesh in meshes for name in names]


def test_four_rounds_are_compiled_in_the_first():
    check("table", BOTH[1:], SOME)


@pytest.mark.slow
@pytest.mark.parametrize("mesh", BOTH)
def test_those_of_every_algorithm_too(mesh):
    check("table", [mesh], list(every_algorithm.ALGORITHMS))


@pytest.mark.slow
@pytest.mark.parametrize("names", SPLIT)
def test_and_where_a_decoder_is_split(names):
    check("decoder", BOTH[1:], names)
