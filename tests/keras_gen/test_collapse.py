import warnings

import keras
import numpy as np
import pytest

import keras_gen as kg
from keras_gen.callbacks import PosteriorCollapse, PosteriorCollapseWarning
from keras_gen.objectives import ELBO
from tests.models import MODELS, images_for


def weak_images(count=2000):
    """Almost independent pixels with two weak common factors: little for a latent to say."""
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((count, 2)) @ (0.25 * rng.standard_normal((2, 64)))
    return (rng.random((count, 64)) < 1 / (1 + np.exp(-logits))).astype(np.float32).reshape(-1, 8, 8, 1)


def trained(objective, images):
    keras.utils.set_random_seed(1)
    model = kg.VAE((8, 8, 1), latent_dim=16, hidden_units=(16,), activation="tanh", seed=1)
    model.compile(keras.optimizers.Adam(0.02), objective, jit_compile=False)
    watch = PosteriorCollapse(images[:200])
    return model, model.fit(images, epochs=6, batch_size=50, verbose=0, callbacks=[watch]).history["collapsed_units"]


def test_units_collapse_untreated_and_stay_in_use_with_free_bits_or_warm_up():
    images = weak_images()
    with pytest.warns(PosteriorCollapseWarning) as caught:
        model, untreated = trained(ELBO(), images)
    assert len(caught) == 1
    text = str(caught[0].message)
    assert "of the 16 units of layer 1" in text and "free_bits" in text and "warmup_steps" in text
    assert untreated[-1] >= 8
    # The callback's number against the closed form, unit by unit.
    q = model.recognition[0](images[:200]).distribution
    kl = 0.5 * (np.square(q.loc) + np.square(q.scale) - 1.0) - np.log(q.scale)
    assert untreated[-1] == np.sum(kl.mean(0) < 0.01)
    for objective in (ELBO(free_bits=0.1), ELBO(warmup_steps=200)):
        with warnings.catch_warnings():
            warnings.simplefilter("error", PosteriorCollapseWarning)
            treated = trained(objective, images)[1]
        assert treated[-1] <= 3


def network():
    model = kg.SigmoidBeliefNetwork((2, 2, 1), units=(3, 2), seed=3)
    rng = np.random.default_rng(0)
    for weight in model.trainable_variables:
        weight.assign(0.5 * rng.standard_normal(weight.shape))
    model.compile(keras.optimizers.SGD(0.1))
    return model


IMAGES = np.random.default_rng(1).integers(0, 2, (40, 2, 2, 1)).astype(np.float32)


def test_watching_changes_neither_the_training_nor_how_it_runs():
    weights = []
    for callbacks in ([], [PosteriorCollapse(IMAGES)]):
        model = network()
        assert model._steps_a_call(callbacks, ("on_train_batch_begin", "on_train_batch_end")) > 1
        model.fit(IMAGES, epochs=3, batch_size=10, verbose=0, callbacks=callbacks)
        weights.append([weight.numpy() for weight in model.weights])
    for alone, watched in zip(*weights, strict=True):
        np.testing.assert_array_equal(alone, watched)


def test_it_warns_once_after_its_patience_and_names_each_layer():
    model = network()
    for chain in (model.recognition[1], model.generator.conditionals[0]):  # q of the top layer is its prior
        for weight in chain.weights:
            weight.assign(np.zeros(weight.shape))
    model.compile(keras.optimizers.SGD(0.0), jit_compile=False)
    watch = PosteriorCollapse(IMAGES, every=2, patience=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error", PosteriorCollapseWarning)
        history = model.fit(IMAGES, epochs=2, verbose=0, callbacks=[watch]).history
    assert history["collapsed_units"][0] == history["collapsed_units"][1] >= 2.0
    with pytest.warns(PosteriorCollapseWarning, match="2 of the 2 units of layer 2") as caught:
        model.fit(IMAGES, epochs=6, verbose=0, callbacks=[watch])
    assert len(caught) == 1
    assert "free_bits" not in str(caught[0].message)  # its objective cannot train binary latents


def test_a_unit_whose_kl_is_negative_is_in_use():
    model = kg.SigmoidBeliefNetwork((2, 2, 1), units=(2, 2), seed=3)
    # q of the lower layer is a fair coin whatever the image is, and the upper layer copies it: log q - log p is -log 2 there.
    for weight in model.trainable_variables:
        weight.assign(np.zeros(weight.shape))
    for copies in (model.recognition[1], model.generator.conditionals[1]):
        copies._head.kernel.assign(20.0 * np.eye(2))
        copies._head.bias.assign([-10.0, -10.0])
    model.compile(keras.optimizers.SGD(0.0), jit_compile=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error", PosteriorCollapseWarning)
        history = model.fit(IMAGES, epochs=3, verbose=0, callbacks=[PosteriorCollapse(IMAGES)]).history
    assert history["collapsed_units"] == [0.0] * 3


def test_models_that_infer_no_latents_are_refused():
    for model, images, reason in (
        (kg.StructuredPredictor((2, 2, 1), units=(3,)), IMAGES, "draws them from its generator"),
        (kg.GAN((2, 2, 1), latent_dim=2, hidden_units=(3,), critic_units=(3,)), IMAGES, "a LikelihoodModel is needed"),
    ):
        model.compile()
        with pytest.raises(ValueError, match=reason):
            model.fit(images, verbose=0, callbacks=[PosteriorCollapse(images)])


def test_bad_arguments():
    for arguments in ({"every": 0}, {"patience": 0}, {"threshold": 0.0}, {"share": 0.0}, {"share": 1.5}):
        with pytest.raises(ValueError, match=next(iter(arguments))):
            PosteriorCollapse(IMAGES, **arguments)
    for bad, reason in ((IMAGES[:, :1], "shape"), (2 * IMAGES, "must lie in"), (0.5 * IMAGES, "grey values")):
        with pytest.raises(ValueError, match=reason):
            network().fit(IMAGES, verbose=0, callbacks=[PosteriorCollapse(bad)])


def test_the_price_under_free_bits_by_hand():
    """Two images, two units: KL (0.5, 2) and (0, 2). Averaged over the batch first, then raised: max(0.3, 0.25) + 2."""
    model = kg.VAE((1, 1, 1), latent_dim=2, hidden_units=(), seed=0)
    head = model.recognition[0]._head
    head.kernel.assign([[1.0, 0.0, 0.0, 0.0]])
    head.bias.assign([0.0, 2.0, 0.0, 0.0])
    images = np.array([1.0, 0.0], np.float32).reshape(2, 1, 1, 1)
    estimate = ELBO(free_bits=0.3)(model, images, [1, 2])
    np.testing.assert_allclose(estimate.figures["kl"], [2.5, 2.0], rtol=1e-6)
    np.testing.assert_allclose(estimate.loss + estimate.figures["reconstruction"], [2.3, 2.3], rtol=1e-6)


def test_free_bits_of_layers_whose_kl_is_sampled():
    keras.utils.set_random_seed(0)
    model = MODELS["helmholtz_machine"](seed=0)
    estimate = ELBO(3, analytic_kl=False, free_bits=0.05)(model, images_for(model, 6), [1, 2])
    price = 0.0
    for group in estimate.trace.groups:
        unit_kl = (group.posterior.distribution.log_prob(group.value) - group.prior.distribution.log_prob(group.value)).numpy()
        price += np.maximum(0.05, unit_kl.mean(axis=(0, 1))).sum()
    np.testing.assert_allclose(estimate.loss + estimate.figures["reconstruction"], price, rtol=1e-4)


def test_the_weight_of_the_kl_rises_with_the_steps_and_the_figures_stay():
    model = MODELS["vae"](seed=0)
    images = images_for(model, 8)
    model.compile(keras.optimizers.SGD(1e-3), ELBO(warmup_steps=4), jit_compile=False)
    # One step an epoch: step n, counted from 1, has the weight n/4.
    logs = model.fit(images, batch_size=8, epochs=6, verbose=0).history
    weight = (np.array(logs["loss"]) + logs["reconstruction"]) / logs["kl"]
    np.testing.assert_allclose(weight, [0.25, 0.5, 0.75, 1.0, 1.0, 1.0], rtol=1e-3)
    np.testing.assert_allclose(logs["bound"], np.array(logs["reconstruction"]) - logs["kl"], rtol=1e-5)


def test_a_warm_up_that_begins_late_is_said_to_be_over():
    model = MODELS["vae"](seed=0)
    model.compile(objective=ELBO(warmup_steps=4), jit_compile=False)
    model.fit(images_for(model, 8), verbose=0)
    with pytest.warns(UserWarning, match="this one has taken 1 already"):
        model.compile(objective=ELBO(warmup_steps=4))


def test_evaluation_is_that_of_the_bound_whatever_eases_the_training():
    model = MODELS["vae"](seed=0)
    images = images_for(model, 8)
    results = []
    for objective in (ELBO(), ELBO(warmup_steps=1000, free_bits=1.0)):
        model.compile(objective=objective, jit_compile=False)
        results.append(model.evaluate(images, verbose=0, return_dict=True))
    assert results[0] == pytest.approx(results[1], rel=1e-6)
    assert results[1]["loss"] == pytest.approx(-results[1]["bound"], rel=1e-6)


@pytest.mark.parametrize("arguments", [{"warmup_steps": -1}, {"free_bits": -0.1}, {"free_bits": float("nan")}])
def test_bad_easing(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        ELBO(**arguments)
