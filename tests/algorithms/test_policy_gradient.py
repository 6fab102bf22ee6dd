"""The policy gradient and its intrinsic rewards, against gradients and networks in NumPy."""

import dataclasses
import json
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny_run import LENGTH, MODEL, PRIOR, M, V, same

from banel_jax.algorithms.observing import one_hot, vocab_size_of
from banel_jax.algorithms.policy_gradient import (
    IntrinsicReward,
    PolicyGradientConfig,
    clipped_ratio,
    policy_gradient,
)
from banel_jax.algorithms.pseudo_count import (
    PseudoCountConfig,
    count_bonus,
    pseudo_count,
    pseudo_count_reward,
)
from banel_jax.algorithms.rnd import Moments, RndConfig, no_rows, rnd, rnd_reward
from banel_jax.models.table import table
from banel_jax.models.transformer import TransformerConfig, transformer
from banel_jax.runs import naming
from banel_jax.training import TrainingConfig
from banel_jax.types import Sequences

EVERY = np.stack(np.meshgrid(*[np.arange(V)] * LENGTH, indexing="ij"), -1).reshape(-1, LENGTH)
# One step on everything, and no bound: Adam's first moment then holds the gradient.
ONE_STEP = TrainingConfig(epochs=1, batch_size=100, learning_rate=0.1, clip_norm=0.0)
STEPS = TrainingConfig(epochs=2, batch_size=4, learning_rate=0.05)
OTHER = np.random.default_rng(1).normal(size=(LENGTH, V)).astype(np.float32)
TINY_RND = RndConfig(width=8, num_layers=2, num_features=8, vocab_size=V)


def sequences(tokens) -> Sequences:
    tokens = jnp.asarray(tokens, jnp.int32)
    return Sequences(tokens, jnp.ones(tokens.shape, bool))


def probabilities(logits):
    weights = np.exp(np.asarray(logits, np.float64))
    return weights / weights.sum(axis=1, keepdims=True)


def log_probs(logits, tokens):
    return np.log(probabilities(logits))[np.arange(LENGTH), tokens].sum(axis=1)


def gradients(logits, tokens):
    """Of log pi of each sequence: indicators minus probabilities, float64 [n, LENGTH, V]."""
    return np.eye(V)[tokens] - probabilities(logits)


def told(config, tokens, rewards, policy=PRIOR, intrinsic=None):
    """The gradient of the loss and the info of one round, whose candidates these are."""
    algorithm = policy_gradient(MODEL, config, intrinsic)
    state = algorithm.init(jax.random.key(0), jnp.asarray(PRIOR)).replace(
        policy=jnp.asarray(policy)
    )
    arguments = jax.random.key(1), state, sequences(tokens), jnp.float32(rewards)
    state, info = jax.jit(algorithm.tell)(*arguments)
    return np.asarray(optax.tree_utils.tree_get(state.opt_state, "mu")) / 0.1, info, state


def drawn(seed, n=M):
    return np.random.default_rng(seed).integers(0, V, size=(n, LENGTH))


def play(algorithm, rounds, reward=lambda tokens: jnp.float32(jnp.sum(tokens, axis=1) % 2)):
    """The state before the first round and after each."""
    ask, tell = jax.jit(algorithm.ask), jax.jit(algorithm.tell)
    states = [algorithm.init(jax.random.key(0), jnp.asarray(PRIOR))]
    for r in range(rounds):
        ask_key, tell_key = jax.random.split(jax.random.key(r))
        candidates, state = ask(ask_key, states[-1])
        states.append(tell(tell_key, state, candidates, reward(candidates.tokens))[0])
    return states


nothing = lambda tokens: jnp.zeros(len(tokens))
sum_of_tokens = IntrinsicReward(
    init=lambda key, params: jnp.int32(0),
    update=lambda key, state, x: (jnp.float32(jnp.sum(x.tokens, axis=1)), state + 1, {}),
)


@pytest.mark.parametrize(
    "settings",
    [
        dict(),
        dict(baseline=1.0),
        dict(kl_coefficient=0.3),
        dict(bonus_weight=0.5),
        dict(baseline=0.2, kl_coefficient=0.3, bonus_weight=0.5, centre=True),
    ],
    ids=lambda settings: ", ".join(settings) or "plain",
)
def test_the_gradient_is_that_of_the_advantages_by_hand(settings):
    tokens, rewards = drawn(0), np.array([0, 1, 0, 0, 1, 0], float)
    with_bonus = "bonus_weight" in settings
    config = PolicyGradientConfig(training=ONE_STEP, **settings)
    found, info, state = told(config, tokens, rewards, OTHER, sum_of_tokens if with_bonus else None)

    relative = log_probs(OTHER, tokens) - log_probs(PRIOR, tokens)
    advantages = (
        rewards - settings.get("baseline", 0) - settings.get("kl_coefficient", 0) * relative
    )
    if with_bonus:
        advantages += 0.5 * tokens.sum(axis=1)
    if "centre" in settings:
        advantages -= advantages.mean()
    expected = -(advantages[:, None, None] * gradients(OTHER, tokens)).mean(axis=0)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    sure = abs(expected) > 1e-4  # elsewhere the sign of Adam's first step is that of rounding
    moved = np.where(sure, state.policy - OTHER, 0)
    np.testing.assert_allclose(moved, -0.1 * np.sign(expected) * sure, atol=1e-5)

    assert info["successes"] == 2
    np.testing.assert_allclose(info["mean_advantage"], advantages.mean(), atol=1e-5)
    np.testing.assert_allclose(info["kl_to_base"], relative.mean(), atol=1e-5)
    loss = -(advantages * log_probs(OTHER, tokens)).mean()
    np.testing.assert_allclose(info["policy_loss"], loss, atol=1e-4)


def test_negative_rl_has_no_gradient_in_expectation_but_one_in_a_sample():
    config = PolicyGradientConfig(baseline=1.0, training=ONE_STEP)
    # Rewards that make the mean over all 81 an expectation: r - 1 = -81 p(x).
    weights = len(EVERY) * np.exp(log_probs(PRIOR, EVERY))
    expected, _, _ = told(config, EVERY, 1 - weights)
    empirical, _, _ = told(config, drawn(2), np.zeros(M))
    assert np.abs(expected).max() < 1e-6 and np.abs(empirical).max() > 0.1


@pytest.mark.parametrize("kl_coefficient", [0.0, 0.05])
def test_without_a_reward_no_parameter_moves_by_a_bit(kl_coefficient):
    config = PolicyGradientConfig(num_candidates=M, kl_coefficient=kl_coefficient, training=STEPS)
    algorithm = policy_gradient(MODEL, config)
    states = play(algorithm, 3, nothing)
    assert all(same(state.policy, jnp.asarray(PRIOR)) for state in states)
    # and the same rounds do move it where there are rewards
    assert not same(play(algorithm, 3)[-1].policy, jnp.asarray(PRIOR))


@cache
def plain():
    return play(policy_gradient(MODEL, PolicyGradientConfig(num_candidates=M, training=STEPS)), 3)


@pytest.mark.parametrize(
    "make",
    [
        lambda policy: rnd(MODEL, policy, TINY_RND),
        lambda policy: pseudo_count(MODEL, policy, PseudoCountConfig()),
    ],
    ids=["rnd", "pseudo count"],
)
def test_a_bonus_of_weight_0_is_the_plain_policy_gradient_bit_for_bit(make):
    config = dict(num_candidates=M, training=STEPS)
    for with_bonus, without in zip(
        play(make(PolicyGradientConfig(bonus_weight=0.0, **config)), 3), plain(), strict=True
    ):
        assert same(with_bonus.policy, without.policy)
        assert same(with_bonus.opt_state, without.opt_state)
    assert not same(play(make(PolicyGradientConfig(**config)), 3)[-1].policy, plain()[-1].policy)


def test_ppo_climbs_the_clipped_ratio_and_nothing_where_it_is_clipped():
    """By hand: a share of each candidate's ratio times advantage, where that is the smaller."""
    tokens, rewards = drawn(0, 40), (np.arange(40) % 3 == 0).astype(float)
    advantages = rewards - rewards.mean()
    old = log_probs(OTHER + 2 * PRIOR, tokens)
    ratios = np.exp(log_probs(OTHER, tokens) - old)
    held = np.clip(ratios, 0.8, 1.2)
    expected = np.minimum(ratios * advantages, held * advantages)
    open_ = ratios * advantages <= held * advantages
    assert 5 < open_.sum() < 35 and (open_ & (advantages < 0) & (ratios > 1.2)).any()
    by_hand = ((open_ * ratios * advantages)[:, None, None] * gradients(OTHER, tokens)).mean(axis=0)

    def surrogate(logits):
        scores = jax.vmap(lambda x: MODEL.log_prob(logits, x))(sequences(tokens))
        a = jnp.float32(advantages)
        return jnp.mean(a * clipped_ratio(scores, jnp.float32(old), a, 0.2))

    value, gradient = jax.value_and_grad(surrogate)(jnp.asarray(OTHER))
    np.testing.assert_allclose(value, expected.mean(), rtol=1e-4)
    np.testing.assert_allclose(gradient, by_hand, atol=1e-5)
    far = jnp.float32([3e4, -3e4])  # nothing overflows, in the gradient neither
    for sign in (-1.0, 1.0):
        a = jnp.full(2, sign)
        total = lambda x, a=a: jnp.sum(a * clipped_ratio(x, jnp.zeros(2), a, 0.2))
        assert np.isfinite(jax.grad(total)(far)).all() and np.isfinite(total(far))


def test_ppos_first_step_is_the_policy_gradients_and_its_later_epochs_go_less_far():
    tokens, rewards = drawn(0), np.array([0, 1, 0, 0, 1, 0], float)
    config = dict(centre=True, training=ONE_STEP)
    for clip in (0.0, 0.2):
        found, _, state = told(PolicyGradientConfig(clip=clip, **config), tokens, rewards, OTHER)
        advantages = rewards - rewards.mean()
        expected = -(advantages[:, None, None] * gradients(OTHER, tokens)).mean(axis=0)
        np.testing.assert_allclose(found, expected, atol=1e-5)
    many = dict(centre=True, training=dataclasses.replace(ONE_STEP, epochs=20))
    moved = {}
    for clip in (0.0, 0.2):
        _, _, state = told(PolicyGradientConfig(clip=clip, **many), tokens, rewards, OTHER)
        moved[clip] = np.abs(log_probs(state.policy, tokens) - log_probs(OTHER, tokens)).max()
    assert moved[0.2] < 0.6 * moved[0.0]


def test_a_replay_climbs_the_mean_likelihood_of_the_distinct_successes():
    """Its gradient by hand, of what was drawn from them; from the second round on without any."""
    tokens = drawn(0)
    tokens[4] = tokens[1]  # met twice, kept once
    rewards = np.array([0, 1, 0, 0, 1, 1], float)
    config = PolicyGradientConfig(
        num_candidates=M, replay_size=5, replay_weight=0.5, training=ONE_STEP
    )
    algorithm = policy_gradient(MODEL, config)
    tell = jax.jit(algorithm.tell)
    gradient = lambda state: np.asarray(optax.tree_utils.tree_get(state.opt_state, "mu")) / 0.1
    start = algorithm.init(jax.random.key(0), jnp.asarray(PRIOR))
    state, info = tell(jax.random.key(1), start, sequences(tokens), jnp.float32(rewards))
    assert float(info["successes_kept"]) == 2
    kept = np.asarray(state.successes.sequences.tokens)[:2]
    np.testing.assert_array_equal(kept, tokens[[1, 5]])
    again = np.asarray(state.successes.draw(jax.random.fold_in(jax.random.key(1), 2), M).tokens)
    assert {tuple(x) for x in again} == {tuple(x) for x in kept}
    expected = -(rewards[:, None, None] * gradients(PRIOR, tokens)).mean(axis=0)
    expected -= 0.5 * gradients(PRIOR, again).mean(axis=0)
    np.testing.assert_allclose(gradient(state), expected, atol=1e-5)

    # A round of failures: what is climbed is the replay alone.
    fresh = state.replace(policy=start.policy, opt_state=start.opt_state)
    state, info = tell(jax.random.key(2), fresh, sequences(drawn(3)), jnp.zeros(M))
    again = np.asarray(state.successes.draw(jax.random.fold_in(jax.random.key(2), 2), M).tokens)
    expected = -0.5 * gradients(PRIOR, again).mean(axis=0)
    np.testing.assert_allclose(gradient(state), expected, atol=1e-5)


@pytest.mark.parametrize("settings", [dict(replay_size=5), dict(clip=0.2, centre=True)])
def test_the_rivals_of_the_policy_gradient_do_not_move_without_a_success(settings):
    algorithm = policy_gradient(
        MODEL, PolicyGradientConfig(num_candidates=M, training=STEPS, **settings)
    )
    assert all(same(state.policy, jnp.asarray(PRIOR)) for state in play(algorithm, 3, nothing))
    assert not same(play(algorithm, 3)[-1].policy, jnp.asarray(PRIOR))


def test_a_replay_of_weight_0_is_the_plain_policy_gradient_bit_for_bit():
    config = dict(num_candidates=M, training=STEPS)
    algorithm = policy_gradient(
        MODEL, PolicyGradientConfig(replay_size=9, replay_weight=0.0, **config)
    )
    for with_replay, without in zip(play(algorithm, 3), plain(), strict=True):
        assert same(with_replay.policy, without.policy)
        assert without.successes is None


def test_known_successes_are_learned_again_from_the_first_round_on():
    algorithm = policy_gradient(
        MODEL, PolicyGradientConfig(num_candidates=M, replay_size=5, training=ONE_STEP)
    )
    start = algorithm.init(jax.random.key(0), jnp.asarray(PRIOR))
    known = drawn(7, 8)
    state = algorithm.know(jax.random.key(1), start, sequences(known), jnp.arange(8.0) % 2)
    np.testing.assert_array_equal(state.successes.sequences.tokens[:4], known[1::2])
    told_, _ = jax.jit(algorithm.tell)(jax.random.key(2), state, sequences(drawn(3)), jnp.zeros(M))
    assert log_probs(told_.policy, known[1::2]).mean() > log_probs(PRIOR, known[1::2]).mean()
    assert policy_gradient(MODEL, PolicyGradientConfig()).know is None


def test_the_penalty_pulls_a_policy_back_to_the_base():
    config = PolicyGradientConfig(num_candidates=64, kl_coefficient=0.1, training=ONE_STEP)
    algorithm = policy_gradient(MODEL, config)
    away = jnp.asarray(3 * OTHER)
    start = algorithm.init(jax.random.key(0), jnp.asarray(PRIOR)).replace(policy=away)

    @jax.jit
    def rounds(state, keys):
        def one(state, key):
            candidates, state = algorithm.ask(key, state)
            return algorithm.tell(key, state, candidates, jnp.zeros(64))[0], None

        return jax.lax.scan(one, state, keys)[0]

    def kl(policy):
        p = np.exp(log_probs(policy, EVERY))
        return (p * (log_probs(policy, EVERY) - log_probs(PRIOR, EVERY))).sum()

    # Two epochs would not do: the second pushes down samples that the first already has.
    end = rounds(start, jax.random.split(jax.random.key(3), 40))
    assert kl(away) > 1 and kl(end.policy) < 0.2 * kl(away)


def test_moments_are_those_of_all_rows():
    rows = np.random.default_rng(3).normal(1000.0, 3.0, size=(20, 2)).astype(np.float32)
    rows = np.concatenate([rows, np.full((20, 1), 0.1, np.float32)], axis=1)
    moments = no_rows((3,))
    for piece in np.split(rows, [4, 5, 13]):
        moments = moments.add(jnp.asarray(piece))
    assert moments.count == 20
    np.testing.assert_allclose(moments.mean, rows.mean(axis=0, dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(moments.variance, rows.var(axis=0, dtype=np.float64), atol=1e-3)
    np.testing.assert_allclose(moments.scale()[:2], rows[:, :2].std(axis=0), rtol=1e-3)
    assert moments.scale()[2] == 1  # it never varied
    assert Moments(*no_rows(()).add(jnp.zeros(3)).__dict__.values()).scale() == 1


def mlp(params, x):
    """The dense layers in NumPy, ReLU between them."""
    layers = params["params"]
    for layer in range(len(layers)):
        weights = layers[f"Dense_{layer}"]
        x = np.maximum(x, 0) if layer else x
        x = x @ np.asarray(weights["kernel"], np.float64) + np.asarray(weights["bias"])
    return x


def test_rnd_bonuses_are_the_normalised_errors_before_the_predictor_learns():
    intrinsic = rnd_reward(MODEL, TINY_RND)
    update = jax.jit(intrinsic.update)
    state = intrinsic.init(jax.random.key(0), jnp.asarray(PRIOR))
    assert len(state.target["params"]) == 2 and len(state.predictor["params"]) == 4
    # At most one in 8 has the rare tokens, so that some observation meets the bound of 5.
    batches = [np.where(np.arange(40)[:, None] == 7, 2, drawn(r, 40) % 2) for r in range(3)]
    seen, errors = np.zeros((0, LENGTH * V)), np.zeros(0)
    for r, tokens in enumerate(batches):
        hot = np.eye(V)[tokens].reshape(len(tokens), -1)
        seen = np.concatenate([seen, hot])
        scale = np.where(seen.std(axis=0) > 0, seen.std(axis=0), 1)
        normalised = (hot - seen.mean(axis=0)) / scale
        assert np.abs(normalised).max() > 5.5
        x = np.clip(normalised, -5, 5)
        error = ((mlp(state.predictor, x) - mlp(state.target, x)) ** 2).mean(axis=1)
        errors = np.concatenate([errors, error])
        target = state.target
        bonus, state, info = update(jax.random.key(r), state, sequences(tokens))
        np.testing.assert_allclose(bonus, error / errors.std(), rtol=1e-3)
        np.testing.assert_allclose(info["prediction_error"], error.mean(), rtol=1e-3)
        after = ((mlp(state.predictor, x) - mlp(target, x)) ** 2).mean()
        np.testing.assert_allclose(info["prediction_error_after"], after, rtol=1e-3)
        assert same(state.target, target)


def test_rnd_is_curious_about_the_novel_and_bored_by_the_familiar():
    config = RndConfig(width=32, num_layers=2, num_features=16, learning_rate=3e-3, vocab_size=V)
    intrinsic = rnd_reward(MODEL, config)
    update = jax.jit(intrinsic.update)
    state = intrinsic.init(jax.random.key(0), jnp.asarray(PRIOR))
    rest = np.random.default_rng(5).permutation(EVERY[1:])
    errors = []
    for r in range(60):  # one sequence again and again, and another each time
        tokens = np.concatenate([np.tile(EVERY[:1], (7, 1)), rest[r : r + 1]])
        bonus, state, _ = update(jax.random.key(r), state, sequences(tokens))
        errors.append(np.asarray(bonus * state.errors.scale()))
    assert errors[-1][0] < 0.2 * errors[1][0]
    assert bonus[7] > 5 * bonus[0]


def test_more_epochs_of_the_predictor_lower_its_error_more():
    after = []
    for epochs in (0, 1, 5):
        config = RndConfig(8, 2, 8, learning_rate=1e-3, epochs=epochs, vocab_size=V)
        intrinsic = rnd_reward(MODEL, config)
        state = intrinsic.init(jax.random.key(0), jnp.asarray(PRIOR))
        _, _, info = jax.jit(intrinsic.update)(jax.random.key(1), state, sequences(EVERY))
        after.append(float(info["prediction_error_after"]))
    assert after[0] == float(info["prediction_error"])
    assert after[0] > after[1] > after[2]


def test_the_one_hot_observation_knows_the_vocabulary_of_a_model_or_asks_for_it():
    tokens = jnp.array([[2, 0]])
    observed = one_hot(3)(Sequences(tokens, jnp.array([[True, False]])))
    np.testing.assert_array_equal(observed, [[0, 0, 1, 0, 0, 0]])

    model = transformer(
        TransformerConfig(vocab_size=5, length=3, num_layers=1, num_heads=1, width=4)
    )
    config = RndConfig(width=4, num_layers=1, num_features=2)
    state = jax.eval_shape(
        lambda key: rnd_reward(model, config).init(key, model.init(key)), jax.random.key(0)
    )
    assert state.observations.mean.shape == (15,)
    with pytest.raises(ValueError, match=r"vocab_size=0.*give RndConfig.vocab_size, or observe"):
        rnd_reward(MODEL, config)
    rnd_reward(MODEL, config, observe=one_hot(V))
    assert vocab_size_of(table(7, 2), config) == 7 and vocab_size_of(table(7, 2), TINY_RND) == V
    # Of a prompted model, and of adapters over one.
    inner = (table(7, 2).settings, None, (1, 2))
    for settings in (inner, ("lora", object(), 123, inner)):
        assert vocab_size_of(MODEL._replace(settings=settings), config) == 7


def test_pseudo_counts_by_hand():
    """Adam without momentum on indicators minus probabilities, one sequence at a time."""
    rate, scale = 0.03, 0.1
    tokens = np.concatenate([drawn(4, 3), drawn(4, 1), drawn(6, 2)])  # the fourth repeats the first
    logits, second, bonuses, gains = np.float64(PRIOR), 0.0, [], []
    for n, row in enumerate(tokens, start=1):
        before = log_probs(logits, row[None])[0]
        g = gradients(logits, row[None])[0]
        second = 0.999 * second + 0.001 * g**2
        logits = logits + rate * g / (np.sqrt(second / (1 - 0.999**n)) + 1e-8)
        gains.append(log_probs(logits, row[None])[0] - before)
        count = 1 / (np.exp(scale * n**-0.5 * gains[-1]) - 1)
        bonuses.append(count**-0.5)

    intrinsic = pseudo_count_reward(MODEL, PseudoCountConfig(scale, rate))
    state = intrinsic.init(jax.random.key(0), jnp.asarray(PRIOR))
    found = []
    for piece in (tokens[:2], tokens[2:]):  # the count and the moments go on
        bonus, state, info = jax.jit(intrinsic.update)(jax.random.key(1), state, sequences(piece))
        found += list(bonus)
    np.testing.assert_allclose(found, bonuses, rtol=1e-3)
    np.testing.assert_allclose(info["prediction_gain"], np.mean(gains[2:]), rtol=1e-3)
    np.testing.assert_allclose(state.density, logits, atol=1e-5)
    assert state.count == len(tokens)


def test_the_count_bonus_falls_with_the_samples_seen_and_never_overflows():
    at = lambda gain, n: float(count_bonus(jnp.float32(gain), jnp.int32(n), 0.1))
    # c n^(-1/2) gain = 0.1: a pseudo-count of 1 / (e^0.1 - 1) = 9.508.
    assert at(2.0, 4) == pytest.approx(9.508**-0.5, rel=1e-4)
    assert at(2.0, 1) > at(2.0, 2) > at(2.0, 1000) > 0
    assert at(-1.0, 1) == 0
    assert np.isfinite(at(1e30, 1)) and np.isfinite(at(np.inf, 1))


def test_the_density_gains_less_from_what_it_has_seen():
    intrinsic = pseudo_count_reward(MODEL, PseudoCountConfig(learning_rate=0.01))
    state = intrinsic.init(jax.random.key(0), jnp.zeros((LENGTH, V)))
    tokens = np.concatenate([np.zeros((60, LENGTH)), np.full((1, LENGTH), 2)])
    bonus, _, _ = jax.jit(intrinsic.update)(jax.random.key(1), state, sequences(tokens))
    assert (np.diff(bonus[:60]) < 0).all()
    assert bonus[60] > 1.5 * bonus[59]


def test_a_run_s_record_tells_the_bonuses_apart():
    policy = PolicyGradientConfig()
    records = [
        naming.plain(dict(algorithm.settings))
        for algorithm in (
            policy_gradient(MODEL, policy),
            rnd(MODEL, policy, TINY_RND),
            rnd(MODEL, policy, TINY_RND, one_hot(V + 1)),
            pseudo_count(MODEL, policy, PseudoCountConfig()),
            pseudo_count(MODEL, policy, PseudoCountConfig(scale=0.2)),
        )
    ]
    assert len({json.dumps(record) for record in records}) == len(records)


@pytest.mark.parametrize(
    ("config", "setting", "message"),
    [
        (PolicyGradientConfig, dict(num_candidates=0), "num_candidates=0 must be at least 1"),
        (PolicyGradientConfig, dict(baseline=float("nan")), "baseline=nan must be a finite number"),
        (PolicyGradientConfig, dict(kl_coefficient=-0.1), "kl_coefficient=-0.1 must not be"),
        (PolicyGradientConfig, dict(bonus_weight=float("inf")), "bonus_weight=inf"),
        (PolicyGradientConfig, dict(clip=1.0), "clip=1.0 must be below 1"),
        (PolicyGradientConfig, dict(replay_size=-1), "replay_size=-1 must not be negative"),
        (PolicyGradientConfig, dict(replay_weight=-1.0), "replay_weight=-1.0 must not be"),
        (RndConfig, dict(width=0), "width=0 must be at least 1"),
        (RndConfig, dict(num_layers=0), "num_layers=0"),
        (RndConfig, dict(predictor_extra_layers=-1), "predictor_extra_layers=-1"),
        (RndConfig, dict(observation_clip=0.0), "observation_clip=0.0 must be positive"),
        (RndConfig, dict(learning_rate=0.0), "learning_rate=0.0 must be positive"),
        (RndConfig, dict(epochs=-1), "epochs=-1 must not be negative"),
        (PseudoCountConfig, dict(scale=0.0), "scale=0.0 must be positive"),
        (PseudoCountConfig, dict(learning_rate=float("nan")), "learning_rate=nan"),
    ],
)
def test_bad_settings_are_named(config, setting, message):
    with pytest.raises(ValueError, match=message):
        config(**setting)
