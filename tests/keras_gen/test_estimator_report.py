"""The report on estimators tells the truth: exact values against an independent enumeration, noise and bias against theory."""

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import keras_gen as kg
from keras_gen import conditionals, objectives
from keras_gen.evaluation import enumeration, estimator_report, estimators
from keras_gen.objectives.objective import fitting
from tests.keras_gen.enumeration import Enumeration
from tests.keras_gen.gradients import IMAGES, gradient_draws, network
from tests.statistics import FAILURE_RATE, assert_mean

BOUNDS = {
    "elbo": enumeration.exact_elbo,
    "log_likelihood": enumeration.exact_log_likelihood,
    "importance_bound": enumeration.exact_importance_bound,
}


@pytest.fixture(scope="module")
def report():
    return estimator_report(network(), IMAGES, num_draws=3000)


def row(report, name):
    (found,) = [each for each in report.rows if each.name == name]
    return found


# Exact values.


@pytest.mark.parametrize("kind", ["factorial", "autoregressive"])
@pytest.mark.parametrize("bound", sorted(BOUNDS))
def test_exact_values_and_gradients_are_those_of_the_independent_enumeration(kind, bound):
    model = network(generative=kind, recognition=kind)
    exact = Enumeration(model)
    np.testing.assert_allclose(BOUNDS[bound](model, IMAGES), getattr(exact, bound)(IMAGES), rtol=1e-6)
    expected = exact.gradient(lambda: getattr(exact, bound)(IMAGES))
    np.testing.assert_allclose(enumeration.exact_gradient(model, IMAGES, bound), expected, atol=1e-6)


def test_images_in_several_chunks_are_as_images_in_one(monkeypatch):
    model = network()
    whole = [enumeration.exact_elbo(model, IMAGES), enumeration.exact_gradient(model, IMAGES)]
    monkeypatch.setattr(enumeration, "MAX_ELEMENTS", 32 * 4 * 2)
    chunked = [enumeration.exact_elbo(model, IMAGES), enumeration.exact_gradient(model, IMAGES)]
    for one, other in zip(whole, chunked, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def categorical_machine():
    return kg.HelmholtzMachine(
        generative=[conditionals.Categorical((1, 3)), conditionals.Bernoulli(2), conditionals.Bernoulli((1, 2, 1))],
        recognition=[conditionals.Bernoulli(2), conditionals.Categorical((1, 3))],
        seed=0,
    )


def test_categories_are_enumerated_and_probabilities_of_all_states_and_images_sum_to_1():
    model = categorical_machine()
    units, categories = enumeration.enumerate_latents(model)
    assert units.shape == (12, 1, 2) and categories.shape == (12, 1, 1, 3)
    assert len(np.unique(np.concatenate([units[:, 0], categories[:, 0, 0]], axis=1), axis=0)) == 12
    np.testing.assert_array_equal(categories.sum(-1), 1.0)
    images = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32).reshape(4, 1, 2, 1)
    assert np.exp(enumeration.exact_log_likelihood(model, images)).sum() == pytest.approx(1.0, abs=1e-6)


def test_what_cannot_be_enumerated_is_refused_with_the_reason():
    vae = kg.VAE((2, 2, 1), latent_dim=1, hidden_units=())
    with pytest.raises(ValueError, match="is Normal: only discrete latents"):
        enumeration.exact_elbo(vae, IMAGES)
    large = kg.SigmoidBeliefNetwork((2, 2, 1), units=(10, 3))
    with pytest.raises(ValueError, match="have 8192 states; at most 4096"):
        enumeration.enumerate_latents(large)
    with pytest.raises(ValueError, match="grey values"):
        enumeration.exact_elbo(network(), IMAGES / 2)
    with pytest.raises(ValueError, match="bound='ELBO': one of 'elbo'"):
        enumeration.exact_gradient(network(), IMAGES, "ELBO")


# The report.


def test_unbiased_estimators_show_no_bias(report):
    both = ["ScoreFunction(baseline=None)", "ScoreFunction()", "NVIL(normalize=False)", "MuProp()", "VIMCO(num_samples=2)"]
    for name in both:
        assert row(report, name).q.bias_seen is False, report
    for name in [*both, "WakeSleep()", "ReweightedWakeSleep(num_samples=2)"]:
        assert row(report, name).p.bias_seen is False, report
    for name in ("WakeSleep()", "ReweightedWakeSleep(num_samples=2)"):
        assert row(report, name).q.bias is None


class NothingAddedBack(objectives.MuProp):
    """The classic mistake: a control variate whose expectation is forgotten."""

    def choices(self, model, x, trace):
        return [choice._replace(added_back=0.0) for choice in super().choices(model, x, trace)]


class ReweightedElbo(objectives.ScoreFunction):
    """Reweighted wake-sleep passed off as an estimator of the ELBO's gradient."""

    def __call__(self, model, x, seed):
        return objectives.ReweightedWakeSleep(5)(model, x, seed)


def test_a_biased_estimator_is_found_out_and_by_the_right_amount():
    model = network()
    mistaken, reweighted = estimator_report(
        model, IMAGES, [NothingAddedBack(baseline=None), ReweightedElbo(baseline=None)], num_draws=1000
    ).rows
    assert mistaken.q.bias_seen and not mistaken.p.bias_seen
    assert reweighted.q.bias_seen and reweighted.p.bias_seen
    # RWS's mean in p is the gradient of the bound of 5 samples, nearer to the likelihood's than the ELBO's is.
    elbo, likelihood = (enumeration.exact_gradient(model, IMAGES, bound) for bound in ("elbo", "log_likelihood"))
    of_p = sum(math.prod(weight.shape) for weight in model.generator.trainable_variables)
    distance = np.linalg.norm((likelihood - elbo)[:of_p])
    assert 0.5 * distance < reweighted.p.bias < 1.1 * distance


def test_control_variates_lower_the_variance_of_q_and_leave_that_of_p(report):
    plain, nvil, muprop = (row(report, name) for name in ("ScoreFunction(baseline=None)", "NVIL(normalize=False)", "MuProp()"))
    assert nvil.q.variance < 0.5 * plain.q.variance and muprop.q.variance < 0.2 * plain.q.variance
    assert plain.q.signal_to_noise < nvil.q.signal_to_noise < muprop.q.signal_to_noise
    assert nvil.p.variance == pytest.approx(plain.p.variance, rel=1e-4)


def test_variance_and_signal_to_noise_are_those_of_independent_draws(report):
    """Of K draws averaged the variance is 1/K of one's; and it agrees with gradients that the test draws by itself."""
    model = network()
    one = row(report, "ScoreFunction(baseline=None)")
    four = estimator_report(model, IMAGES, [objectives.ScoreFunction(4, baseline=None)], num_draws=3000).rows[0]
    assert (four.num_samples, four.bound, four.baseline) == (4, "ELBO", "none")
    for part, quarter in ((one.p, four.p), (one.q, four.q)):
        assert quarter.variance == pytest.approx(part.variance / 4, rel=0.15)
        assert quarter.signal_to_noise == pytest.approx(2 * part.signal_to_noise, rel=0.15)
    gradients = draws(model, objectives.ScoreFunction(baseline=None), IMAGES, enumeration.recognition_weights(model), 3000)
    assert one.q.variance == pytest.approx(gradients.var(0, ddof=1).sum(), rel=0.15)
    exact = enumeration.exact_gradient(model, IMAGES)[-gradients.shape[1] :]
    assert one.q.signal_to_noise == pytest.approx(np.linalg.norm(exact) / math.sqrt(one.q.variance), rel=0.2)


def test_by_default_all_valid_objectives_are_reported_and_the_one_in_force(report):
    assert {each.name.split("(")[0] for each in report.rows} == set(fitting(network()))
    model = network()
    model.compile(objective=objectives.NVIL(3))
    assert estimators._usual(model)[-1] is model.objective
    model.compile(objective=objectives.MuProp())
    assert len(estimators._usual(model)) == len(report.rows)


def test_where_the_truth_is_not_known_no_bias_is_claimed():
    vae = kg.VAE((2, 2, 1), latent_dim=1, hidden_units=(), seed=0)
    assert {type(objective).__name__ for objective in estimators._usual(vae)} == set(fitting(vae))
    pathwise, plain = estimator_report(vae, IMAGES, [objectives.ELBO(), objectives.ScoreFunction(baseline=None)], 50).rows
    assert all(each.p.bias is None and each.q.bias_seen is None for each in (pathwise, plain))
    assert pathwise.q.variance < 0.5 * plain.q.variance


def test_the_report_is_a_function_of_its_seed():
    one, same, other = (
        estimator_report(network(), IMAGES, [objectives.ScoreFunction()], num_draws=5, seed=seed).rows[0].q.variance
        for seed in (3, 3, 4)
    )
    assert one == same != other


def test_the_model_is_left_exactly_as_it_was():
    model = network()
    model.compile(objective=objectives.NVIL(hidden_units=4), jit_compile=False)
    model.fit(np.repeat(IMAGES, 20, axis=0), batch_size=20, epochs=2, verbose=0)
    companion, objective, binarizes = model.companion, model.objective, model.binarization_in_force
    names = [weight.path for weight in model.weights]
    weights = [weight.numpy() for weight in (*model.weights, *model.optimizer.variables)]
    report = estimator_report(
        model, IMAGES, [objectives.NVIL(hidden_units=4), objectives.NVIL(), objectives.MuProp(baseline=-2)], num_draws=3
    )
    assert [each.baseline for each in report.rows] == ["as trained", "running mean (network untrained)", "-2"]
    assert model.companion is companion and model.objective is objective and model.binarization_in_force == binarizes
    assert [weight.path for weight in model.weights] == names
    for weight, before in zip((*model.weights, *model.optimizer.variables), weights, strict=True):
        np.testing.assert_array_equal(weight.numpy(), before)
    # Nor does a model that has seen no data yet settle how it binarises.
    fresh = network()
    estimator_report(fresh, IMAGES, [objectives.WakeSleep()], num_draws=2)
    assert fresh.binarization_in_force == "dynamic" and not hasattr(fresh, "objective") and not fresh.compiled


def test_the_trained_baseline_is_the_one_used():
    """One far off raises the variance by its square times the variance of grad log q."""
    model = network()
    model.compile(objective=objectives.ScoreFunction())
    model.companion.means[0].assign(500.0)
    trained = estimator_report(model, IMAGES, [objectives.ScoreFunction()], num_draws=200).rows[0]
    constant = estimator_report(network(), IMAGES, [objectives.ScoreFunction(baseline=500)], num_draws=200).rows[0]
    assert trained.q.variance == pytest.approx(constant.q.variance, rel=1e-4)


def test_scaled_and_eased_gradients_claim_no_exact_one():
    nvil, muprop = estimator_report(network(), IMAGES, [objectives.NVIL(), objectives.MuProp(normalize=True)], 200).rows
    assert (nvil.bound, nvil.q.bias, nvil.p.bias_seen) == ("ELBO, q scaled", None, False)
    assert (muprop.bound, muprop.q.bias, muprop.p.bias_seen) == ("ELBO, q scaled", None, False)
    vae = kg.VAE((2, 2, 1), latent_dim=1, hidden_units=(), seed=0)
    assert estimator_report(vae, IMAGES, [objectives.ELBO(warmup_steps=9)], num_draws=2).rows[0].bound == "ELBO, eased"


def test_table_markdown_and_picture_show_every_row(report, tmp_path):
    text, markdown = str(report), report.markdown()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines() if line.startswith("|")]
    assert len(cells) == 2 + len(report.rows) and {len(line) for line in cells} == {11}
    for line, each in zip(cells[2:], report.rows, strict=True):
        assert line[0] == each.name and float(line[5]) == pytest.approx(each.q.variance, rel=0.01)
        assert re.search(rf"^{re.escape(each.name)} +{each.bound} +{each.num_samples} ", text, re.MULTILINE)
    assert max(map(len, text.splitlines())) < 200
    report.plot(tmp_path / "variances.svg")
    svg = ElementTree.parse(tmp_path / "variances.svg").getroot()
    space = "{http://www.w3.org/2000/svg}"
    bars = [float(bar.get("width")) for bar in svg.iter(f"{space}rect") if bar.get("x")]
    variances = [part.variance for each in report.rows for part in (each.p, each.q)]
    # Lengths are linear in the logarithm.
    slope, _ = np.polyfit(np.log(variances), bars, 1)
    assert slope > 0 and np.corrcoef(np.log(variances), bars)[0, 1] > 0.9999
    assert all(0.0 <= bar <= 500.0 for bar in bars)
    with pytest.raises(ValueError, match=r"must end in \.svg"):
        report.plot(tmp_path / "variances.png")


def test_bad_requests_are_refused_with_the_reason():
    with pytest.raises(ValueError, match="num_draws=1: an integer of at least 2"):
        estimator_report(network(), IMAGES, num_draws=1)
    with pytest.raises(ValueError, match="grey values"):
        estimator_report(network(), IMAGES / 2)
    with pytest.raises(ValueError, match="ELBO differentiates through the draws"):
        estimator_report(network(), IMAGES, [objectives.ELBO()])
    with pytest.raises(ValueError, match="NoneType: a HelmholtzMachine is needed"):
        estimator_report(None, IMAGES)


# A single 0/1 variable.

MU = 0.05
ONE = np.ones((1, 1, 1, 1), np.float32)


def single_variable(effect):
    """One Bernoulli latent z, one pixel x = 1, q(z=1) = MU; p(z=1) = sigmoid(-4), p(x=1 given z) = sigmoid(effect z - 1).

    With f(z) = log p(x, z) - log q(z) the gradient of E_q[f] by the logit of q is MU (1 - MU) (f(1) - f(0)); the score function
    estimates it by f(z) (z - MU). Here f(1) < f(0) < 0: the true gradient is negative, and z = 0, which q draws 19 times in 20,
    gives -MU f(0) > 0. A baseline b makes that (f(z) - b) (z - MU), which for b = MU f(0) + (1 - MU) f(1) is
    MU (1 - MU) (f(1) - f(0)) at z = 0 and at z = 1: no variance at all. For b = E_q[f] its sign is right at both.

    Returns:
        The model, f(0), f(1) and the exact gradient.
    """
    model = kg.HelmholtzMachine(
        generative=[conditionals.Bernoulli(1), conditionals.Bernoulli((1, 1, 1))], recognition=[conditionals.Bernoulli(1)]
    )
    prior, likelihood = model.generator.conditionals
    prior._free.assign([[-4.0]])
    likelihood._head.kernel.assign([[effect]])
    likelihood._head.bias.assign([-1.0])
    model.recognition[0]._head.kernel.assign([[0.0]])
    model.recognition[0]._head.bias.assign([math.log(MU / (1.0 - MU))])

    def log_sigmoid(logit):
        return -math.log1p(math.exp(-logit))

    f_0 = log_sigmoid(4.0) + log_sigmoid(-1.0) - math.log(1.0 - MU)
    f_1 = log_sigmoid(-4.0) + log_sigmoid(effect - 1.0) - math.log(MU)
    assert f_1 < f_0 < 0.0
    return model, f_0, f_1, MU * (1.0 - MU) * (f_1 - f_0)


def draws(model, objective, images, weights, count=2000):
    """`[count, P]`: single gradients of the bound by some weights, without the report's machinery."""
    return gradient_draws(lambda seed: objective(model, tf.constant(images), seed).loss, weights, count)


def of_the_logit(model, objective):
    """`[2000]`: single gradients by the logit of q, which is the bias of its head."""
    return draws(model, objective, ONE, [model.recognition[0]._head.bias])[:, 0]


def test_the_plain_likelihood_ratio_almost_always_has_the_wrong_sign_and_is_right_on_average():
    model, f_0, f_1, exact = single_variable(effect=-3.0)
    elbo = (1.0 - MU) * f_0 + MU * f_1
    assert enumeration.exact_elbo(model, ONE)[0] == pytest.approx(elbo, rel=1e-5)
    # The last weight is the bias of q's head.
    assert enumeration.exact_gradient(model, ONE)[-1] == pytest.approx(exact, rel=1e-4)
    gradients = of_the_logit(model, objectives.ScoreFunction(baseline=None))
    wrong = gradients > 0.0
    np.testing.assert_allclose(gradients, np.where(wrong, -MU * f_0, (1.0 - MU) * f_1), rtol=1e-4)
    assert exact < 0.0 and wrong.mean() > 0.9
    assert stats.binomtest(int(wrong.sum()), len(wrong), 1.0 - MU).pvalue > FAILURE_RATE
    assert_mean(gradients, exact)


def test_the_optimal_baseline_leaves_no_variance_and_the_mean_as_baseline_no_wrong_sign():
    model, f_0, f_1, exact = single_variable(effect=-3.0)
    optimal = objectives.ScoreFunction(baseline=MU * f_0 + (1.0 - MU) * f_1)
    np.testing.assert_allclose(of_the_logit(model, optimal), exact, rtol=1e-4)
    mean = objectives.ScoreFunction(baseline=MU * f_1 + (1.0 - MU) * f_0)
    gradients = of_the_logit(model, mean)
    assert np.all(gradients < 0.0)
    assert_mean(gradients, exact)
    plain, running, best = estimator_report(
        model, ONE, [objectives.ScoreFunction(baseline=None), objectives.ScoreFunction(), optimal], num_draws=2000
    ).rows
    # The variance by hand; the head's kernel sees x = 1 and has the bias's gradient, hence 2.
    by_hand = 2 * MU * (1.0 - MU) * (-MU * f_0 - (1.0 - MU) * f_1) ** 2
    assert plain.q.variance == pytest.approx(by_hand, rel=0.2)
    assert running.q.variance < plain.q.variance and best.q.variance < 1e-8 * plain.q.variance
    assert not best.q.bias_seen and best.q.signal_to_noise > 1e3


def test_muprop_is_exact_where_the_signal_is_linear():
    """Where x does not depend on z, f is linear in z: nothing is left for the likelihood ratio. Else only its curvature is."""
    linear, *_, exact = single_variable(effect=0.0)
    np.testing.assert_allclose(of_the_logit(linear, objectives.MuProp(baseline=None)), exact, rtol=1e-4)
    curved, f_0, f_1, exact = single_variable(effect=-3.0)
    gradients = of_the_logit(curved, objectives.MuProp(baseline=None))
    assert np.mean(gradients < 0.0) > 0.9
    assert_mean(gradients, exact)
    plain, muprop, in_a_line = (
        estimator_report(model, ONE, [objective], num_draws=500).rows[0].q.variance
        for model, objective in (
            (curved, objectives.ScoreFunction(baseline=None)),
            (curved, objectives.MuProp(baseline=None)),
            (linear, objectives.MuProp(baseline=None)),
        )
    )
    assert in_a_line < 1e-8 * plain and muprop < 0.2 * plain
