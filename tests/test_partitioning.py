"""A decoder split over devices: the numbers of one device, and nothing whole on any."""

import another_process
import jax
import pytest
from jax.sharding import AbstractMesh, AxisType
from jax.sharding import PartitionSpec as P

from banel_jax import parallel, partitioning

BY_HAND = {  # of a mesh whose model axis has 2 devices
    ("params/embedding", (64, 32)): P("model", None),
    ("params/embedding", (63, 32)): P(None, None),  # 2 does not divide it
    ("head", (64, 32)): P("model", None),
    ("opt_state/0/mu/layers/q/kernel", (3, 32, 48)): P(None, None, "model"),
    ("layers/k/bias", (3, 48)): P(None, "model"),
    ("layers/attention_out/kernel", (3, 48, 32)): P(None, "model", None),
    ("layers/gate/kernel", (3, 32, 64)): P(None, None, "model"),
    ("layers/down/kernel", (3, 64, 32)): P(None, "model", None),
    ("params/layers/q/kernel/a", (3, 32, 4)): P(),
    ("params/layers/q/kernel/b", (3, 4, 48)): P(None, None, "model"),
    ("params/layers/down/kernel/a", (3, 64, 4)): P(None, "model", None),
    ("params/layers/down/kernel/b", (3, 4, 32)): P(),
    ("layers/attention_norm/scale", (3, 32)): P(),
    ("position_table", (64, 32)): P(),
    ("buffer/tokens", (64, 32)): P(),
    ("unlayers/q/kernel", (3, 32, 48)): P(),
}


@pytest.mark.parametrize("path, shape", BY_HAND)
def test_what_is_split(path, shape):
    mesh = AbstractMesh((4, 2), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    with jax.sharding.use_abstract_mesh(mesh):
        assert partitioning.spec(path, shape) == BY_HAND[path, shape]
    assert partitioning.spec(path, shape) == P()  # without a mesh nothing is


@pytest.mark.parametrize(
    "text, sizes",
    [
        ("data", (8, 1)), ("data:8", (8, 1)), ("data:4, model:2", (4, 2)), ("model:8", (1, 8)),
        ("data,model:4", (2, 4)),
    ],
)  # fmt: skip
def test_the_mesh_that_a_text_names(text, sizes, monkeypatch):
    monkeypatch.setattr(jax, "make_mesh", lambda sizes, names, **rest: (sizes, names))
    assert parallel.mesh(text, devices=list(range(8))) == (sizes, ("data", "model"))


@pytest.mark.parametrize("text", ["", "data:3", "model:0", "data:8,model:2", "rows:8", "data:-8"])
def test_another_mesh_is_refused(text):
    with pytest.raises(ValueError, match=r"mesh='.*' (must be like|is for) "):
        parallel.mesh(text, devices=list(range(8)))


PROGRAM = """
import shutil, sys, tempfile
from types import SimpleNamespace
import jax, numpy as np
import banel_jax as bj
from banel_jax import parallel, partitioning, sampling, scoring
from banel_jax.models.language import responses
from banel_jax.models.language.decoder_config import DecoderConfig
from banel_jax.models.lora import LoraConfig, lora, lora_algorithm

decoder = DecoderConfig(48, 32, 2, 4, 2, 64, context=32, tied=False)
model = responses.conditioned(decoder, responses.ResponseConfig(6, (1,)), [3, 4, 5])
start = jax.tree.map(lambda x: np.asarray(6 * x), model.init(jax.random.key(0)))
fit = bj.TrainingConfig(epochs=2, batch_size=8, learning_rate=1e-2)
banel = bj.BanelConfig(num_candidates=8, generator_training=fit, failure_training=fit)
where, compiled = tempfile.mkdtemp(), []
jax.monitoring.register_event_duration_secs_listener(
    lambda name, *_, **__: compiled.append(name) if "backend_compile" in name else None
)

def whole():
    return bj.banel(model, banel), partitioning.placed(start)

def adapted():
    base, config = partitioning.placed(start), LoraConfig(rank=2)
    algorithm = lora_algorithm(model, base, config, lambda m, _: bj.banel(m, banel))
    return algorithm, lora(model, base, config).init(jax.random.key(1))

def run(make, name, rounds=3, accept=()):
    algorithm, params = make()
    config, counts = bj.RunConfig(rounds=rounds, seed=3), []
    count = SimpleNamespace(on_round=lambda *_: counts.append(len(compiled)), on_end=lambda: None)
    reward = lambda x: x.tokens[:, 0] % 2
    more = dict(report=False, accept=accept, callbacks=[count])
    result = bj.run(algorithm, params, reward, config, f"{where}/{name}", **more)
    assert counts[1:] == counts[-1:] * (len(counts) - 1), "compiled anew after two rounds"
    return result.state, [list(record.values()) for record in result.metrics]

def same(found, expected, **tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), found, expected)

def is_split(leaf, size):
    split = "model" in str(leaf.sharding.spec)
    for shard in leaf.addressable_shards:
        assert shard.data.size * (size if split else 1) == leaf.size
    return split

drawn, scores = sampling.sample(model, jax.random.key(5), start, 10)
for text in sys.argv[1].split():
    with jax.set_mesh(parallel.mesh(text)):
        size = parallel.axis_size("model")
        params = partitioning.placed(start)
        split = [is_split(leaf, size) for leaf in jax.tree.leaves(params)]
        assert sum(split) == (12 if size > 1 else 0)
        here, log_probs = sampling.sample(model, jax.random.key(5), params, 10)
        np.testing.assert_array_equal(here.tokens, drawn.tokens)
        same(log_probs, scores, atol=2e-5)
        same(scoring.log_likelihood(model, params, here), scores, atol=2e-5)
made = {make: run(make, make.__name__) for make in map(globals().get, sys.argv[3].split())}
for text in sys.argv[2].split():
    with jax.set_mesh(parallel.mesh(text)):
        size = parallel.axis_size("model")
        for make, (state, metrics) in made.items():
            found, records = run(make, f"{make.__name__}-{text}")
            same((found, records), (state, metrics), rtol=5e-3, atol=2e-3)
            assert any([is_split(leaf, size) for leaf in jax.tree.leaves(found)]) == (size > 1)
if "moved" in sys.argv[4:]:  # what was begun elsewhere is taken up
    shutil.copytree(f"{where}/adapted", f"{where}/moved")
    on, there = run(adapted, "adapted", 4), parallel.mesh(sys.argv[2].split()[-1])
    with jax.set_mesh(there):
        same(run(adapted, "moved", 4, ["environment.mesh"]), on, rtol=5e-3, atol=2e-3)
"""


def test_meshes_have_the_numbers_of_one_device_and_split_what_is_large():
    both = "data:2,model:2"
    another_process.printed(PROGRAM, both, both, "adapted", devices=4)


@pytest.mark.slow
def test_eight_devices_too():
    every = "data data:4,model:2 data:2,model:4 model:8"
    another_process.printed(PROGRAM, every, every, "adapted whole", "moved", devices=8)


STEP = r"""
import re
import jax, jax.numpy as jnp
import banel_jax as bj
from banel_jax import parallel

model = bj.transformer(bj.TransformerConfig(4, 3, 1, 2, 8))
config = bj.TrainingConfig(epochs=2, batch_size=8)

def round(key, params):
    rows, scores = bj.sample(model, key, params, 64)
    return bj.fit(model, config, key, params, rows, jnp.exp(scores))

with jax.set_mesh(parallel.mesh("data")):
    program = jax.jit(round).lower(jax.random.key(0), model.init(jax.random.key(1))).compile()
for computation in re.split(r"\n(?=%|ENTRY)", program.as_text()):
    for word in re.findall(r"(all-[a-z]+|collective-permute)(?:-start)?\(", computation):
        print("once" if computation.startswith("ENTRY") else "each step", word)
"""


def test_devices_exchange_nothing_but_gradients_in_the_steps_of_a_fit():
    told = another_process.printed(STEP, devices=2).splitlines()
    assert {line for line in told if line.startswith("each")} == {"each step all-reduce"}


SEEDS = """
import jax, numpy as np
import tiny_run
import banel_jax as bj
from banel_jax import parallel
from banel_jax.models.lora import LoraConfig, lora, lora_algorithm
from banel_jax.runs import loop

keys = jax.vmap(jax.random.key)(np.arange(4))
model = bj.transformer(bj.TransformerConfig(4, 3, 1, 2, 8))
base = model.init(jax.random.key(0))
fit = bj.TrainingConfig(epochs=1, batch_size=6)
config = bj.BanelConfig(num_candidates=6, generator_training=fit, failure_training=fit)
adapted = lora(model, base, LoraConfig(rank=2)).init(jax.random.key(1))
build = lambda: lora_algorithm(model, base, LoraConfig(rank=2), lambda m, _: bj.banel(m, config))
reward = lambda x: (x.tokens[:, 0] == 1).astype("float32")
cases = {
    "tiny": (tiny_run.learner, tiny_run.reward, tiny_run.PRIOR),
    "banel": (lambda: bj.banel(model, config), reward, base),
    "adapters": (build, reward, adapted),
}
for name, (make, reward, prior) in cases.items():
    alone = loop.compiled_run(make(), reward, 2, seeds_at_once=1)(keys, prior)
    with jax.set_mesh(parallel.mesh("data")):
        run = loop.compiled_blocks(make(), reward, seeds_at_once=1)
        progress = run.start(keys, prior)
        call = jax.jit(lambda keys, progress: run.advance(keys, progress, 0, 2))
        program = call.lower(keys, progress).compile().as_text()
        alike = name == "adapters"  # which are not shared out
        words = "all-reduce", "all-gather", "all-to-all", "permute", "callback", "outfeed"
        for other in () if alike else words:
            assert other not in program, (name, other)  # no device waits for another, or for Python
        progress, metrics = run.advance(keys, progress, 0, 2)
    for leaf in [x for x in jax.tree.leaves(progress) if x.size]:
        shards = leaf.addressable_shards
        assert alike or [shard.data.shape[0] for shard in shards] == [1] * 4, name
    plain = lambda x: jax.random.key_data(x) if "key" in str(x.dtype) else x
    for a, b in zip(*map(jax.tree.leaves, ((progress.states, metrics), alone)), strict=True):
        np.testing.assert_allclose(plain(a), plain(b), rtol=1e-5, atol=1e-6)
    print(name)
"""


@pytest.mark.slow
def test_seeds_of_a_compiled_run_are_shared_out_and_meet_nowhere():
    assert another_process.printed(SEEDS, devices=4).split() == ["tiny", "banel", "adapters"]


BYTES = """
import jax, numpy as np
from banel_jax import parallel, partitioning, sampling
from banel_jax.models.language import responses
from banel_jax.models.language.decoder_config import DecoderConfig

decoder = DecoderConfig(512, 256, 2, 4, 4, 512, context=32)
model = responses.conditioned(decoder, responses.ResponseConfig(2), [3])
shapes = jax.eval_shape(model.init, jax.random.key(0))
whole = sum(x.size * 4 for x in jax.tree.leaves(shapes))
with jax.set_mesh(parallel.mesh("model:4")):
    params = partitioning.placed(jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes))
    draw = sampling.sample.lower(model, jax.random.key(0), params, 4, 4)
    memory = draw.compile().memory_analysis()
print((memory.argument_size_in_bytes + memory.temp_size_in_bytes) / whole)
"""


def test_no_device_has_room_for_the_whole_in_use():
    share = float(another_process.printed(BYTES, devices=4))
    # A quarter of the weights, the same again layer by layer, and what is computed with them.
    assert 0.25 < share < 0.65
