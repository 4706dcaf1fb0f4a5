"""Figures from samples and density ratios, against closed forms and direct computation."""

import math
import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_gen import evaluation
from keras_gen.evaluation.samples import _CHUNK


class Pixels:
    """Features that are the pixels themselves, so that moments are known."""

    digest = "pixels"

    def __call__(self, images):
        return np.asarray(images).reshape(len(images), -1)


def images(count, seed=0, shape=(2, 2, 1)):
    return np.random.default_rng(seed).random((count, *shape))


def test_parzen_windows_by_direct_computation():
    samples, test = images(7), images(5, 1)
    sigma = 0.3
    direct = []
    for x in test.reshape(5, -1):
        densities = [
            math.exp(-np.sum((x - s) ** 2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi)) ** 4
            for s in samples.reshape(7, -1)
        ]
        direct.append(math.log(np.mean(densities)))
    np.testing.assert_allclose(evaluation.parzen_per_image(samples, test, sigma), direct, rtol=1e-10)
    score = evaluation.parzen_log_likelihood(samples, test, test, bandwidths=(sigma,))
    assert score.value == pytest.approx(np.mean(direct)) and "not a measure of quality" in score.warning
    assert score.standard_error == pytest.approx(np.std(direct) / math.sqrt(5))


def test_a_protocol_names_all_data_that_the_figure_depends_on():
    scores = [evaluation.parzen_log_likelihood(images(9), validation, images(5, 1)) for validation in (images(7), images(7, 2))]
    with pytest.raises(evaluation.ProtocolError, match="validation_images is '7 images, sha256 .*' here and '7 images"):
        assert scores[0] < scores[1]
    one, other = (evaluation.nearest_neighbour_error(images(2), [0, 1], images(2), labels) for labels in ([0, 1], [1, 1]))
    with pytest.raises(evaluation.ProtocolError, match="test_labels is '2 labels, sha256"):
        assert one < other


def test_parzen_takes_the_bandwidth_that_is_best_on_validation():
    random = np.random.default_rng(0)
    samples = np.clip(0.5 + 0.05 * random.standard_normal((400, 2, 2, 1)), 0, 1)
    validation = np.clip(0.5 + 0.05 * random.standard_normal((300, 2, 2, 1)), 0, 1)
    candidates = (0.003, 0.03, 0.3)
    assert evaluation.parzen_bandwidth(samples, validation, candidates) == 0.03


def test_values_outside_of_the_range_are_refused():
    with pytest.raises(ValueError, match=r"test have values from -1 to"):
        evaluation.parzen_log_likelihood(images(5), images(5), 2 * images(5).round() - 1)
    features, right = evaluation.FeatureNetwork.shipped("digits"), images(80, shape=(8, 8, 1))
    for wrong, message in ((255 * right, "from .* they must lie in"), (np.nan * right, "NaN")):
        for measure in (evaluation.frechet_distance, evaluation.precision_recall):
            with pytest.raises(ValueError, match=message):
                measure(features, wrong, right)


def test_one_image_has_no_standard_error():
    assert math.isnan(evaluation.parzen_log_likelihood(images(5), images(5), images(1)).standard_error)


def test_the_frechet_distance_of_known_moments():
    random = np.random.default_rng(0)
    x = random.standard_normal((5000, 2, 1, 1))
    moved = x * np.array([2.0, 1.0]).reshape(1, 2, 1, 1) + np.array([3.0, 0.0]).reshape(1, 2, 1, 1)
    covariance, scale = np.cov(x.reshape(-1, 2), rowvar=False), np.diag([2.0, 1.0])
    mean = x.reshape(-1, 2).mean(0)
    other = scale @ covariance @ scale
    values = np.linalg.eigvals(covariance @ other).real
    shift = mean * [1, 0] + [3, 0]
    expected = np.sum(shift**2) + np.trace(covariance + other) - 2 * np.sqrt(values).sum()
    assert evaluation.frechet_distance(Pixels(), x, moved).value == pytest.approx(expected, rel=1e-6)
    assert evaluation.frechet_distance(Pixels(), x, x).value == pytest.approx(0.0, abs=1e-9)
    with pytest.raises(ValueError, match="singular"):
        evaluation.frechet_distance(Pixels(), x[:2], x)


@pytest.mark.parametrize("order", ["unlabelled", "in turns", "sorted"])
def test_the_error_of_a_frechet_distance_is_its_spread_over_samples(order):
    """Also of samples whose classes have equal shares, which vary less than independent ones."""
    random, count = np.random.default_rng(0), 1900
    images, skew = random.standard_normal((500, 3, 1, 1)), np.array([2.0, 1.0, 0.5]).reshape(1, 3, 1, 1)
    labels = np.arange(count) % 10 if order == "in turns" else np.arange(count) * 10 // count
    shift = 0 if order == "unlabelled" else labels.reshape(-1, 1, 1, 1)

    def score():
        return evaluation.frechet_distance(Pixels(), random.gamma(2.0, size=(count, 3, 1, 1)) * skew + shift, images)

    scores = [score() for _ in range(200)]
    spread = np.std([each.value for each in scores], ddof=1)
    assert np.sqrt(np.mean([each.standard_error**2 for each in scores])) == pytest.approx(spread, rel=0.15)


def test_precision_is_fidelity_and_recall_is_coverage():
    random = np.random.default_rng(0)
    left, right = random.random((200, 1, 2, 1)), 10 + random.random((200, 1, 2, 1))
    both = np.concatenate([left, right])
    half = np.concatenate([left, left + 1e-6])
    precision, recall = evaluation.precision_recall(Pixels(), half, both)
    assert precision.value > 0.99 and recall.value == pytest.approx(0.5, abs=0.01)
    precision, recall = evaluation.precision_recall(Pixels(), both, half)
    assert precision.value == pytest.approx(0.5, abs=0.01) and recall.value > 0.99


def test_the_nearest_neighbour_error_counts_wrong_classes():
    samples = np.array([0.0, 1.0]).reshape(2, 1, 1, 1)
    test = np.array([0.1, 0.2, 0.9, 0.8]).reshape(4, 1, 1, 1)
    score = evaluation.nearest_neighbour_error(samples, [3, 5], test, [3, 5, 5, 5])
    assert score.value == 0.25


def test_sharpness_by_hand():
    # Differences to the right and below are 0.3 and 0.4 at the one pixel that has both neighbours: 0.5.
    image = np.array([[0.2, 0.5], [0.6, 0.1]]).reshape(1, 2, 2, 1)
    assert evaluation.sharpness(image).value == pytest.approx(0.5)
    both = evaluation.sharpness(np.concatenate([image, np.full_like(image, 0.3)]))
    assert both.value == pytest.approx(0.25) and both.standard_error == pytest.approx(0.25 / math.sqrt(2))
    many = images(2 * _CHUNK + 7)  # in three chunks
    parts = [evaluation.sharpness(part) for part in (many[:1500], many[1500:])]
    whole = np.average([part.value for part in parts], weights=[1500, len(many) - 1500])
    assert evaluation.sharpness(many).value == pytest.approx(whole)
    edge = np.zeros((1, 4, 6, 3))
    edge[:, :, 3:] = 1.0  # 3 of the 3 x 5 pixels lie beside it
    soft = edge.copy()
    soft[:, :, 2:4] = 0.5  # twice as wide, half as steep
    assert evaluation.sharpness(edge).value == pytest.approx(0.2) == evaluation.sharpness(soft).value
    noisy = images(50, shape=(8, 8, 1))
    smooth = (noisy + np.roll(noisy, 1, axis=1) + np.roll(noisy, 1, axis=2) + np.roll(noisy, (1, 1), axis=(1, 2))) / 4
    assert evaluation.sharpness(smooth) < evaluation.sharpness(noisy)
    with pytest.raises(evaluation.ProtocolError, match="data_shape"):
        assert evaluation.sharpness(edge) < evaluation.sharpness(noisy)
    with pytest.raises(ValueError, match="2 x 2 pixels"):
        evaluation.sharpness(np.zeros((3, 1, 8, 1)))


def test_scores_of_different_protocols_are_not_compared():
    one, other = evaluation.Score("a", 1.0, {"samples": 10}), evaluation.Score("a", 2.0, {"samples": 10})
    assert one < other and other > one and other - one == 1.0
    with pytest.raises(evaluation.ProtocolError, match="samples is 10 here and 20 there"):
        assert one < evaluation.Score("a", 2.0, {"samples": 20})
    with pytest.raises(evaluation.ProtocolError, match="one is a, the other b"):
        assert one < evaluation.Score("b", 2.0, {"samples": 10})
    with pytest.raises(TypeError, match="no protocol"):
        assert one < 2.0
    same, further = evaluation.Score("a", 1.0, {"samples": 10}), evaluation.Score("a", 1.0, {"samples": 20})
    assert one == same and one != other and len({one, same, other}) == 2
    assert len({same, further}) == 2
    assert one != 1.0 and one is not None and one not in [None, "a"]
    for differ in (lambda: one == further, lambda: one != further):
        with pytest.raises(evaluation.ProtocolError, match="samples is 10 here and 20 there"):
            differ()


def test_feature_networks_keep_their_digest(tmp_path):
    network = evaluation.FeatureNetwork.shipped("digits")
    network.save(tmp_path / "copy.npz")
    copy = evaluation.FeatureNetwork.load(tmp_path / "copy.npz")
    assert copy.digest == network.digest
    x = images(3, shape=(8, 8, 1)).astype(np.float32)
    np.testing.assert_array_equal(copy(x), network(x))
    with pytest.raises(ValueError, match="no feature network for 'faces'"):
        evaluation.FeatureNetwork.shipped("faces")


def test_the_density_ratio_of_two_gaussians():
    random = np.random.default_rng(0)
    p, q = random.standard_normal((3000, 1)) + 1.0, random.standard_normal((2000, 1))
    ratio = evaluation.density_ratio(p, q, hidden_units=(32,), folds=2, epochs=60)
    x = np.linspace(-1.0, 2.0, 7)[:, None]
    np.testing.assert_allclose(ratio.log_ratio(x), x[:, 0] - 0.5, atol=0.3)  # log N(x; 1, 1) / N(x; 0, 1)
    grid = np.linspace(-8, 9, 20001)
    densities = [np.exp(-0.5 * (grid - mean) ** 2) / math.sqrt(2 * math.pi) for mean in (1.0, 0.0)]
    middle = 0.5 * (densities[0] + densities[1])
    exact = sum(0.5 * np.trapezoid(each * np.log(each / middle), grid) for each in densities)
    estimate = ratio.jensen_shannon
    assert abs(estimate.value - exact) < 4 * estimate.standard_error + 0.005
    assert ratio.p_value < 1e-6


@pytest.mark.parametrize("count", [40, 41])  # folds of equal size, and of unequal ones
def test_critics_learn_from_fewer_samples_than_a_batch_has(count):
    random = np.random.default_rng(0)
    p, q = random.standard_normal((count, 2)) + 3.0, random.standard_normal((count, 2))
    ratio = evaluation.density_ratio(p, q, hidden_units=(16,), folds=2, batch_size=200)
    assert ratio.accuracy.value > 0.9 and ratio.p_value < 1e-6


def test_equal_distributions_have_no_divergence():
    random = np.random.default_rng(1)
    p, q = random.standard_normal((1000, 2)), random.standard_normal((1000, 2))
    ratio = evaluation.density_ratio(p, q, hidden_units=(16,), folds=2, epochs=5)
    # A lower bound in expectation: what the critics have learned by heart brings it below 0, nothing above.
    assert -0.1 < ratio.jensen_shannon.value < 4 * ratio.jensen_shannon.standard_error and ratio.p_value > 1e-3
    with pytest.raises(ValueError, match="rows of shape"):
        evaluation.density_ratio(p, q[:, :1])
    with pytest.raises(ValueError, match="at least 10 of each"):
        evaluation.density_ratio(p[:15], q)


def test_critics_and_features_are_float32_and_leave_the_random_state():
    def draw():
        return random.random(), np.random.random(), float(tf.random.uniform(())), float(keras.random.uniform(()))

    keras.utils.set_random_seed(3)
    first, second = draw(), draw()
    network = evaluation.FeatureNetwork((8, 8, 1), 2)
    keras.utils.set_random_seed(3)
    assert draw() == first
    before = keras.config.dtype_policy()
    p, x = np.arange(40.0)[:, None], images(20, shape=(8, 8, 1)).astype(np.float32)
    ratios, digests = [], []
    try:
        for policy in ("float32", "mixed_float16", "float64"):
            keras.config.set_dtype_policy(policy)
            ratios.append(evaluation.density_ratio(p, p + 0.5, hidden_units=2, folds=2, epochs=1).log_ratio_p)
            digests.append(network.fit(x, np.arange(20) % 2, epochs=1).digest)
    finally:
        keras.config.set_dtype_policy(before)
    assert len(set(digests)) == 1
    np.testing.assert_array_equal(ratios[0], ratios[1])
    np.testing.assert_array_equal(ratios[0], ratios[2])
    assert draw() == second


@pytest.mark.parametrize("call, reason", [
    (lambda a, b: evaluation.parzen_log_likelihood(a, a, b), "different shapes .*test .3, 8, 2, 1."),
    (lambda a, b: evaluation.parzen_per_image(a, b, 0.1), "different shapes"),
    (lambda a, b: evaluation.nearest_neighbour_error(a, [0, 1, 2], b, [0, 1, 2]), "different shapes"),
    (lambda a, b: evaluation.parzen_log_likelihood(a, a, a, bandwidths=()), "bandwidths .*at least one"),
    (lambda a, b: evaluation.parzen_log_likelihood(a, a, a, bandwidths=(0.1, 0.0)), "bandwidths .*positive"),
    (lambda a, b: evaluation.parzen_bandwidth(a, a, [math.nan]), "bandwidths .*positive"),
    (lambda a, b: evaluation.parzen_per_image(a, a, -1.0), "bandwidths .*positive"),
    (lambda a, b: evaluation.precision_recall(None, a, a, neighbours=1.0), "neighbours=1.0: an integer"),
    (lambda a, b: evaluation.precision_recall(None, a, a, neighbours=3), "fewer than the 3 images"),
    (lambda a, b: evaluation.density_ratio(a, a, epochs=0), "epochs=0: an integer"),
    (lambda a, b: evaluation.density_ratio(a, a, batch_size=0), "batch_size=0"),
    (lambda a, b: evaluation.density_ratio(a, a, seed=-1), "seed=-1"),
    (lambda a, b: evaluation.density_ratio(a, a, hidden_units=(8, 0)), "hidden_units=0"),
    (lambda a, b: evaluation.density_ratio(a, a, weight_decay=math.nan), "weight_decay=nan"),
    (lambda a, b: evaluation.FeatureNetwork((4, 4, 1), 3).fit(b, [0, 1, 2]), "this feature network is for"),
    (lambda a, b: evaluation.FeatureNetwork((4, 4, 1), 3).fit(a, [0, 1]), "one for each of the 3 images"),
    (lambda a, b: evaluation.FeatureNetwork((4, 4, 1), 3).fit(a, [0, 1, 3]), "labels run from 0 to 3"),
    (lambda a, b: evaluation.FeatureNetwork((4, 4, 1), 3).accuracy(a, [0.5, 1, 2]), "dtype float64"),
])  # fmt: skip
def test_bad_arguments(call, reason):
    of_one_shape, of_another = images(3, shape=(4, 4, 1)), images(3, shape=(8, 2, 1))
    with pytest.raises(ValueError, match=reason):
        call(of_one_shape, of_another)


def test_parzen_windows_are_chosen_as_published():
    """Of ten bandwidths from 0.1 to 1, by the first thousand validation images."""
    rng = np.random.default_rng(0)
    samples = rng.random((20, 2, 2, 1)).astype(np.float32)
    validation = np.concatenate([np.repeat(samples, 50, axis=0), rng.random((4000, 2, 2, 1)).astype(np.float32)])
    protocol = evaluation.parzen_log_likelihood(samples, validation, samples).protocol
    np.testing.assert_allclose(protocol["bandwidths"], np.logspace(-1, 0, 10), atol=1e-6)
    assert protocol["validation_images"] == evaluation.samples.identity(validation[:1000])
    assert evaluation.parzen_bandwidth(samples, validation) == 0.1  # the others, far from any sample, would want a wider one
    assert evaluation.parzen_bandwidth(samples, validation[1000:2000]) > 0.1


def test_bandwidths_may_come_from_a_generator():
    samples, test = images(20, shape=(2, 2, 1)), images(9, shape=(2, 2, 1))
    score = evaluation.parzen_log_likelihood(samples, test, test, bandwidths=(value for value in (0.1, 0.3)))
    assert score.protocol["bandwidths"] == [0.1, 0.3]


def test_the_ratio_at_points_of_another_width_is_refused():
    critics, mean, scale = (keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)]),), np.zeros(4), np.ones(4)
    ratio = evaluation.DensityRatio(np.zeros(3), np.zeros(3), critics, mean, scale, {})
    assert ratio.log_ratio(np.zeros((6, 2, 2))).shape == (6,)
    with pytest.raises(ValueError, match="x has shape .6, 2.: 4 values a row"):
        ratio.log_ratio(np.zeros((6, 2)))
