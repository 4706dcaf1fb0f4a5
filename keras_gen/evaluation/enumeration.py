"""Exact bounds, likelihoods and gradients of machines whose latents are discrete and few: every state is visited.

Networks are evaluated in float32, as in training; sums over states are float64. With weights a_s and b_s for each state s that
are held fixed, each of the gradients is that of sum_s a_s log p(x, s) + b_s log q(s given x):

* log p(x): a = p(s given x), b = 0.
* the ELBO: a = q, b = q (log w - ELBO), w = p(x, s) / q(s given x).
* the bound L = E[log (w_s + w_t) / 2] of two samples, s and t from q: a_s = 2 q_s E_t[w_s / (w_s + w_t)],
  b_s = 2 q_s (E_t[log (w_s + w_t) / 2] - L) - a_s.

What is subtracted from log w and its like changes nothing, since sum_s grad q_s = 0; it keeps float32's digits.
"""

import math

import numpy as np
import tensorflow as tf

from keras_gen import conditionals
from keras_gen import images as images_module
from keras_gen.checks import check_kind
from keras_gen.helmholtz.machine import HelmholtzMachine

#: The most latent states that are visited.
MAX_STATES = 2**12
#: The most pixels of all states at a time, 64 MB.
MAX_ELEMENTS = 2**24
BOUNDS = ("elbo", "log_likelihood", "importance_bound")


def enumerate_latents(model):
    """All states of a machine's latents: one array `[S, 1, *event]` for each group from the data upward, float32.

    They are the `values` of `model.score`, S states in place of K samples.

    Raises:
        ValueError: latents that are not discrete; more than 2^12 states.
    """
    counts = []
    for conditional in _recognition(model):
        if isinstance(conditional, conditionals.Categorical):
            counts.append((conditional.event_shape[-1], math.prod(conditional.event_shape[:-1])))
        elif conditional.binary:
            counts.append((2, math.prod(conditional.event_shape)))
        else:
            raise ValueError(
                f"latent {conditional.name!r} is {type(conditional).__name__}: only discrete latents have states to enumerate, "
                "those of Bernoulli, AutoregressiveBernoulli and Categorical."
            )
    total = math.prod(values**variables for values, variables in counts)
    if total > MAX_STATES:
        raise ValueError(
            f"the latents have {total} states; at most {MAX_STATES} are enumerated (12 binary units): for larger models "
            "there is keras_gen.evaluation.log_likelihood."
        )
    groups = []
    for conditional, (values, variables) in zip(model.recognition, counts, strict=True):
        table = np.array([[0.0], [1.0]]) if conditional.binary else np.eye(values)
        digits = np.indices((values,) * variables).reshape(variables, -1).T
        groups.append(table[digits].reshape(-1, *conditional.event_shape).astype(np.float32))
    rows = np.indices([len(group) for group in groups]).reshape(len(groups), -1)
    return [group[row][:, None] for group, row in zip(groups, rows, strict=True)]


def exact_log_likelihood(model, images):
    """log p(x) of each image, float64 `[N]`, nats: the sum over all latent states.

    Args:
        model: a `HelmholtzMachine` with discrete latents of at most 2^12 states.
        images: float `[N, H, W, C]`, as the likelihood takes them: 0 and 1 under a Bernoulli.

    Raises:
        ValueError: see `enumerate_latents`; images that the model cannot score.
    """
    return _exact(model, images, "log_likelihood")[0]


def exact_elbo(model, images):
    """E_q[log p(x, z) - log q(z given x)] of each image, float64 `[N]`, nats. Arguments: see `exact_log_likelihood`."""
    return _exact(model, images, "elbo")[0]


def exact_importance_bound(model, images):
    """E[log of the mean of two importance weights] of each image, float64 `[N]`, nats: all pairs of latent states.

    The bound that `VIMCO(2)` climbs. Arguments: see `exact_log_likelihood`.
    """
    return _exact(model, images, "importance_bound")[0]


def exact_gradient(model, images, bound="elbo"):
    """The gradient of the mean over images of a bound, in nats a unit of the weights: one float64 vector `[P]`.

    Args:
        model, images: see `exact_log_likelihood`.
        bound: "elbo", "log_likelihood" or "importance_bound" (of two samples).

    Returns:
        The gradient by `generative_weights(model)`, then by `recognition_weights(model)`, each flattened: by
        `model.trainable_variables` where the objective has no weights of its own.

    Raises:
        ValueError: see `exact_log_likelihood`; an unknown bound.
    """
    if bound not in BOUNDS:
        raise ValueError(f"bound={bound!r}: one of {', '.join(map(repr, BOUNDS))}.")
    return _exact(model, images, bound, with_gradient=True)[1]


def generative_weights(model):
    """The trainable variables of p."""
    return model.generator.trainable_variables


def recognition_weights(model):
    """The trainable variables of q, from the data upward."""
    return [variable for conditional in _recognition(model) for variable in conditional.trainable_variables]


def check_images(model, images):
    """`images` as a numpy float32 array that the model can score as it is, else a ValueError. The model is not changed."""
    images = np.asarray(images)
    images_module.check_shape_and_dtype(images.shape, images.dtype, model.data_shape)
    images_module.check_values(images)
    if not model.data_conditional.binary:
        model.admit(images, "images")
    elif not images_module.is_binary(images):
        # `admit` would settle for good how the model binarises.
        raise ValueError(
            "images hold grey values, and the likelihood is Bernoulli, which gives probability to 0 and 1 alone: binarise them "
            "first, since exact values and gradients are those of given images."
        )
    return images.astype(np.float32)


def _recognition(model):
    check_kind(model, HelmholtzMachine, "with a p and a q of its latents")
    return model.recognition


def _exact(model, images, bound, with_gradient=False):
    """The bound of each image `[N]`, and the gradient of their mean `[P]` or None."""
    values = [tf.constant(value) for value in enumerate_latents(model)]
    images = check_images(model, images)
    weights = [*generative_weights(model), *recognition_weights(model)]
    states = len(values[0])
    at_a_time = max(1, MAX_ELEMENTS // (states * math.prod(model.data_shape)))
    bounds, gradient = [], np.zeros(sum(math.prod(weight.shape) for weight in weights))
    for start in range(0, len(images), at_a_time):
        x = tf.constant(images[start : start + at_a_time])
        with tf.GradientTape() as tape:
            log_p, log_q = _joint(model, x, values)
            per_image = [_COEFFICIENTS[bound](*columns) for columns in zip(log_p.numpy().T, log_q.numpy().T, strict=True)]
            value, of_p, of_q = (np.stack(each) for each in zip(*per_image, strict=True))
            target = tf.reduce_sum(of_p.T * log_p + of_q.T * log_q)
        bounds.append(value)
        if with_gradient:
            parts = tape.gradient(target, weights, unconnected_gradients="zero")
            gradient += np.concatenate([np.ravel(part.numpy()) for part in parts])
    return np.concatenate(bounds), gradient / len(images) if with_gradient else None


def _joint(model, x, values):
    """(log p(x, s), log q(s given x)), float64 `[S, B]`, for images x `[B, H, W, C]`."""
    trace = model.score(x, values)
    log_p = trace.log_likelihood + sum(group.log_p for group in trace.groups)
    # The upper groups' log q is `[S, 1]`: it does not depend on the image.
    log_q = tf.broadcast_to(sum(group.log_q for group in trace.groups), tf.shape(log_p))
    return tf.cast(log_p, tf.float64), tf.cast(log_q, tf.float64)


def _log_sum(values):
    highest = np.max(values)
    return highest + np.log(np.sum(np.exp(values - highest)))


# Each takes log p(x, s) and log q(s given x) of all states of one image, `[S]`, and returns the bound, a `[S]` and b `[S]`.


def _of_log_likelihood(log_p, log_q):
    value = _log_sum(log_p)
    return value, np.exp(log_p - value), np.zeros_like(log_q)


def _of_elbo(log_p, log_q):
    q, log_w = np.exp(log_q), log_p - log_q
    value = np.sum(q * log_w)
    return value, q, q * (log_w - value)


def _of_importance_bound(log_p, log_q):
    q, log_w = np.exp(log_q), log_p - log_q
    bound_given, share_given = np.empty_like(q), np.empty_like(q)
    # By blocks of rows: the whole table of pairs would take 128 MB.
    for block in np.array_split(np.arange(len(q)), math.ceil(len(q) ** 2 / 2**21)):
        both = np.logaddexp(log_w[block, None], log_w[None])
        bound_given[block] = (both - math.log(2.0)) @ q
        share_given[block] = np.exp(log_w[block, None] - both) @ q
    of_p = 2.0 * q * share_given
    value = np.sum(q * bound_given)
    return value, of_p, 2.0 * q * (bound_given - value) - of_p


_COEFFICIENTS = {"elbo": _of_elbo, "log_likelihood": _of_log_likelihood, "importance_bound": _of_importance_bound}
