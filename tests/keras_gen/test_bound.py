import keras
import numpy as np
import pytest

import keras_gen as kg
from keras_gen.evaluation import explain_bound
from keras_gen.metrics import ActiveUnits
from tests.keras_gen.enumeration import Enumeration
from tests.keras_gen.tiny import LinearGaussian
from tests.models import MODELS, images_for


def all_images(shape):
    """Every binary image of a shape."""
    size = int(np.prod(shape))
    return (np.arange(2**size)[:, None] >> np.arange(size) & 1).reshape(-1, *shape).astype(np.float32)


def perturbed(model, seed=1, scale=1.0):
    rng = np.random.default_rng(seed)
    for weight in model.trainable_variables:
        weight.assign(weight.numpy() + scale * rng.standard_normal(weight.shape))
    return model


def categorical_machine():
    conditionals = kg.conditionals
    return kg.HelmholtzMachine(
        generative=[conditionals.Categorical((3, 4), name="p1"), conditionals.Bernoulli((2, 2, 1), name="p0")],
        recognition=[conditionals.Categorical((3, 4), name="q1")],
    )


CASES = {
    "vae": lambda: (MODELS["vae"](seed=0), [(4,)], 4),
    "two_gaussian_layers": lambda: (perturbed(MODELS["helmholtz_machine"](seed=0), scale=0.3), [(3,), (2,)], 5),
    "belief_network": lambda: (perturbed(kg.SigmoidBeliefNetwork((2, 2, 1), units=(3, 2))), [(3,), (2,)], 5),
    "autoregressive": lambda: (
        perturbed(
            kg.SigmoidBeliefNetwork((2, 2, 1), units=(3, 2), generative="autoregressive", recognition="autoregressive")
        ), [(3,), (2,)], 5,
    ),
    "mixed": lambda: (
        perturbed(kg.SigmoidBeliefNetwork((2, 2, 1), units=(3, 2), recognition="autoregressive")), [(3,), (2,)], 5
    ),
    "categorical": lambda: (perturbed(categorical_machine()), [(3,)], 3),
}


@pytest.mark.parametrize("name", CASES)
def test_the_parts_add_up(name):
    keras.utils.set_random_seed(0)
    model, unit_shapes, units = CASES[name]()
    binary = (images_for(model, 20) > 0.5).astype(np.float32)
    report = explain_bound(model, binary, num_samples=4, likelihood_samples=50, batch_size=8)
    assert report.reconstruction - sum(report.kl) == pytest.approx(report.bound, rel=1e-6)
    assert report.inference_gap == pytest.approx(report.log_likelihood - report.bound, rel=1e-6)
    assert [each.shape for each in report.unit_kl] == unit_shapes
    for kl, unit_kl in zip(report.kl, report.unit_kl, strict=True):
        assert unit_kl.sum() == pytest.approx(kl, rel=1e-4, abs=1e-5)
    assert 0 <= report.total_active_units == sum(report.active_units) <= units
    again = kg.evaluation.log_likelihood(model, binary, 50, batch_size=8, progress=False)
    assert report.log_likelihood == again.mean


def test_a_gaussian_model_against_its_closed_forms():
    exact = LinearGaussian()
    model, images = exact.model, exact.images
    weights = model.data_conditional._head.kernel.numpy().astype(np.float64)
    q = model.recognition[0](images).distribution
    loc, variance = q.loc.numpy().astype(np.float64), np.square(q.scale.numpy().astype(np.float64))
    residual = images.reshape(-1, 9).astype(np.float64) - loc @ weights - 0.5
    squares = np.square(residual).sum(1) + variance @ np.square(weights).sum(1)
    reconstruction = -0.5 * squares / 0.1**2 - 4.5 * np.log(2 * np.pi * 0.1**2)
    unit_kl = 0.5 * (np.square(loc) + variance - 1 - np.log(variance))
    report = explain_bound(model, images, num_samples=4000, likelihood_samples=20000)
    np.testing.assert_allclose(report.unit_kl[0], unit_kl.mean(0), rtol=1e-4)
    assert report.reconstruction == pytest.approx(reconstruction.mean(), abs=0.03)
    bound = reconstruction - unit_kl.sum(1)
    gap = exact.log_likelihood - bound
    assert report.inference_gap == pytest.approx(gap.mean(), abs=0.04)
    for name, values in (("bound", bound), ("log_likelihood", exact.log_likelihood), ("inference_gap", gap)):
        assert report.standard_error[name] == pytest.approx(np.std(values, ddof=1) / np.sqrt(24), rel=0.1), name
    assert report.standard_error["kl"][0] == pytest.approx(np.std(unit_kl.sum(1), ddof=1) / np.sqrt(24), rel=1e-3)
    metric = ActiveUnits(2)
    metric.update_state(loc.astype(np.float32))
    assert report.active_units == (int(metric.result()),)


@pytest.mark.parametrize("kinds", [("factorial", "factorial"), ("autoregressive", "autoregressive")])
def test_a_belief_network_against_all_its_states(kinds):
    keras.utils.set_random_seed(1)
    model = kg.SigmoidBeliefNetwork((2, 2, 1), units=(3, 2), generative=kinds[0], recognition=kinds[1])
    perturbed(model, scale=0.7)
    images = all_images((2, 2, 1))
    truth = Enumeration(model)
    layers = truth.states
    reconstruction, kl = [], []
    for x in images:
        log_p, log_q = (each.numpy() for each in truth.joint(x))
        q = np.exp(log_q)
        data, first, prior = truth.model.generator.conditionals[::-1]
        of_x = truth._log_prob(data, x.reshape(1, -1).astype(np.float64), layers[0]).numpy()
        top = (truth._log_prob(model.recognition[1], layers[1], layers[0]) - truth._log_prob(prior, layers[1])).numpy()
        reconstruction.append(q @ of_x)
        kl.append([q @ (log_q - log_p + of_x - top), q @ top])
    report = explain_bound(model, images, num_samples=20000, likelihood_samples=200_000)
    assert report.bound == pytest.approx(float(np.mean(truth.elbo(images))), abs=0.02)
    assert report.log_likelihood == pytest.approx(float(np.mean(truth.log_likelihood(images))), abs=0.01)
    assert report.reconstruction == pytest.approx(np.mean(reconstruction), abs=0.02)
    np.testing.assert_allclose(report.kl, np.mean(kl, axis=0), atol=0.02)


def test_active_units_are_those_that_the_image_moves():
    model = kg.SigmoidBeliefNetwork((2, 2, 1), units=(3, 2))
    first, second = model.recognition
    # Unit 0 follows a pixel; unit 1 of the layer above follows a unit that is noise, whatever the image is.
    first._head.kernel.assign(np.array([[4.0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]]))
    second._head.kernel.assign(np.array([[0.0, 0.0], [0.0, 6.0], [0.0, 0.0]]))
    images = np.tile(all_images((2, 2, 1)), (20, 1, 1, 1))
    for draws in (1, 2):
        report = explain_bound(model, images, num_samples=draws, likelihood_samples=5)
        assert report.active_units == (1, 0) and report.total_active_units == 1
    # The figure of training: with one draw the noise cannot be told, and the count is an upper bound.
    for draws, count in ((1, 2.0), (2, 1.0)):
        model.compile(objective=kg.objectives.ReweightedWakeSleep(draws), jit_compile=False)
        assert model.evaluate(images, batch_size=80, verbose=0, return_dict=True)["active_units"] == count


def test_categories_of_one_variable_are_one_unit():
    model = categorical_machine()
    kernel = np.zeros((4, 3, 4))
    kernel[0, 1] = [3.0, -3.0, 0.0, 0.0]
    model.recognition[0]._head.kernel.assign(kernel.reshape(4, 12))
    report = explain_bound(model, all_images((2, 2, 1)), likelihood_samples=5)
    assert report.active_units == (1,)


def test_it_prints_as_a_table_and_says_what_it_refuses():
    model = MODELS["helmholtz_machine"](seed=0)
    report = explain_bound(model, images_for(model, 9), likelihood_samples=10)
    lines = str(report).splitlines()
    assert "9 images" in lines[0]
    assert [line.split("  ")[0] for line in lines[1:]] == [
        "log-likelihood", "inference gap", "bound", "reconstruction", "KL of layer 1", "KL of layer 2"
    ]
    assert f"{report.bound:.2f} ±" in lines[3] and lines[4].endswith(f"{report.standard_error['reconstruction']:.2f}")
    assert lines[5].endswith(f"{report.active_units[0]} of 3 units active")
    with pytest.raises(ValueError, match="likelihood_samples=0"):
        explain_bound(model, images_for(model, 9), likelihood_samples=0)
