"""What learning signals are made of, where a mistake leaves the mean gradient right and only its variance wrong."""

import numpy as np
import tensorflow as tf

import keras_gen as kg
from keras_gen.objectives.vimco import leave_one_out_bounds

X = (np.random.default_rng(0).random((5, 4, 4, 1)) > 0.5).astype(np.float32)


def test_a_draw_is_replaced_by_the_geometric_mean_of_the_others():
    log_weight = np.random.default_rng(0).normal(size=(4, 3)) * 3
    expected = np.empty_like(log_weight)
    for k in range(4):
        table = log_weight.copy()
        table[k] = np.delete(log_weight, k, axis=0).mean(0)
        expected[k] = np.log(np.mean(np.exp(table), axis=0))
    np.testing.assert_allclose(leave_one_out_bounds(tf.constant(log_weight)), expected, rtol=1e-10)


def test_fixed_draws_pass_no_gradient():
    model = kg.VAE((4, 4, 1), latent_dim=2, hidden_units=(4,), seed=0)
    weights = model.recognition[0].trainable_variables
    for draws, passes in (("pathwise", True), ("fixed", False), ("choices", False)):
        with tf.GradientTape() as tape:
            value = tf.reduce_sum(model.trace(X, 2, [1, 2], draws=draws).groups[0].value)
        gradients = tape.gradient(value, weights)
        assert any(gradient is not None for gradient in gradients) == passes


def test_the_baseline_is_fitted_by_least_squares():
    model = kg.SigmoidBeliefNetwork((4, 4, 1), units=(3,), seed=0)
    model.compile(objective=kg.objectives.NVIL(normalize=False, hidden_units=4))
    for weight in model.companion.trainable_variables:
        weight.assign(tf.random.stateless_normal(weight.shape, [1, 2]))
    seed = tf.constant([3, 4])
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(model.objective(model, tf.constant(X), seed).loss)
    gradient = tape.gradient(loss, model.companion.trainable_variables)
    signal = tf.stop_gradient(model.trace(X, 1, seed, draws="fixed").local_log_weights[0])
    with tf.GradientTape() as tape:
        error = signal - model.companion.means[0].value - model.companion.networks[0](tf.constant(X))
        squares = tf.reduce_mean(tf.square(error))
    for ours, exact in zip(gradient, tape.gradient(squares, model.companion.trainable_variables), strict=True):
        np.testing.assert_allclose(ours, exact, rtol=1e-4, atol=1e-5)
