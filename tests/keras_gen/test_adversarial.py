"""Losses against hand-computed values, and the game: who moves when, on what, and what it refuses."""

import math
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_gen as kg
from export import export_generator, load
from keras_gen.adversarial import losses, networks
from keras_gen.adversarial.priors import NormalMixturePrior, NormalPrior, UniformCategorical, UniformPrior
from keras_gen.noise import BatchNoise, CounterNoise
from training.experiments import ring

SHAPE = (8, 8, 1)


def grey(count=32, seed=0, shape=SHAPE):
    return np.random.default_rng(seed).random((count, *shape)).astype(np.float32)


def small_gan(**kwargs):
    return kg.GAN(SHAPE, **{"latent_dim": 4, "hidden_units": (16,), "critic_units": (12,), "pieces": 3, "seed": 1, **kwargs})


# Losses.


@pytest.mark.parametrize("name", sorted(losses.LOSSES))
def test_losses_and_gradients_are_finite_for_large_logits(name):
    logits = tf.constant([-1e4, -30.0, 0.0, 30.0, 1e4])
    for function in losses.LOSSES[name][:3]:
        with tf.GradientTape() as tape:
            tape.watch(logits)
            value = function(logits)
        gradient = tape.gradient(value, logits)
        assert np.isfinite(value).all() and np.isfinite(gradient).all()


def test_losses_by_hand():
    logit = tf.constant([0.5, -2.0])
    s = 1 / (1 + np.exp(-logit.numpy().astype(np.float64)))
    expected = {
        "minimax": (-np.log(s), -np.log(1 - s), np.log(1 - s)),
        "non_saturating": (-np.log(s), -np.log(1 - s), -np.log(s)),
        "least_squares": ([0.125, 4.5], [0.125, 2.0], [0.125, 4.5]),
        "hinge": ([0.5, 3.0], [1.5, 0.0], [-0.5, 2.0]),
        "wasserstein": ([-0.5, 2.0], [0.5, -2.0], [-0.5, 2.0]),
    }
    for name, values in expected.items():
        for function, value in zip(losses.LOSSES[name][:3], values, strict=True):
            np.testing.assert_allclose(function(logit), value, rtol=1e-6, err_msg=name)


def test_losses_are_what_each_other_says():
    logits = tf.constant([-1e4, -30.0, -1.5, 0.0, 0.7, 30.0, 1e4])
    minimax, non_saturating, hinge, wasserstein = (
        losses.LOSSES[name] for name in ("minimax", "non_saturating", "hinge", "wasserstein")
    )

    def same(one, other):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)

    same(minimax.generator(logits), -minimax.fake(logits))  # of zero sum
    same(wasserstein.generator(logits), -wasserstein.fake(logits))
    same(non_saturating.real(logits), minimax.real(logits))  # one critic
    same(non_saturating.fake(logits), minimax.fake(logits))
    same(non_saturating.generator(logits), non_saturating.real(logits))  # the generator wants its images taken for data
    # log(1 - D) - log D = -logit: the two generators differ by the log-ratio.
    same(minimax.generator(logits) + non_saturating.generator(logits), -logits)
    for each in (minimax, hinge, wasserstein):  # which side is called data is a matter of sign
        same(each.real(logits), each.fake(-logits))
    least_squares = losses.LOSSES["least_squares"]
    same(least_squares.real(logits), least_squares.fake(1.0 - logits))
    within = logits[2:5] / 2.0  # within the margin the hinge is Wasserstein's loss and 1 a side
    same(hinge.real(within), wasserstein.real(within) + 1.0)
    same(hinge.generator(logits), wasserstein.generator(logits))


def test_the_non_saturating_gradient_outlives_the_minimax_gradient_where_the_critic_is_sure():
    logit = tf.constant([-20.0])
    slopes = {}
    for name in ("minimax", "non_saturating"):
        with tf.GradientTape() as tape:
            tape.watch(logit)
            value = losses.LOSSES[name].generator(logit)
        slopes[name] = float(tape.gradient(value, logit)[0])
    # At the same side, both pull the logit up; their ratio is D / (1 - D).
    assert slopes["non_saturating"] == pytest.approx(-1.0) and slopes["minimax"] == pytest.approx(-math.exp(-20), rel=1e-4)


def test_with_the_best_critic_twice_the_jensen_shannon_divergence_is_the_objective_plus_log_4():
    p, q = np.array([0.5, 0.3, 0.15, 0.05]), np.array([0.1, 0.2, 0.3, 0.4])
    middle = (p + q) / 2
    jensen_shannon = 0.5 * np.sum(p * np.log(p / middle)) + 0.5 * np.sum(q * np.log(q / middle))
    best = tf.constant(np.log(p) - np.log(q))
    objective = -np.sum(p * losses.MINIMAX.real(best)) - np.sum(q * losses.MINIMAX.fake(best))
    assert 2 * jensen_shannon == pytest.approx(objective + math.log(4), abs=1e-12)
    # The least that the least squares critic can do is chi-squared's quarter: D = p / (p + q).
    best = tf.constant(p / (p + q))
    least = np.sum(p * losses.LEAST_SQUARES.real(best)) + np.sum(q * losses.LEAST_SQUARES.fake(best))
    assert least == pytest.approx(0.5 * np.sum(p * q / (p + q)), abs=1e-12)


def test_the_gradient_penalty_of_a_linear_critic_is_its_slope_less_one_squared():
    slope = tf.constant([[3.0], [4.0]])
    real, fake = tf.zeros((5, 2)), tf.ones((5, 2))
    penalty = losses.gradient_penalty(lambda m: tf.matmul(m, slope)[:, 0], real, fake, tf.fill([5], 0.3))
    np.testing.assert_allclose(penalty, np.full(5, 16.0), rtol=1e-5)
    points = []
    losses.gradient_penalty(lambda m: points.append(m) or m[:, 0], real, fake, tf.fill([5], 0.3))
    np.testing.assert_allclose(points[0], np.full((5, 2), 0.7), rtol=1e-6)


# Priors.


@pytest.mark.parametrize(
    "prior, mean, variance",
    [
        (UniformPrior(2), [0, 0], [1, 1]),
        (UniformPrior(2, -1.0, 1.0), [0, 0], [1 / 3, 1 / 3]),
        (NormalPrior(2, 5.0), [0, 0], [25, 25]),
        (NormalMixturePrior([[0.0, 4.0], [2.0, 0.0]], 0.5), [1, 2], [1.25, 4.25]),
        (UniformCategorical(4), [0.25] * 4, [3 / 16] * 4),
    ],
)
def test_priors_have_their_moments_and_draw_rows_alike(prior, mean, variance):
    prior.build()
    draws = prior.draw(prior(), BatchNoise([1, 2], (20_000,))).numpy()
    np.testing.assert_allclose(draws.mean(0), mean, atol=5 * np.sqrt(max(variance) / len(draws)))
    np.testing.assert_allclose(draws.var(0), variance, rtol=0.05)
    distribution = prior()
    np.testing.assert_allclose(tf.broadcast_to(distribution.mean(), (len(mean),)), mean, atol=1e-6)
    seeds = tf.constant([[1, 2], [-3, 4]])
    both, alone = (prior.draw(prior(), CounterNoise(rows)).numpy() for rows in (seeds, seeds[1:]))
    np.testing.assert_array_equal(both[1:], alone)
    again = type(prior).from_config(prior.get_config())
    np.testing.assert_array_equal(again.draw(again(), CounterNoise(seeds)), both)


# The game.


@pytest.mark.parametrize(
    "rules, critic, generator",
    [
        ({}, 12, 12),
        ({"critic_steps": 3}, 12, 4),
        ({"schedule": "alternate"}, 6, 6),
        ({"schedule": "alternate", "critic_steps": 3}, 9, 3),
    ],
)
@pytest.mark.parametrize("jit_compile", [False, True])
def test_each_side_moves_when_it_is_its_turn(rules, critic, generator, jit_compile):
    model = small_gan()
    model.compile(objective=kg.Game(**rules), jit_compile=jit_compile)
    model.fit(grey(48), batch_size=8, epochs=2, verbose=0)
    assert int(model.critic_optimizer.iterations) == critic == model.objective.turns("critic", 12)
    assert int(model.optimizer.iterations) == generator == model.objective.turns("generator", 12)
    assert model.objective.turns("always", 12) == 12


def test_a_move_changes_its_own_side_alone():
    model = small_gan()
    model.compile(objective=kg.Game(schedule="alternate"), jit_compile=False)
    before = {name: [v.numpy() for v in variables] for name, variables in model.sides().items()}
    model.fit(grey(8), batch_size=8, verbose=0)
    moved = {
        name: any(np.any(v.numpy() != old) for v, old in zip(variables, before[name], strict=True))
        for name, variables in model.sides().items()
    }
    assert moved == {"generator": False, "critic": True}
    model.fit(grey(8), batch_size=8, verbose=0)
    assert any(np.any(v.numpy() != old) for v, old in zip(model.sides()["generator"], before["generator"], strict=True))


def test_figures_of_a_side_are_averaged_over_its_own_moves():
    model = small_gan()
    model.compile(objective=kg.Game(critic_steps=4), jit_compile=False)
    history = model.fit(grey(64), batch_size=8, verbose=0).history
    # Eight steps, two of the generator: were the others counted as 0, this would be about a quarter of log 2.
    assert history["generator_loss"][0] == pytest.approx(math.log(2), abs=0.1)


def test_data_and_drawn_images_are_normalised_as_separate_batches():
    model = kg.DCGAN(SHAPE, latent_dim=4, filters=(4, 8), seed=1)
    real = tf.constant(grey(16))
    logits = []
    for fake in (tf.zeros((16, *SHAPE)), tf.ones((16, *SHAPE))):
        original, seen = model.critic.call, []

        def spy(inputs, *args, original=original, seen=seen, **kwargs):
            seen.append(original(inputs, *args, **kwargs))
            return seen[-1]

        model.critic.call = spy
        model.generator.call = lambda noise, label=None, training=False, fake=fake: fake
        model.compile()
        critic, _ = model.moves(real, None, tf.constant([1, 2]), training=True)
        critic.minimised()
        model.critic.call = original
        logits.append(seen[0].numpy())
    np.testing.assert_array_equal(logits[0], logits[1])


@pytest.mark.parametrize("training", (True, False))
def test_a_critic_that_sees_rows_alone_judges_data_and_drawn_images_in_one_call(training, monkeypatch):
    model = small_gan(num_classes=3)
    model.compile()
    label = model.one_hot(np.arange(6) % 3)

    def critic_move():
        move = model.moves(tf.constant(grey(6)), label, tf.constant([3, 4]), training)[0]
        with tf.GradientTape() as tape:
            loss, figures = move.minimised()
            total = tf.reduce_sum(loss)
        return [loss, figures["fake_accuracy"], *tape.gradient(total, model.sides()["critic"])]

    together = critic_move()
    calls = []
    judge = model.judge
    monkeypatch.setattr(model, "judge", lambda *arguments: calls.append(len(arguments[0])) or judge(*arguments))
    critic_move()
    monkeypatch.setattr(networks.MaxoutCritic, "is_rowwise", False)
    for got, wanted in zip(together, critic_move(), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)
    assert calls == [12, 6, 6]


def test_a_shipped_generator_normalises_by_moving_statistics():
    model = kg.DCGAN(SHAPE, latent_dim=4, filters=(4, 8), seed=1)
    before = model.sample(3).numpy()
    model.compile(jit_compile=False)
    model.optimizer.learning_rate = 0.0
    model.critic_optimizer.learning_rate = 0.0
    model.fit(grey(32), batch_size=16, epochs=3, verbose=0)
    assert np.abs(model.sample(3).numpy() - before).max() > 1e-5  # the statistics have moved, the weights have not


def test_dropout_keeps_the_mean_and_is_off_without_noise():
    ones = tf.ones((50, 400))
    np.testing.assert_array_equal(networks.dropped(ones, 0.5, None), ones)
    dropped = networks.dropped(ones, 0.2, BatchNoise([1, 2], (50,))).numpy()
    assert set(np.unique(dropped)) == {0.0, np.float32(1.25)}
    assert dropped.mean() == pytest.approx(1.0, abs=5 * 0.5 / np.sqrt(dropped.size))


def test_a_maxout_unit_is_the_largest_of_its_pieces():
    critic = networks.MaxoutCritic((3,), units=(2,), pieces=4, input_dropout=0.0, dropout=0.0)
    x = grey(5, shape=(3,))
    kernel, bias = (weight.numpy() for weight in critic.hidden[0].weights)
    linear = (x @ kernel + bias).reshape(5, 4, 2)
    head, offset = (weight.numpy() for weight in critic.head.weights)
    np.testing.assert_allclose(critic(x), (linear.max(1) @ head + offset)[:, 0], rtol=1e-5, atol=1e-8)


def test_sample_weights_weigh_rows():
    def moved(weight):
        keras.utils.set_random_seed(0)
        model = small_gan()
        sgd = keras.optimizers.SGD
        model.compile(sgd(0.1), critic_optimizer=sgd(0.1), jit_compile=False)
        weights = model.critic.trainable_variables  # the generator's gradient is that of a critic which has moved
        before = [v.numpy() for v in weights]
        model.fit(grey(16), batch_size=16, sample_weight=np.full(16, weight, np.float32), verbose=0)
        return sum(np.abs(v.numpy() - old).sum() for v, old in zip(weights, before, strict=True))

    assert moved(0.0) == 0.0
    assert moved(2.0) == pytest.approx(2.0 * moved(1.0), rel=1e-4) and moved(1.0) > 0.0


def test_weights_weigh_figures_and_do_not_scale_them():
    def figures(weights):
        keras.utils.set_random_seed(0)
        model = small_gan()
        model.compile(jit_compile=False)
        return model.evaluate(grey(16), batch_size=16, sample_weight=weights, return_dict=True, verbose=0)

    plain, threefold = figures(None), figures(np.full(16, 3.0))
    for name in ("critic_loss", "real_accuracy", "fake_accuracy", "generator_loss"):
        assert threefold[name] == pytest.approx(plain[name], rel=1e-5)
    keras.utils.set_random_seed(0)
    model, images, first = small_gan(), grey(16), np.eye(16)[0]
    logit = float(model.judge(images[:1])[0])
    assert figures(first)["real_accuracy"] == float(logit > 0.0)


def test_regularisers_of_the_players_own_networks_count():
    def norm(regularizer, side):
        keras.utils.set_random_seed(0)
        pull = {name: regularizer if name == side else None for name in ("generator", "critic")}
        generator = keras.Sequential(
            [keras.layers.Dense(64, "sigmoid", kernel_regularizer=pull["generator"]), keras.layers.Reshape(SHAPE)]
        )
        critic = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(1, kernel_regularizer=pull["critic"])])
        model = kg.GAN(SHAPE, latent_dim=4, generator_network=generator, critic_network=critic, seed=0)
        model.compile(keras.optimizers.SGD(0.01), jit_compile=False)
        model.fit(grey(32), epochs=5, verbose=0)
        return [float(np.linalg.norm(network.trainable_variables[0])) for network in (generator, critic)]

    plain = norm(None, None)
    for index, side in enumerate(("generator", "critic")):
        pulled = norm(keras.regularizers.L2(5.0), side)
        # A step shrinks the kernel by 2 * 0.01 * 5.
        assert pulled[index] == pytest.approx(0.9**5 * plain[index], rel=0.1)
        assert pulled[1 - index] == pytest.approx(plain[1 - index], rel=0.1)


def test_labels_reach_both_sides():
    keras.utils.set_random_seed(0)  # new weights are small, and some of them too small to see
    model = small_gan(num_classes=3)
    seeds = np.array([[1, 2], [1, 2], [1, 2]], np.int32)
    drawn = model.generate(seeds, [0, 1, 2])["sample"].numpy()
    assert np.abs(drawn[0] - drawn[1]).max() > 1e-3 and np.abs(drawn[1] - drawn[2]).max() > 1e-3
    x = tf.constant(np.repeat(grey(1), 3, axis=0))
    logits = model.judge(x, model.one_hot([0, 1, 2])).numpy()
    assert len(set(logits.tolist())) == 3
    np.testing.assert_array_equal(model.sample(6, seed=4)[4:5], model.generate([[4, 4]], [1])["sample"])


def test_wasserstein_with_a_penalty_trains():
    model = small_gan()
    model.compile(objective=kg.Game("wasserstein", critic_steps=2, gradient_penalty=10.0))
    history = model.fit(grey(64), batch_size=8, epochs=3, verbose=0).history
    assert np.isfinite(history["critic_loss"]).all()


def test_eight_gaussians_on_a_ring():
    results, _ = ring.run(say=lambda line: None, seeds=(0,), steps=3000)
    assert results["results"]["modes"]["mean"] == 8
    assert results["results"]["within 3 sigma"]["mean"] > 0.8


def test_networks_of_the_users_own(tmp_path):
    generator = keras.Sequential([keras.Input((4,)), keras.layers.Dense(64, "sigmoid"), keras.layers.Reshape(SHAPE)])
    critic = keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(1)])
    model = kg.GAN(SHAPE, latent_dim=4, generator_network=generator, critic_network=critic, seed=0)
    model.compile(critic_optimizer=keras.optimizers.SGD(0.03, momentum=0.7), jit_compile=False)
    assert np.isfinite(model.fit(grey(), verbose=0).history["loss"]).all()
    again = type(model).from_config(model.get_config())
    assert [w.shape for w in again.weights] == [w.shape for w in model.weights]
    # A file holds all that training depends on.
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    before = loaded.get_weights()
    for each in (model, loaded):
        each.fit(grey(64, seed=2), batch_size=16, epochs=2, verbose=0)
    assert any(np.any(new != old) for new, old in zip(loaded.get_weights(), before, strict=True))
    for got, wanted in zip(loaded.variables, model.variables, strict=True):
        np.testing.assert_array_equal(got.numpy(), wanted.numpy(), err_msg=wanted.path)
    for (got, _), (wanted, _) in zip(loaded.players(), model.players(), strict=True):
        assert got.get_config() == wanted.get_config()
    export_generator(model, tmp_path / "artifact", formats=("tflite",))
    seeds = np.stack([np.full(5, 7), np.arange(5)], axis=1).astype(np.int32)
    drawn = load(tmp_path / "artifact", format="tflite").generate(seeds)["sample"]
    np.testing.assert_allclose(drawn, model.generate(seeds)["sample"], atol=1e-5)


def test_every_players_loss_scale_is_saved_and_restored(tmp_path):
    model = kg.AdversarialAutoencoder(SHAPE, latent_dim=3, hidden_units=(16,), dtype="mixed_float16", seed=0)
    model.compile(critic_optimizer=keras.optimizers.SGD(0.03, momentum=0.7), jit_compile=False)
    model.fit(grey(48), batch_size=16, epochs=2, verbose=0)
    scales = []
    for index, (optimizer, _) in enumerate(model.players()):
        optimizer.dynamic_scale.assign(2.0 ** (5 + index))
        optimizer.step_counter.assign(3 + index)
        scales.append((float(optimizer.dynamic_scale), int(optimizer.step_counter), int(optimizer.inner_optimizer.iterations)))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert scales == [
        (float(optimizer.dynamic_scale), int(optimizer.step_counter), int(optimizer.inner_optimizer.iterations))
        for optimizer, _ in loaded.players()
    ]
    rules = loaded.critic_optimizer.inner_optimizer.get_config()
    assert rules["momentum"] == 0.7 and rules["learning_rate"] == pytest.approx(0.03)


# The autoencoder.


def test_three_players_share_the_encoder():
    model = kg.AdversarialAutoencoder(SHAPE, latent_dim=3, hidden_units=(16,), seed=0)
    sides = model.sides()
    assert {id(v) for v in sides["encoder"]} < {id(v) for v in sides["autoencoder"]}
    assert not {id(v) for v in sides["critic"]} & {id(v) for v in sides["autoencoder"]}
    model.compile(jit_compile=False)
    for name in ("autoencoder", "encoder"):  # only the critic moves
        model._optimizer(name).learning_rate = 0.0
    before = [v.numpy() for v in sides["autoencoder"]]
    model.fit(grey(), verbose=0)
    for variable, old in zip(sides["autoencoder"], before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), old)


def test_only_labelled_images_teach_the_categories():
    model = kg.AdversarialAutoencoder(SHAPE, latent_dim=3, hidden_units=(16,), categories=3, seed=0)
    logits = tf.constant([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]])
    figures = {}
    loss = model._classification(logits, model.one_hot([1, -1, 2]), figures).numpy()
    entropy = [math.log(math.e + 2), None, math.log(math.exp(3) + 2) - 3]
    np.testing.assert_allclose(loss, [1.5 * entropy[0], 0.0, 1.5 * entropy[2]], rtol=1e-5)
    right, labelled = figures["accuracy"]
    np.testing.assert_allclose((right * labelled, labelled), ([0.0, 0.0, 1.0], [1.0, 0.0, 1.0]))
    none = model._classification(logits, model.one_hot([-1, -1, -1]), {}).numpy()
    np.testing.assert_array_equal(none, np.zeros(3))


def test_the_accuracy_is_that_of_the_labelled_images_however_few():
    model = kg.AdversarialAutoencoder(SHAPE, latent_dim=3, hidden_units=(16,), categories=3, seed=0)
    model.compile(jit_compile=False)
    images, labels = grey(64), np.full(64, -1)
    labels[[1, 40]] = np.argmax(model.classify(images[[1, 40]]), axis=-1)
    labels[55] = (np.argmax(model.classify(images[55:56])) + 1) % 3
    scores = model.evaluate(images, labels, batch_size=8, verbose=0, return_dict=True)
    assert scores["accuracy"] == pytest.approx(2 / 3)  # five of the eight batches hold no label
    chosen = labels >= 0
    entropy = -np.log(np.take_along_axis(model.classify(images[chosen]).numpy(), labels[chosen, None], axis=1))
    assert scores["classification"] == pytest.approx(entropy.mean(), rel=1e-4)


def test_clusters_are_the_classes_of_images_that_differ_clearly():
    keras.utils.set_random_seed(4)
    labels = np.arange(400) % 4
    images = 0.05 * grey(400)
    for label in range(4):
        images[labels == label, 2 * label : 2 * label + 2] += 0.9
    model = kg.AdversarialAutoencoder(SHAPE, latent_dim=2, hidden_units=(32,), prior_scale=1.0, categories=4, seed=4)
    model.compile(keras.optimizers.Adam(1e-2), jit_compile=False)
    model.fit(images[:300], batch_size=50, epochs=30, verbose=0)
    probabilities = model.classify(images[300:]).numpy()
    clusters = probabilities.argmax(-1)
    right = sum(np.bincount(labels[300:][clusters == each]).max() for each in np.unique(clusters))
    # One cluster for all would have a quarter; new, the model has half of them right, and is sure of none.
    assert right / 100 > 0.9 and probabilities.max(-1).mean() > 0.9


def test_clusters_need_no_labels():
    model = kg.AdversarialAutoencoder(SHAPE, latent_dim=3, hidden_units=(16,), categories=3, seed=0)
    model.compile(jit_compile=False)
    assert np.isfinite(model.fit(grey(), verbose=0).history["loss"]).all()
    probabilities = model.classify(grey()).numpy()
    np.testing.assert_allclose(probabilities.sum(-1), 1.0, rtol=1e-5)


def test_a_prior_of_the_users_own():
    corners = NormalMixturePrior([[-9.0, 0.0, 0.0], [9.0, 0.0, 0.0]], 0.5)
    model = kg.AdversarialAutoencoder(SHAPE, latent_dim=3, hidden_units=(16,), prior=corners, seed=0)
    drawn = model.generator.latents(BatchNoise([1, 2], (500,))).numpy()
    assert np.abs(np.abs(drawn[:, 0]) - 9.0).max() < 3.0 and 150 < np.sum(drawn[:, 0] > 0) < 350
    model.compile(jit_compile=False)
    assert np.isfinite(model.fit(grey(), verbose=0).history["loss"]).all()
    again = type(model).from_config(model.get_config())
    np.testing.assert_array_equal(again.prior.locations, corners.locations)
    with pytest.raises(ValueError, match=r"draws events of shape \(2,\)"):
        kg.AdversarialAutoencoder(SHAPE, latent_dim=2, hidden_units=(16,), prior=corners)


# The average of the generator's weights.


def small_dcgan(average, **kwargs):
    model = kg.DCGAN(SHAPE, latent_dim=4, filters=(4, 8), seed=1, **kwargs)
    model.compile(objective=kg.Game(average=average), jit_compile=False)
    return model


def values_of(variables):
    return [variable.numpy() for variable in variables]


@pytest.mark.parametrize("jit_compile", [False, True])
def test_the_average_is_that_of_the_weights_of_all_steps(jit_compile):
    model = small_gan()
    model.compile(objective=kg.Game(average=0.5), jit_compile=jit_compile)
    expected = values_of(model.generator.trainable_variables)
    for step in range(1, 13):
        model.fit(grey(8, seed=step), batch_size=8, verbose=0)
        decay = min(0.5, (1 + step) / (10 + step))
        weights = values_of(model.generator.trainable_variables)
        expected = [decay * mean + (1 - decay) * weight for mean, weight in zip(expected, weights, strict=True)]
    for mean, exact in zip(model.companion.means, expected, strict=True):
        np.testing.assert_allclose(mean, exact, rtol=1e-5, atol=1e-7)


def test_an_averaged_model_draws_by_the_average_and_statistics_of_its_own(tmp_path):
    model = small_dcgan(0.99)
    model.fit(grey(64), batch_size=8, epochs=5, verbose=0)
    before, drawn = values_of(model.generator.variables), model.sample(4)
    with model.averaged():
        for weight, mean in zip(model.generator.trainable_variables, model.companion.means, strict=True):
            np.testing.assert_array_equal(weight, mean)
        assert np.abs(model.sample(4) - drawn).max() > 1e-3
        # Statistics that are those of the weights make of a large batch what its own statistics make of it.
        measured, own = (model.generator.call(BatchNoise([3, 4], (2000,)), training=each) for each in (False, True))
        np.testing.assert_allclose(measured, own, atol=0.02)
        model.save(tmp_path / "averaged.keras")
    momenta = {layer.momentum for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)}
    with pytest.raises(KeyError), model.averaged():
        raise KeyError
    assert momenta == {0.9}
    np.testing.assert_array_equal(model.sample(4), drawn)
    for variable, value in zip(model.generator.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    saved = keras.saving.load_model(tmp_path / "averaged.keras")
    for weight, mean in zip(saved.generator.trainable_variables, model.companion.means, strict=True):
        np.testing.assert_array_equal(weight, mean)


def test_averages_of_models_without_one_are_their_own():
    model = small_dcgan(0.0)
    drawn = model.sample(4)
    with model.averaged():
        np.testing.assert_array_equal(model.sample(4), drawn)


# What is refused.


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"loss": "mse"}, "loss='mse'"),
        ({"schedule": "now and then"}, "schedule='now and then'"),
        ({"critic_steps": 0}, "critic_steps=0"),
        ({"gradient_penalty": -1.0}, "gradient_penalty=-1.0"),
        ({"average": 1.0}, "average=1.0"),
        ({"loss": "wasserstein"}, "without a penalty"),
    ],
)
def test_rules_that_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        kg.Game(**arguments)


def test_an_objective_of_the_other_kind_is_refused():
    with pytest.raises(ValueError, match="no likelihood; its objective is a keras_gen.Game"):
        small_gan().compile(objective=kg.objectives.ELBO())
    with pytest.raises(ValueError, match="a VAE has a likelihood"):
        kg.VAE(SHAPE, latent_dim=2, hidden_units=(4,)).compile(objective=kg.Game())


def _critic(*layers):
    return keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), *layers])


@pytest.mark.parametrize(
    "networks_, message",
    [
        ({"critic_network": _critic(keras.layers.Dense(1, "sigmoid"))}, "critic ends in sigmoid: it must return logits"),
        ({"critic_network": _critic(keras.layers.Dense(1), keras.layers.Softmax())}, "ends in softmax"),
        (
            {"critic_network": _critic(keras.layers.Dense(1, "sigmoid"), keras.layers.Reshape(()))},
            "ends in sigmoid: it must return logits",
        ),
        ({"critic_network": _critic(keras.layers.Dense(2))}, "one logit for each"),
        (
            {"generator_network": keras.Sequential([keras.layers.Dense(49), keras.layers.Reshape((7, 7, 1))])},
            r"generator returns shape \('B', 7, 7, 1\)",
        ),
        (
            {"critic_network": _critic(keras.layers.Dense(4, activity_regularizer="l2"), keras.layers.Dense(1))},
            "critic adds a loss of its activations",
        ),
        (
            {"generator_network": keras.Sequential([keras.layers.Dense(64, "tanh"), keras.layers.Reshape(SHAPE)])},
            r"generator returns images with values from -.*: they must be in \[0, 1\]",
        ),
        ({"prior": NormalPrior(5)}, r"shape \(4,\)"),
        ({"latent_dim": 0}, "latent_dim=0"),
        ({"num_classes": 1}, "num_classes=1"),
    ],
)
def test_networks_that_do_not_fit_are_refused(networks_, message):
    with pytest.raises(ValueError, match=message):
        small_gan(**networks_)


class _Head(keras.layers.Layer):
    """Ends in a linear layer, whatever the order of its layers, and then in `ending`."""

    def __init__(self, ending=lambda logits: logits):
        super().__init__()
        self.gate, self.out, self.ending = keras.layers.Dense(8, "sigmoid"), keras.layers.Dense(1), ending

    def call(self, x):
        return self.ending(self.out(self.gate(x)))


def _functional(*steps):
    values = start = keras.Input(SHAPE)
    for step in steps:
        values = step(values)
    return keras.Model(start, values)


@pytest.mark.parametrize(
    "critic",
    [
        lambda: keras.Sequential([keras.Input(SHAPE), _critic(keras.layers.Dense(1, "sigmoid"))]),
        lambda: _functional(_functional(keras.layers.Flatten(), keras.layers.Dense(1, "sigmoid")), keras.layers.Reshape((1,))),
        lambda: _functional(keras.layers.Flatten(), keras.layers.Dense(1), keras.ops.sigmoid),
        lambda: _functional(_critic(keras.layers.Dense(1)), keras.ops.log_sigmoid, lambda logits: logits[:, 0]),
        lambda: _critic(keras.layers.Dense(1), keras.layers.Activation("hard_sigmoid")),
        lambda: _critic(_Head(tf.sigmoid)),
        lambda: _critic(keras.layers.Dense(1, lambda logits: 1.0 - tf.sigmoid(logits))),
        lambda: _critic(keras.layers.Dense(1, "sigmoid"), keras.layers.Dropout(0.5)),
    ],
)
def test_probabilities_are_refused_wherever_they_come_from(critic):
    with pytest.raises(ValueError, match="sigmoid: it must return logits"):
        small_gan(critic_network=critic())


@pytest.mark.parametrize(
    "critic",
    [
        lambda: _critic(_Head()),
        lambda: _functional(keras.layers.Flatten(), _Head()),
        lambda: _functional(keras.layers.Flatten(), keras.layers.Dense(8, "sigmoid"), keras.layers.Dense(1)),
        lambda: _critic(keras.layers.Dense(8, "sigmoid"), keras.Sequential([keras.layers.Dense(1)])),
        lambda: _critic(_Head(lambda logits: tf.sigmoid(logits) * logits)),
    ],
)
def test_logits_are_taken_whatever_comes_before(critic):
    assert small_gan(critic_network=critic()).judge(grey(3)).shape == (3,)


@pytest.mark.parametrize(
    "labels, message",
    [
        (None, "labels of x are missing"),
        (np.full(32, 3), "run from 3 to 3; labels are integers from 0 to 2"),
        (np.full(32, -1), "from -1 to -1"),
        (np.zeros((32, 3)), "not one-hot"),
        (np.full(32, 0.5), "no integers"),
    ],
)
def test_bad_labels_are_refused_before_training(labels, message):
    model = small_gan(num_classes=3)
    model.compile()
    with pytest.raises(ValueError, match=message):
        model.fit(grey(), labels, verbose=0)
    if labels is not None:
        with pytest.raises(ValueError, match=message.replace("of x", "of batches of x")):
            model.fit(tf.data.Dataset.from_tensor_slices((grey(), labels)).batch(8), verbose=0)


def test_a_critic_may_be_smaller_than_its_generator():
    model = kg.DCGAN((8, 8, 1), latent_dim=4, filters=(4, 8), critic_filters=(2, 3), seed=1)
    assert model.generator.network.filters == (4, 8)
    assert [layer.filters for layer in model.critic.convolutions] == [2, 3]
    again = type(model).from_config(model.get_config())
    assert [weight.shape for weight in again.weights] == [weight.shape for weight in model.weights]
    same = kg.DCGAN((8, 8, 1), latent_dim=4, filters=(4, 8), seed=1)
    assert [layer.filters for layer in same.critic.convolutions] == [4, 8]


@pytest.mark.parametrize("sizes", [(), (4, 0), (4.0,), "48", (True, 2)])
def test_channels_that_cannot_be(sizes):
    for name in ("filters", "critic_filters"):
        with pytest.raises(ValueError, match=f"{name}=.*the channels of each convolution, positive integers, at least 1"):
            kg.DCGAN((8, 8, 1), latent_dim=4, **{name: sizes})


@pytest.mark.parametrize("name", ["dropout", "input_dropout"])
@pytest.mark.parametrize("rate", [1.0, 1.5, -0.1, float("nan"), "half"])
def test_what_is_no_probability_of_dropping(name, rate):
    with pytest.raises(ValueError, match=f"{name}={rate!r}: a probability from 0, and less than 1"):
        small_gan(**{name: rate})


@pytest.mark.parametrize("pieces", [0, 2.5, True])
def test_pieces_of_a_maxout_unit_that_cannot_be(pieces):
    with pytest.raises(ValueError, match=f"pieces={pieces}: an integer of at least 1"):
        small_gan(pieces=pieces)


def test_labels_where_none_are_wanted_and_none_where_they_are():
    with pytest.raises(ValueError, match="takes none"):
        small_gan().generate([[1, 2]], [0])
    with pytest.raises(ValueError, match="pass label"):
        small_gan(num_classes=3).generate([[1, 2]])
    with pytest.raises(ValueError, match="run from 3 to 3"):
        small_gan(num_classes=3).generate([[1, 2]], [3])
    with pytest.raises(ValueError, match="run from 3 to 3"):
        small_gan(num_classes=3).generate([[1, 2]], tf.constant([3]))
    for labels in ([0, 1, 2], tf.constant([0, 1, 2])):
        with pytest.raises(ValueError, match="2 seeds and 3 labels"):
            small_gan(num_classes=3).generate([[1, 2], [1, 3]], labels)
    with pytest.raises(ValueError, match=r"label has shape \(2,\); the class of all 3 images"):
        small_gan(num_classes=3).sample(3, label=[0, 1])


@pytest.mark.parametrize("count, batch", [(1, 32), (33, 32), (8, 1)])
def test_a_batch_of_one_under_batch_normalisation_is_refused(count, batch):
    model = kg.DCGAN(SHAPE, latent_dim=4, filters=(4, 8))
    model.compile()
    with pytest.raises(ValueError, match="batch normalisation needs at least 2"):
        model.fit(grey(count), batch_size=batch, verbose=0)
    single = tf.data.Dataset.from_tensor_slices(grey(4)).batch(1, drop_remainder=True)
    with pytest.raises(ValueError, match="batch normalisation needs at least 2"):
        model.fit(single, verbose=0)


def test_a_late_batch_of_one_under_batch_normalisation_is_refused():
    model = kg.DCGAN(SHAPE, latent_dim=4, filters=(2,))
    model.compile(jit_compile=False)
    with pytest.raises(ValueError, match="a batch of 1: batch normalisation needs at least 2"):
        # The second batch meets a program that is made for batches of any size.
        model.fit(tf.data.Dataset.from_tensor_slices(grey(9)).batch(8), verbose=0)
    assert int(model.optimizer.iterations) == 1


def test_replicas_need_two_images_each_under_batch_normalisation(monkeypatch):
    model = kg.DCGAN(SHAPE, latent_dim=4, filters=(2,))
    strategy = types.SimpleNamespace(num_replicas_in_sync=2)
    monkeypatch.setattr(type(model), "distribute_strategy", strategy)
    for count, batch_size, steps in ((48, 2, None), (48, 3, 1), (9, 8, None), (11, 8, 2), (3, 8, 1)):
        with pytest.raises(ValueError, match=f"{count} images in batches of {batch_size}, divided among 2 replicas"):
            model.check_batches(count, batch_size, steps)
    for count, batch_size, steps in ((48, 4, None), (50, 5, 2), (9, 8, 1), (12, 8, None), (4, 32, None)):
        model.check_batches(count, batch_size, steps)


def test_numbers_of_classes_may_be_numpys():
    model = small_gan(num_classes=np.int64(3))
    assert type(model.num_classes) is int and model.sample(3).shape == (3, *SHAPE)
    with pytest.raises(ValueError, match="num_classes=True"):
        small_gan(num_classes=True)


def test_constant_images_are_refused():
    model = small_gan()
    model.compile()
    with pytest.raises(ValueError, match="the same constant 0.25"):
        model.fit(np.full((32, *SHAPE), 0.25, np.float32), verbose=0)
    with pytest.raises(ValueError, match="the first batches of x are all the same constant 0"):
        model.fit(tf.data.Dataset.from_tensor_slices(np.zeros((32, *SHAPE), np.float32)).batch(8), verbose=0)
