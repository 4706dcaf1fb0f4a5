"""Samples in chunks: the same gradient as of all together, in the memory of a chunk."""

import math
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_gen as kg
from keras_gen.noise import fold_in
from keras_gen.objectives.chunks import ChunkedTrace

SAMPLES, CHUNK, KEY = 12, 4, (3, 4)
IMAGES = np.random.default_rng(0).integers(0, 2, (7, 4, 4, 1)).astype(np.float32)
CASES = {
    "iwae": (lambda: kg.VAE((4, 4, 1), latent_dim=3, hidden_units=(6,), seed=1), kg.objectives.IWAE),
    "reweighted": (lambda: kg.SigmoidBeliefNetwork((4, 4, 1), units=(5, 4), seed=1), kg.objectives.ReweightedWakeSleep),
    "vimco": (lambda: kg.SigmoidBeliefNetwork((4, 4, 1), units=(5, 4), seed=1), kg.objectives.VIMCO),
    "draw": (lambda: kg.DRAW((4, 4, 1), steps=3, units=5, latent_dim=2, seed=1), kg.objectives.IWAE),
}


def together(objective):
    """The objective with a trace of the same draws, chunk after chunk, that TensorFlow differentiates as it stands."""

    def trace(model, x, seed, draws="pathwise"):
        chunks = [model.trace(x, CHUNK, fold_in(seed, index), draws=draws) for index in range(SAMPLES // CHUNK)]
        values = [tf.concat([getattr(chunk, name) for chunk in chunks], 0) for name in ChunkedTrace._fields[1:]]
        return ChunkedTrace(chunks[0].groups, *values)

    objective.trace = trace
    return objective


def loss_and_gradients(model, objective, jit_compile=False):
    @tf.function(autograph=False, jit_compile=jit_compile)
    def compute(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(objective(model, x, tf.constant(KEY)).loss)
        return loss, tape.gradient(loss, [variable.value for variable in model.trainable_variables])

    return compute


@pytest.fixture(scope="module", params=CASES)
def case(request):
    """A model, its kind of objective, and the loss and gradients of all samples together."""
    make, kind = CASES[request.param]
    model = make()
    return model, kind, loss_and_gradients(model, together(kind(SAMPLES)))(IMAGES)


@pytest.mark.parametrize("jit_compile", (False, True))
def test_gradients_are_those_of_all_samples_together(case, jit_compile):
    model, kind, (wanted_loss, wanted) = case
    loss, gradients = loss_and_gradients(model, kind(SAMPLES, chunk_size=CHUNK), jit_compile)(IMAGES)
    np.testing.assert_allclose(loss, wanted_loss, rtol=1e-6)
    largest = max(np.abs(each).max() for each in wanted)
    assert largest > 0.1
    for got, exact in zip(gradients, wanted, strict=True):
        np.testing.assert_allclose(got, exact, atol=1e-5 * largest, rtol=0)


def largest_array(objective):
    """Elements of the largest array in the compiled program of a step."""
    model = kg.VAE((8, 8, 1), latent_dim=3, hidden_units=(6,), seed=1)
    compute = loss_and_gradients(model, objective, jit_compile=True)
    program = compute.experimental_get_compiler_ir(tf.zeros((7, 8, 8, 1)))(stage="optimized_hlo")
    return max(math.prod(map(int, sizes.split(","))) for sizes in re.findall(r"f32\[([0-9,]+)\]", program))


def test_memory_is_that_of_a_chunk():
    whole = 96 * 7 * 8 * 8  # pixels of all samples
    assert largest_array(kg.objectives.IWAE(96)) >= whole
    assert largest_array(kg.objectives.IWAE(96, chunk_size=4)) < whole / 8  # six numbers a sample remain


def test_fits_in_mixed_precision_and_is_saved_with_the_model(tmp_path):
    model = kg.VAE((4, 4, 1), latent_dim=3, hidden_units=(6,), seed=1, dtype="mixed_bfloat16")
    model.compile(optimizer=keras.optimizers.Adam(1e-2), objective=kg.objectives.IWAE(SAMPLES, chunk_size=CHUNK))
    history = model.fit(np.tile(IMAGES, (10, 1, 1, 1)), batch_size=10, epochs=5, verbose=0).history
    assert history["loss"][-1] < history["loss"][0] and "active_units" in history
    model.save(tmp_path / "model.keras")
    assert keras.saving.load_model(tmp_path / "model.keras").objective.get_config() == {"num_samples": 12, "chunk_size": 4}


@pytest.mark.parametrize("chunk_size", (5, 0, True, 2.0, 24))
def test_chunks_that_do_not_divide_the_samples_are_refused(chunk_size):
    with pytest.raises(ValueError, match="divides the number of samples"):
        kg.objectives.IWAE(SAMPLES, chunk_size=chunk_size)


@pytest.mark.parametrize("layer", (keras.layers.Dropout(0.5), keras.layers.BatchNormalization()))
def test_chunks_of_networks_that_differ_each_time_are_refused(layer):
    network = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(6), layer])
    model = kg.VAE((4, 4, 1), latent_dim=3, encoder=network)
    model.compile(objective=kg.objectives.IWAE(SAMPLES))
    with pytest.raises(ValueError, match="each chunk is inferred twice"):
        model.compile(objective=kg.objectives.IWAE(SAMPLES, chunk_size=CHUNK))


def test_chunks_of_a_model_in_double_precision():
    model = kg.VAE((4, 4, 1), latent_dim=3, hidden_units=(6,), seed=1, dtype="float64")
    model.compile(objective=kg.objectives.IWAE(SAMPLES, chunk_size=CHUNK), jit_compile=False)
    assert np.isfinite(model.fit(IMAGES, verbose=0).history["loss"]).all()
