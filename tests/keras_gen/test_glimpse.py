"""Recurrent attention: policy gradients against enumeration and closed forms, and who learns from what."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

import keras_gen as kg
from keras_gen import objectives
from keras_gen.noise import BatchNoise, fold_in
from keras_gen.objectives.likelihood_ratio import Seen
from keras_gen.objectives.objective import fitting
from keras_gen.sequential.attention import glimpse
from keras_gen.sequential.glimpse import GlimpseTrace
from keras_gen.trace import Action
from tests.statistics import assert_mean, assert_uniform

SHAPE = (7, 9, 2)
IMAGES = np.random.default_rng(0).random((6, *SHAPE)).astype(np.float32)
LABELS = np.arange(6, dtype=np.int32) % 3


@pytest.fixture(autouse=True)
def same_weights():
    """Every test starts from weights of its own seed, whatever ran before it."""
    keras.utils.set_random_seed(0)


def small(**kwargs):
    settings = {"glimpses": 4, "glimpse_size": 3, "glimpse_scales": 2, "units": 8, "sensor_units": 6, "location_std": 0.6}
    model = kg.RecurrentAttentionClassifier(SHAPE, num_classes=3, seed=0, **{**settings, **kwargs})
    random = np.random.default_rng(1)
    for weight in model.trainable_variables:  # so that nothing is 0, the locator's means neither
        weight.assign(weight + 0.2 * random.normal(size=weight.shape))
    return model


# Hard attention small enough to enumerate: what any likelihood-ratio objective makes of actions.

X = np.array([[1, 0, 1], [0, 1, 1], [0, 0, 1], [1, 0, 0]], np.float32)[:, None, :, None]
PAIRS = list(itertools.product(range(3), repeat=2))


class Toy:
    """Two looks at one of three pixels each, the second one chosen after the first was seen; then a score and a reward.

    All weights are `[B, ...]`, a copy for each image of the batch, so that one gradient holds B draws of the estimator.

    Args:
        rewarded: whether actions earn a reward of their own; else what they have a part in of the bound.
    """

    has_recognition, recognition, data_shape, given_shape = False, (), (1, 3, 1), (1, 3, 1)
    choices_seen = [Seen((7,), (2,))]
    companion = None

    def __init__(self, rewarded, copies, dtype=tf.float32):
        random = np.random.default_rng(3)
        shapes = [(3,), (3, 2, 3), (3, 3)]  # logits of the first look, of the second one given (place, pixel); the score's
        self.weights = [tf.repeat(tf.constant(random.normal(size=shape)[None], dtype), copies, axis=0) for shape in shapes]
        self.costs = tf.constant(2.0 * random.normal(size=(3,)), dtype), tf.constant(random.normal(size=(3, 3)), dtype)
        self.rewards = tf.constant(random.normal(size=(3, 3)) > 0, dtype)
        self.rewarded = rewarded

    def scored(self, x, first, second):
        """(log pi of both looks, costs of both, score, reward) of one-hot looks `[..., B, 3]`."""
        one, two, score = self.weights
        pixel = tf.reduce_sum(first * x, axis=-1)
        given = tf.einsum("bijk,...bi->...bjk", two, first)
        logits = given[..., 0, :] + (given[..., 1, :] - given[..., 0, :]) * pixel[..., None]
        log_pi = [tf.reduce_sum(look * tf.nn.log_softmax(z), -1) for look, z in ((first, one), (second, logits))]
        costs = [tf.einsum("...i,i->...", first, self.costs[0]), tf.einsum("...i,...j,ij->...", first, second, self.costs[1])]
        seen = pixel + 2.0 * tf.reduce_sum(second * x, axis=-1)
        value = tf.einsum("...bi,...bj,bij->...b", first, second, score) * seen
        return log_pi, costs, value, tf.einsum("...i,...j,ij->...", first, second, self.rewards)

    def trace(self, x, num_samples, seed, draws):
        x = tf.reshape(x, (-1, 3))
        uniform = BatchNoise(seed, (num_samples, x.shape[0])).uniform((2,))
        zeros = tf.zeros((num_samples, x.shape[0], 3))

        def draw(log_probability, at):
            place = tf.reduce_sum(tf.cast(uniform[..., at, None] > tf.cumsum(tf.exp(log_probability), -1), tf.int32), -1)
            return tf.one_hot(tf.minimum(place, 2), 3)

        each = tf.eye(3)[:, None, None]
        first = draw(tf.nn.log_softmax(self.weights[0])[None] + zeros, 0)
        options = tf.stack([self.scored(x, first, one + zeros)[0][1] for one in each], axis=-1)
        second = draw(options, 1)
        log_pi, costs, value, reward = self.scored(x, first, second)
        weight = value - costs[0] - costs[1]
        signals = [reward, reward] if self.rewarded else [weight, value - costs[1]]  # what the second look has a part in
        known = tf.stack([tf.concat([zeros, zeros], -1), tf.concat([first, first * x], -1)])
        step = tf.ones_like(known[..., :1]) * tf.constant([0.0, 1.0])[:, None, None, None]
        action = Action(tf.stack(log_pi), tf.concat([known, step], -1), tf.stack(signals))
        return GlimpseTrace((), weight, (action,), None, reward if self.rewarded else weight)

    def exact(self, target):
        """The gradient of `target(log pi, weight, reward)`, `[9, B]` each in the order of `PAIRS`, as `[B, weights]`."""
        looks = [tf.repeat(tf.one_hot([pair[at] for pair in PAIRS], 3, dtype=tf.float64)[:, None], len(X), 1) for at in (0, 1)]
        with tf.GradientTape() as tape:
            tape.watch(self.weights)
            log_pi, costs, value, reward = self.scored(tf.reshape(tf.constant(X, tf.float64), (-1, 3)), *looks)
            total = tf.reduce_sum(target(log_pi[0] + log_pi[1], value - costs[0] - costs[1], reward))
        return np.concatenate([np.reshape(part, (len(X), -1)) for part in tape.gradient(total, self.weights)], axis=1)


def toy_gradients(objective, rewarded, copies=20_000):
    """Draws of the estimator's gradient, upwards, `[copies, images, weights]`, its control variates set to anything."""
    toy = Toy(rewarded, copies * len(X))
    toy.companion = objective.make_companion(toy)
    random = np.random.default_rng(5)
    for weight in toy.companion.weights if toy.companion else ():
        value = random.normal(size=weight.shape)
        weight.assign(1.0 + value**2 if "variance" in weight.path else value)
    with tf.GradientTape() as tape:
        tape.watch(toy.weights)
        loss = tf.reduce_sum(objective(toy, tf.constant(np.tile(X, (copies, 1, 1, 1))), tf.constant([3, 4])).loss)
    parts = tape.gradient(loss, toy.weights)
    return -np.concatenate([np.reshape(part, (copies, len(X), -1)) for part in parts], axis=2), toy


def toy_policy(log_pi, weight, reward):
    """The score climbs the bound, the policy the expected reward."""
    pi = tf.exp(log_pi)
    return tf.reduce_sum(tf.stop_gradient(pi) * weight + pi * tf.stop_gradient(reward), axis=0)


def toy_bound(log_pi, weight, reward):
    return tf.reduce_sum(tf.exp(log_pi) * weight, axis=0)


def toy_importance_bound(log_pi, weight, reward):
    """E[log mean of the weights of two passes]."""
    pairs = tf.reduce_logsumexp(tf.stack([weight[:, None] + 0 * weight, weight + 0 * weight[:, None]]), axis=0) - np.log(2)
    return tf.reduce_sum(tf.exp(log_pi[:, None] + log_pi) * pairs, axis=(0, 1))


ESTIMATORS = [
    objectives.ScoreFunction(baseline=None),
    objectives.ScoreFunction(num_samples=2, baseline=0.5),
    objectives.ScoreFunction(baseline="input", hidden_units=4),
    objectives.NVIL(normalize=False, hidden_units=4),
    objectives.NVIL(num_samples=2, normalize=False, baseline="running_mean"),
]


@pytest.mark.parametrize("rewarded", [True, False], ids=["reward", "bound"])
@pytest.mark.parametrize("objective", ESTIMATORS, ids=lambda each: "-".join(map(str, [type(each).__name__, each.baseline])))
def test_policy_gradients_are_those_of_enumeration(objective, rewarded):
    found, _ = toy_gradients(objective, rewarded)
    exact = Toy(rewarded, len(X), tf.float64).exact(toy_policy if rewarded else toy_bound)
    assert_mean(found, exact)


def test_variance_normalisation_shortens_the_policy_gradient_alone():
    found, toy = toy_gradients(objectives.NVIL(hidden_units=4), rewarded=True)
    exact = Toy(True, len(X), tf.float64).exact(toy_policy)
    # Each look has its own scale; the first 3 weights are the first look's, the next 18 the second's.
    scale = np.maximum(1.0, np.sqrt(toy.companion.variances[0].numpy()))
    assert_mean(found, exact / np.repeat([*scale, 1.0], [3, 18, 9]))


def test_vimco_takes_actions_too():
    found, _ = toy_gradients(objectives.VIMCO(2), rewarded=False)
    assert_mean(found, Toy(False, len(X), tf.float64).exact(toy_importance_bound))


def test_local_signals_and_baselines_lower_the_variance():
    def variance(objective):
        return toy_gradients(objective, rewarded=False, copies=2000)[0][:, :, :21].var(axis=0).sum()

    whole, local = objectives.ScoreFunction(baseline=None), objectives.NVIL(baseline=None, normalize=False)
    assert variance(local) < 0.9 * variance(whole)


# The model.


@pytest.mark.parametrize("std", [0.3, 1.2])
def test_the_policy_gradient_of_a_bandit_is_the_closed_form(std):
    """One choice: the right half of the image is bright, and looking there is right.

    The reward is 1 where the draw's x exceeds t, so that E[reward] = 1 - Phi((t - mean) / std). Draws beyond the image are
    clipped only when they are looked at: with the larger std 4 of 10 are, and clipped ones would give another gradient.
    """
    width = 16
    model = kg.RecurrentAttentionClassifier(
        (16, width, 1), 2, glimpses=2, glimpse_size=2, units=1, sensor_units=1, location_std=std, seed=0
    )
    model.what.kernel.assign(np.full((4, 1), 0.25))  # h = mean brightness of the glimpse
    model.where.kernel.assign(np.zeros((2, 1)))
    model.sensor.kernel.assign([[1.0], [0.0]])
    model.core.kernel.assign([[0.0], [1.0]])
    model.classifier.kernel.assign([[0.0, 10.0]])
    model.classifier.bias.assign([0.0, -2.0])
    model.locator.kernel.assign(np.zeros((1, 2)))
    mean = np.array([0.1, -0.2])
    copies = tf.repeat(tf.constant(mean[None], tf.float32), 40_000, axis=0)
    image = np.zeros((1, 16, width, 1), np.float32)
    image[:, :, width // 2 :] = 1.0
    model.locator = lambda h: copies + 0.0 * h  # a copy of the mean for each draw
    objective = objectives.NVIL(baseline=0.3, normalize=False)
    model.compile(objective=objective)
    with tf.GradientTape() as tape:
        tape.watch(copies)
        loss = objective(model, np.repeat(image, len(copies), axis=0), [1, 2], label=np.ones(len(copies))).loss
    gradient = -tape.gradient(loss, copies).numpy()
    threshold = -1.0 / width  # half a pixel left of the middle a glimpse of two columns begins to see the bright half
    right = stats.norm.pdf((threshold - mean[1]) / std) / std
    assert_mean(gradient, [0.0, right])
    assert right > 0.3 and gradient.mean(0)[1] > 0.0


def test_a_pass_is_that_of_the_paper():
    """Each glimpse, state and probability by numpy alone, from the places that the model says it looked at."""
    model = small()
    trace = model.trace(IMAGES, 2, [5, 6], label=LABELS)
    noise = BatchNoise([5, 6], (2, 6))
    first, normals = 2.0 * noise.uniform((2,)).numpy() - 1.0, noise.normal((3, 2)).numpy()

    def dense(layer, values):
        return values @ layer.kernel.numpy() + layer.bias.numpy()

    def relu(values):
        return np.maximum(values, 0.0)

    h, place, log_pi = np.zeros((2, 6, 8)), first, []
    for step in range(4):
        if step:
            np.testing.assert_allclose(trace.actions[0].seen[step - 1], h, rtol=1e-4, atol=1e-5)
            mean = dense(model.locator, h)
            draw = mean + 0.6 * normals[:, :, step - 1]
            log_pi.append(stats.norm(mean, 0.6).logpdf(draw).sum(-1))
            place = np.clip(draw, -1.0, 1.0)
        np.testing.assert_allclose(trace.places[step], place, rtol=1e-4, atol=1e-5)
        patches = [[patches_of(image, at, 3, 2).ravel() for image, at in zip(IMAGES, row, strict=True)] for row in place]
        both = np.concatenate([dense(model.what, np.array(patches)), dense(model.where, place)], -1)
        g = relu(dense(model.sensor, relu(both)))
        h = relu(dense(model.core, np.concatenate([h, g], -1)))
    logits = dense(model.classifier, h)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    np.testing.assert_allclose(trace.log_likelihood, log_p[:, np.arange(6), LABELS], rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(trace.reward, logits.argmax(-1) == LABELS)
    # T - 1 terms, of the draws as they were before they were clipped, some of which were.
    assert np.any(np.abs(trace.places) == 1.0)
    assert trace.actions[0].log_pi.shape == (3, 2, 6)
    np.testing.assert_allclose(trace.actions[0].log_pi, log_pi, rtol=1e-4, atol=1e-4)


def patches_of(image, center, size, scales):
    """A glimpse pixel by pixel: `[size, size, scales * C]`."""
    height, width, channels = image.shape
    seen = np.zeros((size, size, scales, channels))
    for level in range(scales):
        extent, block = size * 2**level, 2**level
        middle = 0.5 * (center + 1.0) * [height, width]
        top, left = np.floor(middle - 0.5 * extent + 0.5).astype(int)
        for row, column in itertools.product(range(extent), range(extent)):
            y, x = top + row, left + column
            if 0 <= y < height and 0 <= x < width:
                seen[row // block, column // block, level] += image[y, x] / block**2
    return seen.reshape(size, size, scales * channels)


@pytest.mark.parametrize("size, scales", [(1, 3), (3, 2), (4, 1)])
def test_glimpses_are_those_of_numpy(size, scales):
    random = np.random.default_rng(2)
    centers = np.concatenate([random.uniform(-1.0, 1.0, (3, 2)), [[-1, -1], [1, 1], [1, -1]]]).astype(np.float32)
    seen = glimpse(tf.constant(IMAGES), tf.constant(centers), size, scales).numpy()
    for image, center, found in zip(IMAGES, centers, seen, strict=True):
        np.testing.assert_allclose(found, patches_of(image, center, size, scales), rtol=1e-5, atol=1e-6)


def test_the_first_place_is_uniform_over_the_image_and_so_are_random_glimpses():
    images = np.zeros((5000, *SHAPE), np.float32)
    for model, steps in ((small(), 1), (small(random_glimpses=True), 4)):
        places = model.trace(images, 1, [1, 2], label=np.zeros(5000)).places[:steps].numpy()
        for column in places.reshape(-1, 2).T:
            assert_uniform(0.5 * (column + 1.0), bins=32)
    assert not model.trace(images, 1, [1, 2], label=np.zeros(5000)).actions and model.locator is None


def test_each_part_learns_from_its_own_signal_alone():
    model = small()
    objective = objectives.NVIL(num_samples=2, hidden_units=4)
    model.compile(objective=objective)
    random = np.random.default_rng(7)
    for weight in model.companion.trainable_variables:
        weight.assign(random.normal(size=weight.shape))
    locator, companion = model.locator.trainable_variables, model.companion.trainable_variables
    special = {id(variable) for variable in (*locator, *companion)}
    rest = [variable for variable in model.trainable_variables if id(variable) not in special]
    assert len(rest) == 10
    with tf.GradientTape(persistent=True) as tape:
        loss = tf.reduce_sum(objective(model, IMAGES, [3, 4], label=LABELS).loss)
        trace = model.trace(IMAGES, 2, [3, 4], label=LABELS)
        cross_entropy = -tf.reduce_sum(tf.reduce_mean(trace.log_likelihood, axis=0))
        action = trace.actions[0]
        error = action.signal - sum(objective.expected(0, objective.choices(model, IMAGES, trace)[0], model.companion))
        missed = -tf.reduce_sum(tf.reduce_mean(tf.stop_gradient(error) * action.log_pi, axis=1))
        squares = tf.reduce_sum(tf.reduce_mean(tf.square(error), axis=1))
    # Cross-entropy does not reach the locator; policy and baseline reach nothing but themselves.
    assert tape.gradient(cross_entropy, [*locator, *companion]) == [None] * (len(locator) + len(companion))
    assert tape.gradient(tf.reduce_sum(action.log_pi), [*rest, *companion]) == [None] * (len(rest) + len(companion))
    assert tape.gradient(squares, [*rest, *locator]) == [None] * (len(rest) + len(locator))
    for variables, target in ((rest, cross_entropy), (locator, missed), (companion, squares)):
        for ours, theirs in zip(tape.gradient(loss, variables), tape.gradient(target, variables), strict=True):
            assert np.any(theirs != 0.0)
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_figures_are_those_of_the_passes():
    model = small()
    model.compile(objective=objectives.NVIL(baseline=0.4, num_samples=3))
    estimate = model.step(IMAGES, [1, 2], LABELS)
    trace = model.trace(IMAGES, 3, [1, 2], label=LABELS)
    np.testing.assert_allclose(estimate.figures["accuracy"], np.mean(trace.reward, axis=0))
    np.testing.assert_allclose(estimate.figures["baseline"], np.full(6, 0.4), rtol=1e-6)
    np.testing.assert_allclose(estimate.loss, -np.mean(trace.log_likelihood, axis=0), rtol=1e-5)


def test_classify_is_one_pass_whose_places_are_a_function_of_each_seed_row():
    model = small()
    seeds = np.random.default_rng(0).integers(-(2**31), 2**31, (6, 2)).astype(np.int32)
    together, places = model.classify(IMAGES, seeds).numpy(), model.glimpses(IMAGES, seeds).numpy()
    assert together.shape == (6, 3) and places.shape == (6, 4, 2) and np.all(np.abs(places) <= 1.0)
    np.testing.assert_allclose(together.sum(-1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(model.classify(IMAGES[3:4], seeds[3:4])[0], together[3], atol=1e-6)
    np.testing.assert_allclose(model.glimpses(IMAGES[3:4], seeds[3:4])[0], places[3], atol=1e-6)
    # Later places may both be clipped to the same border.
    assert np.abs(model.glimpses(IMAGES, seeds + 1) - places)[:, 0].min() > 0.0
    usual = np.stack([np.zeros(6), np.arange(6)], axis=1).astype(np.int32)
    np.testing.assert_allclose(model.classify(IMAGES), model.classify(IMAGES, usual), atol=1e-6)
    # What `predict` gives for an image does not depend on its batch.
    for size in (4, 6):
        predicted = model.predict(IMAGES, batch_size=size, verbose=0)
        np.testing.assert_allclose(predicted, model.classify(IMAGES, np.zeros((6, 2), np.int32)), atol=1e-5)
    # With the means nothing is left to chance, and the first look is at the middle.
    means = model.glimpses(IMAGES, seeds, mean_locations=True).numpy()
    np.testing.assert_array_equal(means, model.glimpses(IMAGES, seeds + 1, mean_locations=True))
    np.testing.assert_array_equal(means[:, 0], np.zeros((6, 2)))
    h = model.look(tf.constant(IMAGES), tf.zeros((6, 2)), tf.zeros((6, 3, 2)))[3][0]
    np.testing.assert_allclose(means[:, 1], np.clip(model.locator(h), -1.0, 1.0), atol=1e-6)
    with pytest.raises(ValueError, match="random_glimpses=True"):
        small(random_glimpses=True).classify(IMAGES, mean_locations=True)


@pytest.mark.parametrize(
    "images, seed, message",
    [
        (IMAGES, [[0, 1]] * 4, "6 images and 4 rows of seed"),
        (IMAGES, [[0, 1]] * 8, "6 images and 8 rows of seed"),
        ((255 * IMAGES).astype(np.uint8), None, "uint8"),
        (255 * IMAGES, None, r"they must lie in \[0, 1\]"),
        (np.full_like(IMAGES, np.nan), None, "NaN"),
        (IMAGES[:, :, :-1], None, "data_shape"),
    ],
)
def test_what_cannot_be_classified(images, seed, message):
    for function in (small().classify, small().glimpses):
        with pytest.raises(ValueError, match=message):
            function(images, seed)


@pytest.mark.parametrize(
    "label, message", [([0, 1, 2, 0, 1, 7], "run from 0 to 7"), ([1], "6 images and 1 labels: each image needs one")]
)
def test_labels_that_a_trace_cannot_score(label, message):
    with pytest.raises(ValueError, match=message):
        small().trace(IMAGES, 1, [0, 0], label=label)


def test_a_policy_beats_random_glimpses():
    """The class is in four pixels near a corner; the rest is black."""
    random = np.random.default_rng(0)

    def drawn(count):
        images, labels = np.zeros((count, 15, 15, 1), np.float32), random.integers(0, 2, count)
        images[:, 2:4, 2:4, 0] = np.array([[[1, 0], [0, 1]], [[0, 1], [1, 0]]])[labels]
        return images, labels.astype(np.int32)

    def accuracy(random_glimpses):
        keras.utils.set_random_seed(0)
        model = kg.RecurrentAttentionClassifier(
            (15, 15, 1), 2, glimpses=3, glimpse_size=4, location_std=0.3, units=32, sensor_units=32, seed=0,
            random_glimpses=random_glimpses,
        )  # fmt: skip
        model.compile(keras.optimizers.Adam(3e-3))
        model.fit(*drawn(20_000), batch_size=100, epochs=5, verbose=0)
        return model.evaluate(*drawn(5000), batch_size=1000, verbose=0, return_dict=True)["accuracy"]

    learned, without = accuracy(False), accuracy(True)
    assert learned > 0.8 and learned > without + 0.15, (learned, without)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"glimpse_size": 8}, "glimpse_size=8: the window must fit into the image, whose shorter side has 7"),
        ({"glimpse_size": 0}, "glimpse_size=0"),
        ({"glimpses": 0}, "glimpses=0: an integer of at least 1.*nothing of the image is seen"),
        ({"glimpses": 2.5}, "glimpses=2.5"),
        ({"glimpse_scales": 0}, "glimpse_scales=0"),
        ({"num_classes": 1}, "num_classes=1: an integer of at least 2.*nothing to tell apart"),
        ({"units": 0}, "units=0"),
        ({"location_std": 0.0}, "location_std=0.0: a positive number"),
        ({"data_shape": (7, 9)}, "three positive integers"),
    ],
)
def test_what_cannot_be_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        kg.RecurrentAttentionClassifier(**{"data_shape": SHAPE, "num_classes": 3, **arguments})


@pytest.mark.parametrize(
    "labels, message",
    [
        (None, "labels of x are missing: this model needs them, labels are integers from 0 to 2"),
        (LABELS + 1, "run from 1 to 3; labels are integers from 0 to 2"),
        (LABELS - 1, "run from -1 to 1"),
        (LABELS + 0.5, "no integers"),
        (np.eye(3)[LABELS], r"shape \(6, 3\).*not one-hot"),
    ],
)
@pytest.mark.parametrize("as_dataset", [False, True])
def test_labels_that_cannot_be_are_refused(labels, message, as_dataset):
    model = small()
    model.compile()
    data = (IMAGES, labels)
    if as_dataset:
        data = (tf.data.Dataset.from_tensor_slices(IMAGES if labels is None else data).batch(6),)
    for call in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match=message):
            call(*data, verbose=0)
    if labels is None:
        with pytest.raises(ValueError, match="needs a label"):
            model.trace(IMAGES)


def test_objectives_that_do_not_fit_are_refused():
    model = small()
    for objective in (objectives.ELBO(), objectives.MuProp(), objectives.ReweightedWakeSleep()):
        with pytest.raises(ValueError, match="fit this model: NVIL, ScoreFunction, VIMCO"):
            model.compile(objective=objective)
    for settings in ({"random_glimpses": True}, {"glimpses": 1}):
        model = small(**settings)
        assert isinstance(model.default_objective(), objectives.ELBO)
        model.compile()
        assert model.figure_names() == ("accuracy",)


@pytest.mark.parametrize(
    "objective, settings",
    [(objectives.VIMCO(4, chunk_size=2), {}), (objectives.IWAE(4, chunk_size=2), {"random_glimpses": True})],
    ids=["vimco", "iwae"],
)
def test_figures_of_passes_in_chunks_are_those_of_all_together(objective, settings):
    model = small(**settings)
    model.compile(objective=objective, run_eagerly=True)
    figures = model.step(IMAGES, [1, 2], LABELS).figures
    chunks = [model.trace(IMAGES, 2, fold_in([1, 2], index), label=LABELS) for index in range(2)]
    np.testing.assert_allclose(figures["accuracy"], np.mean([chunk.reward for chunk in chunks], axis=(0, 1)))
    scores = np.concatenate([chunk.log_likelihood for chunk in chunks])
    np.testing.assert_allclose(figures["bound"], special.logsumexp(scores, axis=0) - np.log(4), rtol=1e-5)
    assert 0 < np.mean(figures["accuracy"]) < 1
    assert np.isfinite(model.fit(IMAGES, LABELS, verbose=0).history["loss"]).all()


@pytest.mark.parametrize("settings", [{"random_glimpses": True}, {"glimpses": 1}], ids=["random", "one"])
def test_without_places_to_learn_every_objective_climbs_the_bound(settings):
    model = small(**settings)
    names = fitting(model)
    assert names == ["ELBO", "IWAE", "MuProp", "NVIL", "ScoreFunction", "VIMCO"]
    weights, gradients = model.trainable_variables, {}
    for name in names:
        model.compile(objective=getattr(objectives, name)(), run_eagerly=True)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model.step(IMAGES, [1, 2], LABELS).loss)
        gradients[name] = tape.gradient(loss, weights)
        assert np.isfinite(model.evaluate(IMAGES, LABELS, verbose=0)).all()
    for name in ("MuProp", "NVIL", "ScoreFunction"):
        for ours, theirs in zip(gradients[name], gradients["ELBO"], strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


OTHERS = {"vimco": objectives.VIMCO(2), "score_function": objectives.ScoreFunction(2, baseline="input")}


@pytest.mark.parametrize("objective", OTHERS.values(), ids=OTHERS)
def test_other_objectives_train_it(objective):
    model = small()
    model.compile(keras.optimizers.Adam(1e-2), objective, jit_compile=False)
    history = model.fit(np.repeat(IMAGES, 20, 0), np.repeat(LABELS, 20), batch_size=30, epochs=10, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
