import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import special, stats

from keras_gen import conditionals, distributions, noise
from tests.statistics import assert_mean


def many_draws(conditional, parent, count=20_000):
    """`[count, *event]` draws for one parent."""
    distribution = conditional(tf.repeat(parent, count, axis=0)) if parent is not None else conditional()
    return distribution, conditional.draw(distribution, noise.BatchNoise([1, 2], (count,))).numpy()


def randomize(conditional, scale=0.5):
    rng = np.random.default_rng(0)
    for weight in conditional.trainable_weights:
        weight.assign(scale * rng.standard_normal(weight.shape))


@pytest.mark.parametrize("parent", [None, (3,)])
@pytest.mark.parametrize(
    "make",
    [
        lambda: conditionals.Normal((2, 2, 1)),
        lambda: conditionals.Normal((2, 2, 1), shared_scale=True, initial_scale=0.3, min_scale=0.1),
        lambda: conditionals.Bernoulli((2, 2, 1)),
    ],
)
def test_draws_have_the_moments_of_the_distribution(make, parent):
    conditional = make()
    conditional.build(None if parent is None else (None, *parent))
    randomize(conditional)
    distribution, draws = many_draws(conditional, None if parent is None else tf.constant([[0.3, -1.0, 2.0]]))
    mean, variance = distribution.mean().numpy(), distribution.variance().numpy()
    mean, variance = (value[0] if value.ndim == 4 else value for value in (mean, variance))
    assert_mean(draws, mean)
    assert_mean((draws - mean) ** 2, variance)


def test_discretized_logistic_is_a_distribution_on_its_grid():
    levels = 17
    grid = np.arange(levels, dtype=np.float32) / (levels - 1)
    for loc, scale in ((0.4, 0.1), (-0.2, 0.05), (1.5, 0.3), (0.5, 1e-3)):
        distribution = distributions.DiscretizedLogistic(tf.constant(loc), tf.constant(scale), levels)
        probabilities = np.exp(distribution.log_prob(grid).numpy().astype(np.float64))
        assert probabilities.sum() == pytest.approx(1.0, abs=1e-4)
        edges = (grid[:-1] + 0.5 / (levels - 1) - loc) / scale
        expected = np.diff(np.concatenate([[0.0], stats.logistic.cdf(edges.astype(np.float64)), [1.0]]))
        np.testing.assert_allclose(probabilities, expected, atol=1e-5)
        assert distribution.mean().numpy() == pytest.approx((probabilities * grid).sum(), abs=0.5 / (levels - 1))


def test_discretized_logistic_draws_follow_its_probabilities():
    levels = 9
    uniforms = tf.constant(np.random.default_rng(0).random(200_000), tf.float32)
    distribution = distributions.DiscretizedLogistic(tf.fill([200_000], 0.3), tf.fill([200_000], 0.2), levels)
    counts = np.bincount(np.rint(distribution.quantile_of(uniforms).numpy() * (levels - 1)).astype(int), minlength=levels)
    one = distributions.DiscretizedLogistic(tf.constant(0.3), tf.constant(0.2), levels)
    expected = np.exp(one.log_prob(np.arange(levels, dtype=np.float32) / (levels - 1)).numpy().astype(np.float64))
    assert stats.chisquare(counts, counts.sum() * expected / expected.sum()).pvalue > 1e-5


def test_discretized_logistic_is_finite_with_gradients_far_from_its_location():
    loc, raw = tf.Variable([-50.0, 60.0, 0.5]), tf.Variable([-6.0, -6.0, -6.0])
    with tf.GradientTape() as tape:
        log_prob = distributions.DiscretizedLogistic(loc, tf.exp(raw)).log_prob(tf.constant([0.2, 0.8, 1.0]))
    assert np.all(np.isfinite(log_prob)) and np.all(np.isfinite(tape.gradient(log_prob, [loc, raw])))


def test_bernoulli_log_probability_is_tfps():
    logits = tf.constant([-90.0, -2.0, 0.0, 3.0, 90.0])
    ours = distributions.Bernoulli(logits=logits, dtype=tf.float32)
    theirs = tfp.distributions.Bernoulli(logits=logits, dtype=tf.float32)
    for value in (0.0, 1.0):
        np.testing.assert_allclose(ours.log_prob(value), theirs.log_prob(value), rtol=1e-6)


@pytest.mark.parametrize("batch", ((), (5,), (3, 5)))
@pytest.mark.parametrize("known", (True, False))  # whether the size of the batch is known when the graph is made
def test_a_bernoulli_of_images_scores_as_tfps(batch, known):
    random = np.random.default_rng(0)
    x = tf.constant(random.integers(2, size=(5, 4, 3, 2)), tf.float32)
    logits = tf.constant(20.0 * random.normal(size=(*batch, 4, 3, 2)), tf.float32)
    theirs = tfp.distributions.Independent(tfp.distributions.Bernoulli(logits=logits, dtype=tf.float32), 3)

    def score(logits, x):
        ours = distributions.independent_bernoulli(logits, 3)
        assert ours.event_shape == (4, 3, 2)
        return ours.log_prob(x)

    shapes = [each.shape if known else [None] * (each.shape.rank - 3) + each.shape[-3:] for each in (logits, x)]
    score = tf.function(score, input_signature=[tf.TensorSpec(shape) for shape in shapes])
    np.testing.assert_allclose(score(logits, x), theirs.log_prob(x), rtol=1e-6)


def test_softplus_has_the_derivatives_of_log_one_plus_exp():
    x = tf.constant([-800.0, -40.0, -3.0, 0.0, 1e-9, 2.0, 40.0, 800.0], tf.float64)
    with tf.GradientTape() as second, tf.GradientTape() as first:
        second.watch(x)
        first.watch(x)
        value = distributions.softplus(x)
    with second:
        slope = first.gradient(value, x)
    sigmoid = special.expit(x.numpy())
    np.testing.assert_allclose(value, np.logaddexp(0.0, x.numpy()), rtol=1e-15)
    np.testing.assert_allclose(slope, sigmoid, rtol=1e-14)
    np.testing.assert_allclose(second.gradient(slope, x), sigmoid * special.expit(-x.numpy()), rtol=1e-13)


def test_a_conditional_maps_every_leading_axis_alike():
    conditional = conditionals.Bernoulli((4, 4, 1), keras.layers.Dense(5, activation="tanh"))
    conditional.build((None, 3))
    parents = np.random.default_rng(0).standard_normal((2, 6, 3)).astype(np.float32)
    together = conditional(parents).mean().numpy()
    assert together.shape == (2, 6, 4, 4, 1)
    np.testing.assert_allclose(together[1, 4], conditional(parents[1, 4:5]).mean().numpy()[0], atol=1e-6)


def test_the_head_acts_on_each_pixel_where_features_keep_the_image_axes():
    conditional = conditionals.DiscretizedLogistic((6, 4, 3), keras.layers.Conv2D(8, 3, padding="same"))
    conditional.build((None, 6, 4, 2))
    assert conditional._head.kernel.shape == (8, 6)
    assert conditional(np.zeros((5, 6, 4, 2), np.float32)).log_prob(np.zeros((5, 6, 4, 3), np.float32)).shape == (5,)


class _Own(keras.layers.Layer):
    """Says nothing of the shape of what it returns, and makes its layer when it is called."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(5)

    def call(self, x):
        return self.dense(keras.ops.reshape(x, (-1, 3)))


def test_a_layer_of_the_users_own_need_tell_no_shape():
    conditional = conditionals.Bernoulli((4, 4, 1), _Own())
    conditional.build((None, 3))
    assert len(conditional.trainable_variables) == 4
    assert conditional(np.zeros((2, 7, 3), np.float32)).mean().shape == (2, 7, 4, 4, 1)


@pytest.mark.parametrize("policy", ("mixed_bfloat16", "mixed_float16"))
def test_free_parameters_are_float32_under_every_policy(policy):
    value = np.float32(1.2345678)
    prior, shared = conditionals.Bernoulli(2, dtype=policy), conditionals.Normal(2, shared_scale=True, dtype=policy)
    within = conditionals.AutoregressiveBernoulli(2, dtype=policy)
    for conditional in (prior, shared, within):
        conditional.build(None)
        for weight in conditional.trainable_variables:
            weight.assign(np.full(weight.shape, value))
    np.testing.assert_array_equal(prior().distribution.logits if hasattr(prior(), "distribution") else prior().logits, value)
    np.testing.assert_allclose(shared().stddev(), np.exp(value), rtol=1e-6)
    np.testing.assert_array_equal(within().weights[0, 1], value)


@pytest.mark.parametrize("sizes", (2, np.int64(2), (2,), np.array([2])))
def test_sizes_may_be_numpys(sizes):
    conditional = conditionals.Bernoulli(sizes)
    assert conditional.event_shape == (2,) and type(conditional.event_shape[0]) is int


def test_config_round_trip():
    conditional = conditionals.Normal(3, keras.layers.Dense(4), shared_scale=True, min_scale=0.5)
    restored = conditionals.Normal.from_config(conditional.get_config())
    assert restored.get_config() == conditional.get_config()
    restored.build((None, 2))
    assert restored.network.units == 4
