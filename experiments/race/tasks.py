"""The tasks of the race: a name, a budget, and a function that prepares it.

Another task is another line of `TASKS`; its function ends with `entry.prepared`.
"""

import dataclasses
from functools import cache, partial
from pathlib import Path

import jax
import numpy as np

from banel_jax import prior_cache, sampling
from banel_jax.algorithms.policy_gradient import PolicyGradientConfig
from banel_jax.models import table
from banel_jax.models.transformer import TransformerConfig, transformer
from banel_jax.tasks.addition import models as addition_models
from banel_jax.tasks.addition.task import strings_of
from banel_jax.tasks.digits import digits
from banel_jax.tasks.ehrlich import chain
from banel_jax.tasks.mnist import task as mnist
from banel_jax.tasks.mnist.data import load_mnist
from banel_jax.tasks.two_circles import TwoCirclesConfig, two_circles
from banel_jax.training import TrainingConfig
from banel_jax.types import Task
from experiments.addition import modes as addition_modes
from experiments.addition import table as addition_table
from experiments.addition.config import PRESETS as ADDITION
from experiments.common.broadening import BroadenConfig, bases
from experiments.common.methods import Networks, Settings, of_transformer
from experiments.digits.config import PRESETS as DIGITS
from experiments.ehrlich import instances
from experiments.mnist.config import PRESETS as MNIST
from experiments.race import entry
from experiments.race.entry import Entry, Prepared
from experiments.race.measures import apart, by_kind

CHAIN_SAMPLES = 5  # of an Ehrlich function's chain, for each of the prior elsewhere
SECTORS = 6  # of the rewarded arc, each a mode
# Of a prior of 2 tokens: enough to draw both circles.
CIRCLES = TransformerConfig(48, 2, num_layers=2, num_heads=2, width=32)
CIRCLES_SAMPLES = 30_000
CIRCLES_TRAINING = TrainingConfig(epochs=12, batch_size=200, learning_rate=2e-3, patience=3)


def _bases(task: Task, broaden: BroadenConfig, seed: int, folder: Path, name: str):
    """Of a task, each when it is asked for."""
    return cache(lambda base: bases({base}, task, broaden, seed, folder, name)[base])


def _addition(preset: str, this: Entry, folder: Path, samples: int) -> Prepared:
    config = ADDITION[preset]
    c = config.task
    target, attacker = (
        addition_models.trained(c, name, folder, file or None)
        for name, file in (("target", config.target_file), ("attacker", config.attacker_file))
    )
    task, _ = addition_models.attack(c, target, attacker)

    def kinds(tokens, mask):
        texts = strings_of(addition_table.as_sequences(tokens))
        return [addition_modes.mode(text, c.grammar.max_digits) for text in texts]

    starts = _bases(task, config.broaden, c.seed, folder, "addition")
    return entry.prepared(this, task, config.networks, starts, by_kind(kinds), samples)


def _circles(config: TwoCirclesConfig, this: Entry, folder: Path, samples: int) -> Prepared:
    """A transformer fitted to the toy's points: what learns by gradients generalises over it."""
    toy = two_circles(config)
    model = transformer(CIRCLES)

    def data():
        drawn, _ = sampling.sample(toy.prior, jax.random.key(0), toy.prior_params, CIRCLES_SAMPLES)
        return drawn, np.float32(np.arange(CIRCLES_SAMPLES) < CIRCLES_SAMPLES // 10)

    prior = prior_cache.pretrained(folder, "circles", config, model, CIRCLES_TRAINING, 0, data)
    task = toy._replace(prior=model, prior_params=prior.params)
    starts = _bases(task, BroadenConfig(), 0, folder, "circles")
    networks = of_transformer(CIRCLES, CIRCLES.length * CIRCLES.vocab_size)
    return entry.prepared(this, task, networks, starts, by_kind(_sector(config)), samples)


def _sector(config: TwoCirclesConfig):
    def kinds(tokens, mask):
        x, y = (tokens - (config.grid - 1) / 2).T
        place = np.degrees(np.arctan2(y, x)) / config.arc_degrees + 0.5
        return np.clip(place * SECTORS, 0, SECTORS - 1).astype(int).tolist()

    return kinds


def _tiny(config: TwoCirclesConfig, this: Entry, folder: Path, samples: int) -> Prepared:
    """The toy as its table is: nothing is trained."""
    task = two_circles(config)
    model = table.table(config.grid, 2)
    observe = lambda sequences: jax.nn.one_hot(sequences.tokens, config.grid).reshape(
        -1, 2 * config.grid
    )
    networks = Networks(lambda dropout: model, 2.0 * config.grid**2, 2 * config.grid, observe)
    both = dict.fromkeys(("prior", "broadened"), task.prior_params)
    start = lambda name: (both | {"both": both})[name]
    return entry.prepared(this, task, networks, start, by_kind(_sector(config)), samples)


def _digits(preset: str, this: Entry, folder: Path, samples: int) -> Prepared:
    config = DIGITS[preset]
    task = digits(config.task, folder)
    starts = _bases(task, config.broaden, config.task.seed, folder, "digits")
    modes = apart(config.task.transformer.length // 2)
    return entry.prepared(this, task, config.networks, starts, modes, samples)


def _mnist(preset: str, this: Entry, folder: Path, samples: int) -> Prepared:
    config = MNIST[preset]
    data = load_mnist(config.data_dir or None)
    prior = mnist.pretrained_prior(config.task, data, folder, config.prior_file or None)
    task = mnist.mnist(config.task, data, prior)
    starts = _bases(task, config.broaden, config.task.seed, folder, "mnist")
    modes = apart(config.task.length // 10)
    return entry.prepared(this, task, config.networks, starts, modes, samples, exact=False)


def _ehrlich(name: str, this: Entry, folder: Path, samples: int) -> Prepared:
    """The prior's successes are drawn by the function's own chain, which is quick."""
    made = instances.prepared(name, folder)
    task, transformer_config = made.task, made.task.prior.settings
    assert isinstance(transformer_config, TransformerConfig)
    starts = _bases(task, BroadenConfig(), 0, folder, "ehrlich")
    length = transformer_config.length
    networks = of_transformer(transformer_config, length * transformer_config.vocab_size)
    found = entry.prepared(
        this, task, networks, starts, apart(length // 4), CHAIN_SAMPLES * samples,
        proposal=chain(made.function),
    )  # fmt: skip
    rate = made.instance.rate  # of more samples
    return found._replace(base_rate=rate, prior_rate=rate)


_ATTACK = ADDITION["demo"].settings
_FROM_PRIOR = dataclasses.replace(_ATTACK, ours_base="prior")
_share = lambda share: partial(_circles, TwoCirclesConfig(inner_share=share))


def _ehrlich_instances() -> dict[str, Entry]:
    """All that were chosen. No setting was searched on any of them: they are held out."""
    made = lambda name: Entry(2000, partial(_ehrlich, name), _FROM_PRIOR, "addition_demo")
    return {f"ehrlich_{name}": made(name) for name in instances.named()}


TASKS: dict[str, Entry] = {
    "addition_demo": Entry(2000, partial(_addition, "demo"), _ATTACK),
    # Success rates of about 8e-3, 8e-4 and 8e-5.
    "circles": Entry(2000, _share(0.09), _FROM_PRIOR),
    "circles_rare": Entry(2000, _share(0.009), _FROM_PRIOR, "circles"),
    "circles_rarer": Entry(2000, _share(0.0009), _FROM_PRIOR, "circles"),
    "digits": Entry(2000, partial(_digits, "demo"), _FROM_PRIOR),
    "mnist_14": Entry(2000, partial(_mnist, "cpu14"), _FROM_PRIOR, "digits"),
    **_ehrlich_instances(),
    "tiny": Entry(
        200,
        partial(
            _tiny, TwoCirclesConfig(grid=16, inner_radius=3.0, outer_radius=5.6, arc_degrees=60.0)
        ),
        Settings(
            ours=dataclasses.replace(_ATTACK.ours, num_candidates=50, num_distilled=100),
            policy_gradient=PolicyGradientConfig(
                training=TrainingConfig(epochs=1, learning_rate=0.3)
            ),
        ),
    ),
}
