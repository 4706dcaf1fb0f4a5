"""Evaluations compile once for a model, and do not keep it."""

import gc
import weakref

import numpy as np
import pytest
import tensorflow as tf

import keras_gen as kg
from keras_gen import evaluation, objectives
from keras_gen.evaluation.programs import _programs
from training.evaluate import elbo
from training.evaluate_samples import draw

IMAGES = (np.random.default_rng(0).random((3, 2, 2, 1)) < 0.5).astype(np.float32)


def vae():
    return kg.VAE((2, 2, 1), latent_dim=1, hidden_units=(), seed=0)


def convolutional():
    return kg.VAE((4, 4, 1), latent_dim=1, encoder="convolutional", decoder="convolutional", seed=0)


def draw_model():
    return kg.DRAW((4, 4, 1), steps=2, units=3, latent_dim=1, seed=0)


def imputer():
    return kg.SequentialImputer((2, 2, 1), steps=2, units=3, latent_dim=1, drop_rate=0.5, seed=0)


def of_a_vae(model):
    chains = {"num_chains": 2, "num_steps": 2, "leapfrog_steps": 1}
    return {
        "log_likelihood": evaluation.log_likelihood(model, IMAGES, num_samples=2, progress=False).per_image,
        "annealed": evaluation.annealed_importance_sampling(model, IMAGES, **chains).per_image,
        "sandwich": evaluation.simulated_sandwich(model, num_images=3, **chains).lower,
        "bound": evaluation.explain_bound(model, IMAGES, 2, likelihood_samples=2, progress=False).reconstruction,
        "elbo": elbo(model, IMAGES, 3, seed=0),
        "drawn": draw(model, 3, seed=0)[0]["mean"],
    }


def of_an_imputer(model):
    return {"imputed": evaluation.imputation_score(model, IMAGES, num_samples=2).per_image}


@pytest.mark.parametrize("make, evaluate", [(vae, of_a_vae), (imputer, of_an_imputer)])
def test_evaluating_again_compiles_nothing_and_sees_the_weights_of_now(make, evaluate):
    model = make()
    before = evaluate(model)
    for variable in model.generator.trainable_variables:
        variable.assign(variable + 1.0)
    after = evaluate(model)
    for name, value in before.items():
        assert np.any(value != after[name]), name
    programs = list(_programs[model].values())
    # The log-likelihood that `explain_bound` reports is of the same program.
    assert [program.experimental_get_tracing_count() for program in programs] == [1] * len(before)

    gone = weakref.ref(model)
    del model, programs
    gc.collect()
    assert gone() is None


def test_numbers_that_are_equal_to_integers_are_refused_and_spoil_nothing():
    model = vae()
    chains = {"num_chains": 2, "num_steps": 2, "leapfrog_steps": 1}
    for function, options in (
        (evaluation.log_likelihood, {}),
        (evaluation.annealed_importance_sampling, chains),
        (evaluation.explain_bound, {"likelihood_samples": 2}),
    ):
        name = "num_chains" if "num_chains" in options else "num_samples"
        for wrong in (2.0, 0, True):
            with pytest.raises(ValueError, match=f"{name}={wrong}: an integer of at least 1"):
                function(model, IMAGES, **{**options, name: wrong})
        with pytest.raises(ValueError, match="batch_size=-1: an integer"):
            function(model, IMAGES, **options, batch_size=-1)
        with pytest.raises(ValueError, match="seed=4294967296: a seed is a 32-bit integer"):
            function(model, IMAGES, **options, seed=2**32)
        function(model, IMAGES, **{**options, name: np.int64(2)}, progress=False)
    with pytest.raises(ValueError, match="num_images=0"):
        evaluation.simulated_sandwich(model, num_images=0, **chains)
    with pytest.raises(ValueError, match="batch_size=0"):
        evaluation.imputation_score(imputer(), IMAGES, batch_size=0)
    with pytest.raises(ValueError, match="a list of objectives"):
        evaluation.estimator_report(model, IMAGES, objectives=objectives.ELBO())


def test_models_of_another_kind_are_refused_by_name():
    gan = kg.GAN((2, 2, 1), latent_dim=2, hidden_units=(3,), critic_units=(3,))
    for function, kind in (
        (evaluation.log_likelihood, "LikelihoodModel"),
        (evaluation.explain_bound, "LikelihoodModel"),
        (evaluation.annealed_importance_sampling, "HelmholtzMachine"),
        (evaluation.estimator_report, "HelmholtzMachine"),
        (evaluation.imputation_score, "SequentialImputer"),
    ):
        with pytest.raises(ValueError, match=f"model is a GAN: a {kind} is needed"):
            function(gan, IMAGES)
    with pytest.raises(ValueError, match="model is a VAE: a SequentialImputer is needed"):
        evaluation.imputation_score(vae(), IMAGES)
    with pytest.raises(ValueError, match="model is a SequentialImputer: a HelmholtzMachine"):
        evaluation.simulated_sandwich(imputer())


def test_grey_images_leave_the_protocol_of_binary_ones():
    model = vae()
    binary = evaluation.log_likelihood(model, IMAGES, 2, progress=False)
    grey = evaluation.log_likelihood(model, 0.5 * IMAGES, 2, progress=False)
    again = evaluation.log_likelihood(model, IMAGES, 2, progress=False)
    assert (binary.binarization, grey.binarization, again.binarization) == ("none", "dynamic", "none")
    np.testing.assert_allclose(binary.per_image, again.per_image, rtol=1e-6)


@pytest.mark.parametrize("make, expected", [(vae, {True}), (convolutional, set()), (draw_model, set())])
def test_xla_compiles_what_runs_long_where_it_is_the_faster(monkeypatch, make, expected):
    model, asked, function = make(), set(), tf.function
    images = np.zeros((2, *model.data_shape), np.float32)

    def noticed(*args, jit_compile=None, **kwargs):
        if "autograph" in kwargs:  # Keras makes functions of its own
            asked.add(jit_compile)
        return function(*args, jit_compile=jit_compile, **kwargs)

    monkeypatch.setattr(tf, "function", noticed)
    evaluation.log_likelihood(model, images, num_samples=2, progress=False)
    assert asked - {None} == expected
    if isinstance(model, kg.HelmholtzMachine):
        asked.clear()
        evaluation.estimator_report(model, images, [objectives.ELBO()], num_draws=2)
        assert asked - {None} == expected
