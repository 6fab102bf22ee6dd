"""What algorithms compute: forward passes of the sequence model, and of other networks."""

import itertools
from functools import partial

import numpy as np

from experiments.common.settings import sized


def _rounds(metrics):
    return metrics["round"].shape[1]


def sampling(settings, metrics):
    return settings.num_candidates * _rounds(metrics)


def of_banel(setting, settings, metrics):
    c, rounds = setting(settings), _rounds(metrics)
    drawn = c.distilled * c.filter_factor
    total = rounds * drawn * 2  # drawn and scored by the base
    total += 3 * c.distilled * c.generator_training.epochs * (rounds - 1)
    if not c.filters:
        return total
    total += rounds * drawn
    if c.past_filters:  # what is drawn for one that passes, each scored by the first filters
        drawn_all = drawn / np.maximum(_passed(metrics, c.filter_factor), 1e-9)
        total += np.mean(np.sum(3 * (drawn_all - drawn), axis=1))
    if c.models_successes:
        total += rounds * drawn
        met = np.minimum(np.cumsum(metrics["num_successes"], axis=1), c.replay_size)
        total += 3 * np.mean(np.sum(met, axis=1)) * c.success_training.epochs
    failures = c.num_candidates * np.minimum(np.arange(1, rounds + 1), c.failure_rounds)
    return total + 3 * np.mean(np.sum(failures * metrics["failure_epochs"], axis=1))


def _passed(metrics, factor):
    """Share of the generator's samples that passed the past filters."""
    return np.minimum(metrics["acceptance"] * factor, 1.0)


def of_filtering(settings, metrics):
    c = sized(settings.filtering, settings)
    rounds = np.arange(_rounds(metrics))
    due = np.isin(rounds, c.filter_rounds) if c.filter_rounds else rounds > 0
    # A round of a new filter chooses among f times as many as it needs.
    factor = np.where(due, c.filter_factor, 1.0)
    wanted = c.num_candidates * np.where(due | (not c.filter_rounds), c.filter_factor, 1.0)
    drawn = wanted / np.maximum(_passed(metrics, factor), 1e-9)
    met = 1 / (1 - 1 / c.filter_factor) if c.filter_factor > 1 else len(rounds)  # filters a sample
    total = np.mean(np.sum(drawn * (1 + met) + wanted, axis=1))
    failures = c.num_candidates * np.minimum(rounds + 1, c.failure_rounds)
    return total + 3 * np.mean(np.sum(failures * metrics["failure_epochs"], axis=1))


def of_free_arms(settings, metrics):
    # The prior and its ladder; and what both cuts choose among.
    return sampling(settings, metrics) * (2 + 2 * settings.cut.filter_factor)


def of_hedge(setting, settings, metrics, arms=("ours", "ours_broadened")):
    """Of free proposals, and of arms that are Algorithm 2 with a setting."""
    total = of_free_arms(settings, metrics)
    for arm in arms:
        own = {n.removeprefix(f"{arm}_"): x for n, x in metrics.items() if n.startswith(f"{arm}_")}
        total += of_banel(setting, settings, metrics | own)
    return total


of_auto = partial(of_hedge, arms=("both_sides",))


def of_policy(name, settings, metrics, extra=0.0):
    # Drawn, scored by the policy and by the base, then trained on.
    c = getattr(settings, name)
    learned = 2 if getattr(c, "replay_size", 0) else 1  # as many successes beside
    each = 3 + 3 * c.training.epochs * learned + extra
    return settings.num_candidates * _rounds(metrics) * each


def of_expert_iteration(name, settings, metrics):
    # Drawn, scored by the generator and by the base; then the successes of the rounds that are kept
    # are learned.
    c = sized(getattr(settings, name), settings)
    met = metrics["num_successes"]
    forgotten = np.pad(met, ((0, 0), (c.success_rounds, 0)))[:, : met.shape[1]]
    learned = np.mean(np.sum(met - forgotten, axis=1)) * c.training.epochs
    return 3 * c.num_candidates * _rounds(metrics) + 3 * learned


def of_vsd(settings, metrics):
    # As a policy gradient of no epochs; and once a success was met each sample of the search is
    # drawn, scored by the prior and learned.
    c, rounds = settings.vsd.search_training, _rounds(metrics)
    searched = np.mean(np.sum(np.cumsum(metrics["num_successes"], axis=1) > 0, axis=1))
    each = (5 * c.epochs + 2) * c.batch_size  # of a first batch but the mean is taken
    return 3 * settings.num_candidates * rounds + each * searched


def vsd_flops(settings, networks):
    """Of the classifier, as if there were a success in each round."""
    c = settings.vsd.classifier
    length = getattr(networks.model(0.0).settings, "length", 0)
    if networks.observe is not None or not length:
        each = 2 * (networks.observed * c.width + c.width * c.hidden + c.hidden)
    else:
        convolved = length * c.embedding + (length + 1) // 2 * c.width
        each = 2 * (convolved * c.kernel * c.width + c.width * c.hidden + c.hidden)
    fitted, search = c.training, settings.vsd.search_training
    rows = 3 * fitted.epochs * fitted.batch_size + search.epochs * search.batch_size
    return each * rows / settings.num_candidates


def rnd_flops(settings, networks):
    c = settings.rnd
    widths = [networks.observed, *[c.width] * (c.num_layers - 1), c.num_features]
    products = lambda widths: 2 * sum(a * b for a, b in itertools.pairwise(widths))
    target = products(widths)
    predictor = products(widths + [c.num_features] * c.predictor_extra_layers)
    # The predictor errs before and after, and learns in between.
    return target + predictor * (2 + 3 * c.epochs)
