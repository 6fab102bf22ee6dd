"""Every algorithm through the loop, on tiny models: run under a setting of JAX, it must say the
same as without. Prints one JSON line of what each algorithm paid for and of its final state."""

import dataclasses
import json
import sys
import tempfile

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax import sampling, scoring, success_rate, training
from banel_jax.algorithms.banel import BanelConfig, banel
from banel_jax.algorithms.classifier import ClassifierConfig
from banel_jax.algorithms.expert_iteration import ExpertIterationConfig, expert_iteration
from banel_jax.algorithms.genetic import GeneticConfig, genetic
from banel_jax.algorithms.gflownet import GFlowNetConfig, gflownet
from banel_jax.algorithms.language_rnd import LanguageRndConfig, language_rnd
from banel_jax.algorithms.policy_gradient import PolicyGradientConfig, policy_gradient
from banel_jax.algorithms.prior_sampling import prior_sampling
from banel_jax.algorithms.pseudo_count import PseudoCountConfig, pseudo_count
from banel_jax.algorithms.rnd import RndConfig, rnd
from banel_jax.algorithms.sequential_filtering import (
    SequentialFilteringConfig,
    sequential_filtering,
)
from banel_jax.algorithms.vsd import VsdConfig, vsd
from banel_jax.models import tempering
from banel_jax.models.ensemble import ensemble, fit_ensemble
from banel_jax.models.lora import LoraConfig, lora
from banel_jax.models.table import smoothed_histogram, table
from banel_jax.models.transformer import TransformerConfig, transformer
from banel_jax.runs import loop
from banel_jax.types import Sequences

M, V = 6, 3
TABLE = table(V, 2)
LOGITS = np.array([[0.3, -0.2, 0.1], [0.5, 0.0, -0.4], [-np.inf] * 3], np.float32)
FIT = training.TrainingConfig(epochs=2, batch_size=3, learning_rate=0.1)
VALIDATED = training.TrainingConfig(epochs=2, batch_size=4, learning_rate=0.1, patience=1)
POLICY = PolicyGradientConfig(num_candidates=M, kl_coefficient=0.1, centre=True, training=FIT)


def algorithms():
    two = dict(num_candidates=M, generator_training=FIT, failure_training=FIT)
    held = two | dict(failure_training=VALIDATED, failure_holdout=0.5, failure_rounds=2)
    one = SequentialFilteringConfig(M, failure_training=FIT, max_filters=2, acceptance_floor=0.01)
    yield "prior", prior_sampling(tempering.ladder(TABLE), M)
    yield "banel", banel(TABLE, BanelConfig(**held, failure_weighting=1.0, distinct=True))
    past = BanelConfig(**two, past_filters=1, num_distilled=8, acceptance_floor=0.01)
    histogram = smoothed_histogram(V, 2, 0.5, 0.1)
    yield "past filters", banel(TABLE, past, fit_failure_model=histogram)
    fixed = dict(rejection="threshold", threshold=-0.5, acceptance_floor=0.01)
    yield "threshold", banel(TABLE, BanelConfig(**two, **fixed))
    mixture, fit = ensemble(TABLE, 2), fit_ensemble(TABLE, FIT)
    soft = BanelConfig(**two, failure_start="fresh", rejection="importance")
    yield "ensemble", banel(TABLE, soft, mixture, fit_failure_model=fit)
    yield "filtering", sequential_filtering(TABLE, one)
    yield "policy", policy_gradient(TABLE, POLICY)
    yield "gflownet", gflownet(TABLE, GFlowNetConfig(M, relative_to_prior=True, training=FIT))
    small = RndConfig(width=4, num_layers=2, num_features=4, vocab_size=V)
    yield "rnd", rnd(TABLE, POLICY, small)
    yield "language rnd", language_rnd(TABLE, POLICY, LanguageRndConfig(V, 2, (2,)))
    replay = dataclasses.replace(POLICY, clip=0.2, replay_size=5)
    yield "replay", policy_gradient(TABLE, replay)
    weighted = ExpertIterationConfig(M, 2, importance=1.0, training=FIT)
    yield "cbas", expert_iteration(TABLE, weighted)
    judge = ClassifierConfig(4, 8, 3, 4, vocab_size=V, training=FIT)
    yield "vsd", vsd(TABLE, VsdConfig(M, 2, search_training=FIT, classifier=judge))
    yield "genetic", genetic(TABLE, GeneticConfig(M, 4, num_donors=10))
    yield "pseudo-count", pseudo_count(TABLE, POLICY, PseudoCountConfig())


def reward(sequences):
    return (sequences.tokens.sum(axis=1) == 2).astype("float32")


def types(tree):
    return sorted({str(jnp.result_type(leaf)) for leaf in jax.tree.leaves(tree)})


def traced(algorithm):
    """The types of all that a round makes, without compiling it."""
    key, rewards = jax.random.key(0), jax.ShapeDtypeStruct((M,), jnp.float32)
    state = jax.eval_shape(algorithm.init, key, LOGITS)
    candidates, asked = jax.eval_shape(algorithm.ask, key, state)
    told, info = jax.eval_shape(algorithm.tell, key, asked, candidates, rewards)
    scores = jax.eval_shape(algorithm.candidate_log_prob, asked, candidates)
    assert jax.tree.map(jnp.result_type, told) == jax.tree.map(jnp.result_type, state)
    return types([candidates, asked, told, info, scores])


def ran(algorithm):
    """What was paid for first, of a run in which a round succeeds and one fails throughout."""
    paid = []

    def oracle(sequences):
        paid.append(np.asarray(sequences.tokens).tolist())
        return np.full(M, len(paid) == 2)

    impossible = jnp.full((1, 2), 2, jnp.int32)
    targets = Sequences(impossible, jnp.ones(impossible.shape, bool))
    evaluate = success_rate.exact_evaluation(algorithm, targets)
    with tempfile.TemporaryDirectory() as folder:
        config = loop.RunConfig(rounds=3)
        loop.run(algorithm, LOGITS, oracle, config, folder, evaluate=evaluate)
    return paid[0]


def functions():
    """Of sampling, scoring and training alone: the types and the tokens drawn."""
    config = TransformerConfig(V, 3, 1, 1, 4, dropout=0.1, eos_token=0)
    model = transformer(config)
    params = model.init(jax.random.key(0))
    drawn, log_probs = sampling.sample(model, jax.random.key(1), params, 8)
    scores = scoring.log_likelihood(model, params, drawn)
    weights = jnp.ones(8) * (jnp.arange(8) % 2)
    fit = lambda w: training.fit(model, VALIDATED, jax.random.key(2), params, drawn, w, 1 - w)
    adapters = lora(model, params, LoraConfig(rank=2)).init(jax.random.key(3))
    start = loop.compiled_blocks(prior_sampling(TABLE, M), reward).start
    started = jax.eval_shape(start, jax.random.split(jax.random.key(5), 1), LOGITS)
    kinds = types([params, drawn, log_probs, scores, jax.jit(fit)(weights), adapters, started])
    return {"tokens": drawn.tokens.tolist(), "types": kinds}


def main(names):
    jax.config.update("jax_disable_most_optimizations", True)  # for the compiler's sake
    known = dict(algorithms())
    found = {"paid": {name: ran(known[name]) for name in names}, "functions": functions()}
    if jax.config.jax_enable_x64:
        found["types"] = {name: traced(algorithm) for name, algorithm in known.items()}
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
