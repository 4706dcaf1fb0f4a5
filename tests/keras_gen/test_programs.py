"""Evaluations compile once for a model, and do not keep it."""

import gc
import weakref

import numpy as np
import pytest

import keras_gen as kg
from keras_gen import evaluation
from keras_gen.evaluation.programs import _programs
from training.evaluate import elbo
from training.evaluate_samples import draw

IMAGES = (np.random.default_rng(0).random((3, 2, 2, 1)) < 0.5).astype(np.float32)


def vae():
    return kg.VAE((2, 2, 1), latent_dim=1, hidden_units=(), seed=0)


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
