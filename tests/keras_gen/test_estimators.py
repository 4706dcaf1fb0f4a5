"""Each estimator's mean gradient is the one it claims, against enumeration of all latent states in float64."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_gen as kg
from keras_gen import objectives
from tests.keras_gen.enumeration import Enumeration
from tests.keras_gen.gradients import IMAGES, gradient_draws, name_of, network, replicated, set_baselines
from tests.statistics import assert_mean

KINDS = {
    "factorial": {},
    "autoregressive": {"generative": "autoregressive", "recognition": "autoregressive"},
}


@pytest.fixture(scope="module", params=sorted(KINDS))
def case(request):
    model = network(**KINDS[request.param])
    return model, Enumeration(model)


@pytest.fixture(scope="module")
def factorial():
    model = network()
    return model, Enumeration(model)


def gradients(model, objective, count=500, settled=False):
    """`[count, P]`: gradients of minus the loss, each the mean over a batch of replicas of all images.

    Baselines have arbitrary values; with `settled` those that their running means tend to.
    """
    model.compile(objective=objective)
    own = len(model.generator.trainable_variables) + sum(len(each.trainable_variables) for each in model.recognition)
    variables = model.trainable_variables[:own]
    if model.companion is not None and settled:
        many = tf.repeat(tf.constant(IMAGES), 500, axis=0)

        @tf.function(autograph=False)
        def settle(seed):
            for variable, value in objective(model, many, seed).updates:
                variable.assign(value)

        for index in range(20):
            settle(tf.constant([7, index]))
    else:
        set_baselines(model.companion)
    x = replicated(IMAGES)
    return gradient_draws(lambda seed: objective(model, x, seed).loss, variables, count)


def mask_of(model, part):
    """Which entries of a gradient vector belong to the generative ("p") or the recognition ("q") weights."""
    ours = {id(variable) for each in model.recognition for variable in each.trainable_variables}
    variables = [*model.generator.trainable_variables, *(v for each in model.recognition for v in each.trainable_variables)]
    return np.concatenate([np.full(int(np.prod(v.shape)), (id(v) in ours) == (part == "q")) for v in variables])


UNBIASED = [
    objectives.ScoreFunction(baseline=None),
    objectives.ScoreFunction(num_samples=3, baseline=-3.0),
    objectives.ScoreFunction(baseline="running_mean"),
    objectives.ScoreFunction(baseline="input", hidden_units=4),
    objectives.NVIL(normalize=False, hidden_units=4),
    objectives.MuProp(),
    objectives.MuProp(num_samples=2, baseline="input", hidden_units=4),
]


@pytest.mark.parametrize("objective", UNBIASED, ids=name_of)
def test_the_mean_gradient_is_the_gradient_of_the_exact_elbo(factorial, objective):
    model, exact = factorial
    assert_mean(gradients(model, objective), exact.gradient(lambda: exact.elbo(IMAGES)))


@pytest.mark.parametrize("objective", [objectives.ScoreFunction(), objectives.NVIL(normalize=False)], ids=name_of)
def test_the_same_with_autoregressive_layers(objective):
    model = network(**KINDS["autoregressive"])
    exact = Enumeration(model)
    assert_mean(gradients(model, objective), exact.gradient(lambda: exact.elbo(IMAGES)))


@pytest.mark.parametrize("objective", [objectives.NVIL(hidden_units=4), objectives.MuProp(normalize=True)], ids=name_of)
def test_variance_normalisation_scales_the_gradient_of_q_alone(factorial, objective):
    model, exact = factorial
    expected = exact.gradient(lambda: exact.elbo(IMAGES))
    expected[mask_of(model, "q")] /= 1.5
    assert_mean(gradients(model, objective), expected)


def test_the_mean_gradient_of_vimco_is_that_of_the_exact_bound_of_two_samples(case):
    model, exact = case
    expected = exact.gradient(lambda: exact.importance_bound(IMAGES))
    assert_mean(gradients(model, objectives.VIMCO(2)), expected)


def test_wake_sleep_climbs_its_own_two_targets(case):
    model, exact = case
    expected = np.where(
        mask_of(model, "p"), exact.gradient(lambda: exact.wake_target(IMAGES)), exact.gradient(exact.sleep_target)
    )
    assert_mean(gradients(model, objectives.WakeSleep()), expected)


def test_reweighted_wake_sleep_climbs_the_bound_of_its_samples_in_p(case):
    model, exact = case
    expected = exact.gradient(lambda: exact.importance_bound(IMAGES))
    p = mask_of(model, "p")
    assert_mean(gradients(model, objectives.ReweightedWakeSleep(2))[:, p], expected[p])


def test_the_bias_of_reweighted_wake_sleep_shrinks_with_more_samples(factorial):
    model, exact = factorial
    wake_q = exact.gradient(lambda: exact.wake_q_target(IMAGES))
    sleep_q = exact.gradient(exact.sleep_target)
    likelihood = exact.gradient(lambda: exact.log_likelihood(IMAGES))
    p, q = mask_of(model, "p"), mask_of(model, "q")
    for sleeps in (False, True):
        target = np.where(p, likelihood, wake_q + sleeps * sleep_q)
        biases = []
        for samples in (1, 5, 50):
            drawn = gradients(model, objectives.ReweightedWakeSleep(samples, sleep_q=sleeps), count=400)
            difference = drawn.mean(0) - target
            biases.append([np.linalg.norm(difference[part]) for part in (p, q)])
        one, five, fifty = map(np.array, biases)
        assert np.all(one > 1.5 * five) and np.all(five > 2.5 * fifty), biases
        assert np.all(fifty < 0.15 * np.linalg.norm(target))


def test_sleep_alone_and_frozen(factorial):
    model, exact = factorial
    p, q = mask_of(model, "p"), mask_of(model, "q")
    asleep = gradients(model, objectives.ReweightedWakeSleep(2, wake_q=False))
    assert_mean(asleep[:, q], exact.gradient(exact.sleep_target)[q])
    frozen = gradients(model, objectives.ReweightedWakeSleep(2, wake_q=False, sleep_q=False), count=20)
    assert np.all(frozen[:, q] == 0.0) and np.all(np.any(frozen[:, p] != 0.0, axis=0))


def test_control_variates_lower_the_variance(factorial):
    model, _ = factorial
    q = mask_of(model, "q")

    def variance(objective):
        return gradients(model, objective, count=300, settled=True)[:, q].var(axis=0).sum()

    plain = variance(objectives.ScoreFunction(baseline=None))
    found = [variance(each) for each in (objectives.ScoreFunction(), objectives.NVIL(normalize=False), objectives.MuProp())]
    assert np.all(np.array(found) < np.array([0.8, 0.7, 0.5]) * plain), (plain, found)
    assert variance(objectives.VIMCO(5)) < 0.7 * variance(objectives.ScoreFunction(5, baseline=None))


def test_bounds_and_estimates_stand_in_order(case):
    model, exact = case
    exactly = exact.elbo(IMAGES), exact.importance_bound(IMAGES), exact.log_likelihood(IMAGES)
    elbo, two, truth = (value.numpy() for value in exactly)
    assert np.all(elbo < two) and np.all(two < truth)
    estimate = kg.evaluation.log_likelihood(model, IMAGES, num_samples=100_000, progress=False)
    # The relative standard error of a mean of weights is about 1 / sqrt(effective sample size).
    assert np.all(np.abs(estimate.per_image - truth) < 5 / np.sqrt(estimate.effective_sample_size))
    assert np.all(estimate.effective_sample_size > 1000)
    few = [
        kg.evaluation.log_likelihood(model, np.repeat(IMAGES, 2000, axis=0), num_samples=samples, progress=False).per_image
        for samples in (1, 2)
    ]
    for values, bound in zip(few, (elbo, two), strict=True):
        assert_mean(values.reshape(3, 2000).T, bound)


def test_reported_figures_are_those_of_the_bound(factorial):
    model, exact = factorial
    images = np.repeat(IMAGES, 1000, axis=0)
    exactly = {"elbo": exact.elbo(IMAGES).numpy().mean(), "two": exact.importance_bound(IMAGES).numpy().mean()}
    one, two = (objectives.NVIL(), objectives.WakeSleep()), (objectives.ReweightedWakeSleep(2), objectives.VIMCO(2))
    for objective in (*UNBIASED[:1], *one, *two):
        model.compile(objective=objective)
        estimate = objective(model, tf.constant(images), tf.constant([1, 2]))
        bound = exactly["two" if getattr(objective, "num_samples", 1) == 2 else "elbo"]
        assert_mean(estimate.figures["bound"].numpy(), bound)
        np.testing.assert_allclose(estimate.loss, -estimate.figures["bound"], rtol=1e-6)
        if objective.num_samples == 1:
            np.testing.assert_allclose(
                estimate.figures["bound"], estimate.figures["reconstruction"] - estimate.figures["kl"], rtol=1e-5, atol=1e-5
            )


def test_running_averages_follow_the_signal_and_are_left_alone_by_evaluation():
    model = network()
    model.compile(optimizer=keras.optimizers.SGD(0.0), objective=objectives.NVIL(), jit_compile=False)
    images = np.repeat(IMAGES, 200, axis=0)
    model.evaluate(images, batch_size=600, verbose=0)
    assert float(model.companion.means[0]) == 0.0
    model.fit(images, batch_size=600, epochs=60, verbose=0)
    exact = Enumeration(model)
    assert float(model.companion.means[0]) == pytest.approx(float(np.mean(exact.elbo(IMAGES))), abs=0.3)
    variance = float(model.companion.variances[0])
    trace = model.trace(images, seed=[1, 2])
    assert variance == pytest.approx(float(np.var(trace.local_log_weights[0])), rel=0.3)


def test_compiling_anew_forgets_the_companion_and_loading_restores_it(tmp_path):
    model = network()
    images = np.repeat(IMAGES, 20, axis=0)
    plain = len(model.weights)
    model.compile(objective=objectives.NVIL(), jit_compile=False)
    model.fit(images, batch_size=20, epochs=1, verbose=0)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    for ours, theirs in zip(loaded.weights, model.weights, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    assert float(loaded.companion.means[1]) != 0.0
    first, second = (each.fit(images, batch_size=20, epochs=1, verbose=0).history["loss"] for each in (model, loaded))
    assert first == second
    model.compile(objective=objectives.VIMCO())
    assert model.companion is None and len(model.weights) == plain


def test_objectives_that_do_not_fit_are_refused_with_those_that_do():
    binary = network()
    for objective in (objectives.ELBO(), objectives.IWAE()):
        with pytest.raises(ValueError, match=r"Bernoulli.*fit this model: MuProp, NVIL, .*VIMCO, WakeSleep"):
            binary.compile(objective=objective)
    with pytest.raises(ValueError, match=r"no mean in closed form.*fit this model: NVIL"):
        network(**KINDS["autoregressive"]).compile(objective=objectives.MuProp())
    with pytest.raises(ValueError, match="at least 2.*NVIL"):
        objectives.VIMCO(1)
    for bad in ({"baseline": "mean"}, {"baseline": np.nan}, {"decay": 1.5}, {"hidden_units": 0}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            objectives.ScoreFunction(**bad)


def test_muprop_with_a_frozen_recognition_layer_leaves_that_layer_alone(factorial):
    model, exact = factorial
    expected = exact.gradient(lambda: exact.elbo(IMAGES))
    layers = [model.generator, *model.recognition]
    kept = np.concatenate(
        [np.full(int(np.prod(each.shape)), layer is not layers[1]) for layer in layers for each in layer.trainable_variables]
    )
    layers[1].trainable = False
    try:
        assert_mean(gradients(model, objectives.MuProp()), expected[kept])
    finally:
        layers[1].trainable = True


@pytest.mark.parametrize("objective", [objectives.NVIL(), objectives.MuProp(2), objectives.VIMCO(3)], ids=name_of)
def test_mixed_layers_train(objective):
    """Gaussian over categorical over Bernoulli: every estimator takes any latents that it fits."""
    made = kg.HelmholtzMachine(
        generative=[
            kg.conditionals.Normal(2),
            kg.conditionals.Categorical((3, 4)),
            kg.conditionals.Bernoulli(5),
            kg.conditionals.Bernoulli((2, 2, 1)),
        ],
        recognition=[kg.conditionals.Bernoulli(5), kg.conditionals.Categorical((3, 4)), kg.conditionals.Normal(2)],
        seed=0,
    )
    made.compile(optimizer=keras.optimizers.Adam(0.02), objective=objective, jit_compile=False)
    history = made.fit(np.repeat(IMAGES, 100, axis=0), batch_size=50, epochs=30, verbose=0).history
    assert history["bound"][-1] > history["bound"][0] + 0.3
