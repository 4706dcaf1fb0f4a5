"""Half-image prediction against enumeration of all hidden states in float64, by formulas of its own."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import export
import keras_gen as kg
from keras_gen import objectives
from tests.keras_gen.gradients import gradient_draws, name_of, replicated, set_baselines, with_large_weights
from tests.statistics import assert_mean

IMAGES = np.array([[1, 0, 0, 1, 1, 1, 0, 1], [1, 1, 0, 1, 0, 0, 1, 0], [0, 0, 1, 0, 1, 0, 0, 0]], np.float32)
IMAGES = IMAGES.reshape(3, 4, 2, 1)


class Exact:
    """A predictor of images (4, 2, 1) with units (3, 2), its weights as float64 variables in the order of the model's."""

    def __init__(self, model):
        self.variables = [tf.Variable(variable.numpy(), dtype=tf.float64) for variable in model.trainable_variables]
        assert [tuple(v.shape) for v in self.variables] == [(1, 2, 2, 1), (4, 3), (3,), (3, 2), (2,), (2, 4), (4,)]
        bits = np.array(list(itertools.product((0.0, 1.0), repeat=5)))
        self.h1, self.h2 = bits[:, :3], bits[:, 3:]

    def halves(self, image):
        pixels = np.reshape(image, (2, 4)).astype(np.float64)
        return pixels[:1], pixels[1:]

    def log_p_hidden(self, upper):
        """log p(h given upper) of all 32 states."""
        _, w1, b1, w2, b2, _, _ = self.variables
        return log_bernoulli(self.h1, upper @ w1 + b1) + log_bernoulli(self.h2, self.h1 @ w2 + b2)

    def log_p_lower(self, lower):
        """log p(lower given h) of all 32 states."""
        *_, w3, b3 = self.variables
        return log_bernoulli(lower, self.h2 @ w3 + b3)

    def per_image(self, value):
        """`value(log p(h given upper), log p(lower given h))` of each image."""
        parts = map(self.halves, IMAGES)
        return tf.stack([value(self.log_p_hidden(upper), self.log_p_lower(lower)) for upper, lower in parts])

    def one_sample(self):
        """E[log p(lower given h)], `[3]`."""
        return self.per_image(lambda log_p, log_f: tf.reduce_sum(tf.exp(log_p) * log_f))

    def two_samples(self):
        """E[log of the mean of two p(lower given h)], `[3]`."""

        def value(log_p, log_f):
            mean = tf.math.log(0.5 * (tf.exp(log_f)[:, None] + tf.exp(log_f)[None]))
            return tf.reduce_sum(tf.exp(log_p[:, None] + log_p[None]) * mean)

        return self.per_image(value)

    def log_likelihood(self):
        """log p(lower given upper), `[3]`."""
        return self.per_image(lambda log_p, log_f: tf.math.log(tf.reduce_sum(tf.exp(log_p + log_f))))

    def lower_mean(self, image):
        """E[lower given upper], `[4]`."""
        *_, w3, b3 = self.variables
        weight = tf.exp(self.log_p_hidden(self.halves(image)[0]))
        return (weight[None] @ tf.sigmoid(self.h2 @ w3 + b3))[0].numpy()

    def gradient(self, value):
        """The gradient of the mean of `value()` as one vector."""
        with tf.GradientTape() as tape:
            result = tf.reduce_mean(value())
        parts = tape.gradient(result, self.variables, unconnected_gradients="zero")
        return np.concatenate([np.ravel(part.numpy()) for part in parts])


def log_bernoulli(bits, logits):
    return tf.reduce_sum(bits * tf.math.log_sigmoid(logits) + (1.0 - bits) * tf.math.log_sigmoid(-logits), axis=-1)


def predictor(**kwargs):
    return with_large_weights(kg.StructuredPredictor((4, 2, 1), units=(3, 2), seed=0, **kwargs), 1.5)


@pytest.fixture(scope="module")
def case():
    model = predictor()
    return model, Exact(model)


UPPER = slice(0, 4)  # of a gradient vector: the logits of the upper half's own model
HIDDEN = slice(4, 4 + 15 + 8)


def gradients(model, objective, count=500):
    """`[count, P]`: gradients of minus the loss of training steps, each the mean over a batch of replicas of all images."""
    model.compile(objective=objective)
    set_baselines(model.companion)
    x = replicated(IMAGES)
    return gradient_draws(lambda seed: model.step(x, seed).loss, model.generator.trainable_variables, count)


ONE_SAMPLE = [
    objectives.ScoreFunction(baseline=None),
    objectives.ScoreFunction(num_samples=3, baseline="input", hidden_units=4),
    objectives.NVIL(normalize=False, hidden_units=4),
    objectives.MuProp(baseline=None),
    objectives.MuProp(num_samples=2, baseline="input", hidden_units=4),
]


@pytest.mark.parametrize("objective", [*ONE_SAMPLE, objectives.VIMCO(2)], ids=name_of)
def test_the_mean_gradient_is_that_of_the_exact_objective(case, objective):
    model, exact = case
    drawn = gradients(model, objective)
    expected = exact.gradient(exact.two_samples if isinstance(objective, objectives.VIMCO) else exact.one_sample)
    assert_mean(drawn[:, UPPER.stop :], expected[UPPER.stop :])
    # The upper half's own model climbs its log-likelihood: pixel less its probability, without noise.
    expected = np.mean([exact.halves(image)[0][0] for image in IMAGES], 0) - tf.sigmoid(tf.reshape(exact.variables[0], [4]))
    np.testing.assert_allclose(drawn[:, UPPER], np.tile(expected, (len(drawn), 1)), atol=1e-6)


def test_control_variates_lower_the_variance_of_the_hidden_layers_gradient(case):
    model, exact = case

    def variance(objective):
        return gradients(model, objective, count=300)[:, HIDDEN].var(axis=0).sum()

    plain = variance(objectives.ScoreFunction(baseline=None))
    constant = variance(objectives.ScoreFunction(baseline=float(tf.reduce_mean(exact.one_sample()))))
    assert constant < 0.7 * plain
    assert variance(objectives.MuProp(baseline=None)) < 0.7 * constant
    assert variance(objectives.VIMCO(5)) < 0.7 * variance(objectives.ScoreFunction(5, baseline=None))


def test_a_trace_scores_the_draws_and_its_terms_have_the_gradients_that_objectives_count_on(case):
    model, exact = case
    x = tf.constant(IMAGES)
    hidden = [variable for each in model.recognition for variable in each.trainable_variables]
    lower = model.data_conditional.trainable_variables
    with tf.GradientTape(persistent=True) as tape:
        trace = model.trace(x, 6, seed=[1, 2], draws="fixed")
        joint, weight, log_q = map(tf.reduce_sum, (trace.log_p_joint, trace.log_weight, trace.log_q_posterior))
    states = tf.concat([group.value for group in trace.groups], -1).numpy() @ (2 ** np.arange(4, -1, -1))
    for index, image in enumerate(IMAGES):
        above, below = exact.halves(image)
        rows = states[:, index].astype(int)
        log_p = tf.gather(exact.log_p_hidden(above), rows)
        log_f = tf.gather(exact.log_p_lower(below), rows)
        np.testing.assert_allclose(trace.log_q_posterior[:, index], log_p, rtol=1e-5)
        np.testing.assert_allclose(trace.log_weight[:, index], log_f, rtol=1e-5)
        np.testing.assert_allclose(trace.log_p_joint[:, index], log_p + log_f, rtol=1e-5)
        for signal in trace.local_log_weights:
            np.testing.assert_allclose(signal[:, index], log_f, rtol=1e-5)
    assert len(trace.local_log_weights) == len(trace.groups) == 2
    for term, learns in ((joint, False), (weight, False), (log_q, True)):
        assert all((gradient is not None) == learns for gradient in tape.gradient(term, hidden))
    for ours, theirs in zip(tape.gradient(joint, lower), tape.gradient(weight, lower), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_mean_field_pass_is_differentiated_through_the_layers_above(case):
    model, exact = case
    _, w1, b1, w2, b2, w3, b3 = exact.variables
    with tf.GradientTape() as tape:
        means = model.trace(tf.constant(IMAGES), draws="means")
        total = tf.reduce_sum(means.log_weight)
    slopes = tape.gradient(total, [group.value for group in means.groups])
    for index, image in enumerate(IMAGES):
        upper, lower = exact.halves(image)
        m1 = tf.sigmoid(upper @ w1 + b1)
        m2 = tf.sigmoid(m1 @ w2 + b2)
        for mean, group in zip((m1, m2), means.groups, strict=True):
            np.testing.assert_allclose(group.value[0, index], mean[0], rtol=1e-5)
        # d log p(lower) / d m2 = (lower - p) W3'; through m2 to m1 times m2 (1 - m2) W2'.
        slope2 = (lower - tf.sigmoid(m2 @ w3 + b3)) @ tf.transpose(w3)
        slope1 = (slope2 * m2 * (1.0 - m2)) @ tf.transpose(w2)
        np.testing.assert_allclose(slopes[1][0, index], slope2[0], rtol=1e-4)
        np.testing.assert_allclose(slopes[0][0, index], slope1[0], rtol=1e-4)


def test_bounds_and_estimates_stand_in_order(case):
    model, exact = case
    one, two, truth = (value.numpy() for value in (exact.one_sample(), exact.two_samples(), exact.log_likelihood()))
    assert np.all(one < two - 1e-3) and np.all(two < truth - 1e-3)
    estimate = kg.evaluation.log_likelihood(model, IMAGES, num_samples=50_000, progress=False)
    np.testing.assert_allclose(estimate.per_image, truth, atol=0.03)
    for samples, bound in ((1, one), (2, two)):
        estimate = kg.evaluation.log_likelihood(model, np.repeat(IMAGES, 2000, axis=0), num_samples=samples, progress=False)
        assert_mean(estimate.per_image.reshape(3, 2000).T, bound)


@pytest.mark.parametrize("objective", [objectives.MuProp(), objectives.VIMCO(2)], ids=name_of)
def test_reported_figures_are_those_of_the_lower_half_alone(case, objective):
    model, exact = case
    model.compile(objective=objective)
    estimate = model.step(tf.constant(np.repeat(IMAGES, 2000, axis=0)), tf.constant([1, 2]))
    bound = (exact.two_samples if objective.num_samples == 2 else exact.one_sample)().numpy()
    assert_mean(estimate.figures["bound"].numpy().reshape(3, 2000).T, bound)
    np.testing.assert_allclose(estimate.loss, -estimate.figures["bound"], rtol=1e-6)
    np.testing.assert_array_equal(estimate.figures["kl"], 0.0)
    images = np.repeat(IMAGES, 20, axis=0)
    reported = model.evaluate(images, batch_size=60, verbose=0, return_dict=True)
    uppers = [log_bernoulli(exact.halves(image)[0], tf.reshape(exact.variables[0], [1, 4]))[0] for image in IMAGES]
    assert reported["upper_log_likelihood"] == pytest.approx(np.mean(uppers), rel=1e-5)
    assert reported["loss"] == pytest.approx(-reported["bound"], rel=1e-5)


def test_predictions_keep_the_upper_half_and_have_the_exact_mean_in_the_lower_one(case):
    model, exact = case
    count = 20_000
    seeds = np.stack([np.arange(count), np.full(count, 5)], axis=1).astype(np.int32)
    for image in IMAGES:
        given = image.copy()
        given[2:] = np.nan  # the lower half is not looked at
        drawn = model.predict(np.tile(given, (count, 1, 1, 1)), seeds)
        for value in drawn.values():
            assert value.dtype == tf.float32 and value.shape == (count, 4, 2, 1)
            np.testing.assert_array_equal(value[:, :2], np.tile(image[:2], (count, 1, 1, 1)))
            assert_mean(value[:, 2:].numpy().reshape(count, 4), exact.lower_mean(image))
        assert set(np.unique(drawn["sample"])) == {0.0, 1.0}


def test_a_prediction_is_a_function_of_its_row_alone(case):
    model, _ = case
    rng = np.random.default_rng(0)
    seeds = rng.integers(-(2**31), 2**31, (50, 2)).astype(np.int32)
    images = (rng.random((50, 4, 2, 1)) < 0.5).astype(np.float32)
    together = model.predict(images, seeds)
    for index in (0, 17, 49):
        alone = model.predict(images[index : index + 1], seeds[index : index + 1])
        for name, value in alone.items():
            np.testing.assert_allclose(value[0], together[name][index], atol=1e-6)
    in_a_graph = tf.function(model.predict)(tf.constant(images), tf.constant(seeds))
    np.testing.assert_allclose(in_a_graph["mean"], together["mean"], atol=1e-6)
    same_image = model.predict(np.repeat(images[:1], 50, axis=0), seeds)["sample"].numpy()
    assert len(np.unique(same_image.reshape(50, -1), axis=0)) > 5
    changed = images.copy()
    changed[3] = 1.0 - changed[3]
    after = model.predict(changed, seeds)
    others = np.arange(50) != 3
    np.testing.assert_array_equal(after["sample"][others], together["sample"][others])


def test_grey_upper_halves_are_drawn_thresholded_or_refused():
    grey = np.full((4000, 4, 2, 1), 0.6, np.float32)
    seeds = np.stack([np.arange(4000), np.zeros(4000)], axis=1).astype(np.int32)
    drawn = predictor().predict(grey, seeds)
    np.testing.assert_array_equal(drawn["mean"][:, :2], grey[:, :2])
    assert_mean(drawn["sample"][:, :2].numpy().reshape(4000, 4), 0.6)
    # The hidden layers see the pixels that were drawn: given those, the same seeds draw the same image.
    again = predictor().predict(drawn["sample"], seeds)
    np.testing.assert_array_equal(again["sample"], drawn["sample"])
    np.testing.assert_allclose(again["mean"][:, 2:], drawn["mean"][:, 2:], atol=1e-6)
    thresholded = predictor(binarization="threshold").predict(grey, seeds)
    assert np.all(thresholded["sample"][:, :2] == 1.0) and np.all(thresholded["mean"][:, :2] == 1.0)
    strict = predictor(binarization="none")
    strict.compile()
    with pytest.raises(ValueError, match="upper halves hold grey values"):
        strict.predict(grey, seeds)
    with pytest.raises(ValueError, match="Bernoulli"):
        strict.fit(grey, verbose=0)
    with pytest.warns(UserWarning, match="drawn afresh"):
        predictor().admit(grey, "x")


def test_generated_images_have_the_exact_mean(case):
    model, exact = case
    seeds = np.stack([np.arange(20_000), np.full(20_000, 3)], axis=1).astype(np.int32)
    drawn = {name: value.numpy().reshape(-1, 8) for name, value in model.generate(seeds).items()}
    probability = tf.sigmoid(tf.reshape(exact.variables[0], [4])).numpy()
    lower = 0.0
    for bits in itertools.product((0.0, 1.0), repeat=4):
        weight = np.prod(np.where(bits, probability, 1.0 - probability))
        lower += weight * exact.lower_mean(np.array([*bits, 0, 0, 0, 0]))
    assert_mean(drawn["sample"], np.concatenate([probability, lower]))
    assert_mean(drawn["mean"][:, 4:], lower)
    np.testing.assert_allclose(drawn["mean"][:, :4], np.tile(probability, (20_000, 1)), rtol=1e-5)


def test_every_exported_format_draws_what_the_model_draws(tmp_path):
    artifact = export.export_generator(predictor(), tmp_path / "model")
    # Both halves are the first stream's uniforms against `mean`: a pixel that differs between runtimes can be explained.
    assert artifact.manifest["sample"] == {"values": "binary", "step": 1.0, "stream": 0}
    report = export.verify(tmp_path / "model", num_seeds=256)
    assert report.ok, report.table()


def test_of_an_odd_height_the_upper_half_is_the_smaller():
    model = kg.StructuredPredictor((5, 2, 3), units=4, seed=0)
    assert model.generator.conditionals[0].event_shape == (2, 2, 3)
    assert model.data_conditional.event_shape == (3, 2, 3)
    image = (np.random.default_rng(0).random((1, 5, 2, 3)) < 0.5).astype(np.float32)
    np.testing.assert_array_equal(model.predict(image, [[1, 2]])["sample"][:, :2], image[:, :2])


def test_training_learns_the_lower_half_from_the_upper_one():
    """The lower half repeats the upper one with one bit in sixteen wrong: 4 binary entropies of 1/16 nats are the best."""
    rng = np.random.default_rng(0)
    upper = rng.random((4000, 2, 2, 1)) < 0.5
    lower = upper ^ (rng.random(upper.shape) < 1 / 16)
    x = np.concatenate([upper, lower], axis=1).astype(np.float32)
    keras.utils.set_random_seed(0)
    model = kg.StructuredPredictor((4, 2, 1), units=(16,), seed=0)
    model.compile(optimizer=keras.optimizers.Adam(0.02), objective=objectives.MuProp(), jit_compile=False)
    model.fit(x, batch_size=100, epochs=30, verbose=0)
    best = 4 * (np.log(16) - 15 / 16 * np.log(15))
    nats = -kg.evaluation.log_likelihood(model, x[:1000], num_samples=100, progress=False).mean
    assert best - 0.1 < nats < 0.5 * 4 * np.log(2)


def test_what_cannot_be_is_refused():
    model = predictor()
    fit = r"Objectives that fit this model: MuProp, NVIL, ScoreFunction, VIMCO\.$"
    for objective in (objectives.WakeSleep(), objectives.ReweightedWakeSleep()):
        with pytest.raises(ValueError, match="recognition network.*none.*" + fit):
            model.compile(objective=objective)
    for objective in (objectives.ELBO(), objectives.IWAE()):
        with pytest.raises(ValueError, match="draws of the latents.*no gradient.*" + fit):
            model.compile(objective=objective)
    with pytest.raises(ValueError, match="MuProp"):
        model.compile(objective="mse")
    for arguments, message in (
        ({"units": ()}, "units="),
        ({"units": (3, 0)}, "units="),
        ({"units": (True,)}, "units="),
        ({"data_shape": (1, 8, 1)}, "at least two rows"),
        ({"data_shape": (8, 8)}, "three positive integers"),
        ({"binarization": "sometimes"}, "binarization='sometimes'"),
    ):
        with pytest.raises(ValueError, match=message):
            kg.StructuredPredictor(**{"data_shape": (4, 2, 1), **arguments})
    seeds = np.zeros((3, 2), np.int32)
    for x, rows, message in (
        (IMAGES[:2], seeds, "2 images and 3 rows of seed"),
        (IMAGES[:, :3], seeds, r"shape \(3, 3, 2, 1\)"),
        (IMAGES.astype(np.int32), seeds, "int32"),
        (2.0 * IMAGES, seeds, "from 0 to 2"),
        (np.full_like(IMAGES, np.nan), seeds, "NaN"),
        (IMAGES, seeds.astype(np.int64) + 2**40, "int64"),
    ):
        with pytest.raises(ValueError, match=message):
            model.predict(x, rows)
