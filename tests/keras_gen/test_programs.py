"""Evaluations compile once for a model, and do not keep it."""

import gc
import weakref

import numpy as np

import keras_gen as kg
from keras_gen.evaluation import annealed_importance_sampling, log_likelihood, simulated_sandwich
from keras_gen.evaluation.programs import _programs

IMAGES = (np.random.default_rng(0).random((3, 2, 2, 1)) < 0.5).astype(np.float32)


def test_evaluating_again_compiles_nothing_and_sees_the_weights_of_now():
    def all_three(model):
        chains = {"num_chains": 2, "num_steps": 2, "leapfrog_steps": 1}
        return (
            log_likelihood(model, IMAGES, num_samples=2, progress=False).per_image,
            annealed_importance_sampling(model, IMAGES, **chains).per_image,
            simulated_sandwich(model, num_images=3, **chains).lower,
        )

    model = kg.VAE((2, 2, 1), latent_dim=1, hidden_units=(), seed=0)
    before = all_three(model)
    model.data_conditional._head.bias.assign([3.0, -3.0, 3.0, -3.0])
    after = all_three(model)
    for one, other in zip(before, after, strict=True):
        assert np.any(one != other)
    programs = list(_programs[model].values())
    assert [program.experimental_get_tracing_count() for program in programs] == [1, 1, 1]

    gone = weakref.ref(model)
    del model, programs
    gc.collect()
    assert gone() is None
