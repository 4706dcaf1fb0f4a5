"""Log-likelihood by importance sampling."""

import dataclasses
import math
import sys
import warnings

import keras
import numpy as np
import tensorflow as tf

from keras_gen import images as images_module
from keras_gen.checks import check_integers, check_key, check_kind
from keras_gen.evaluation.programs import compiled
from keras_gen.evaluation.score import standard_error
from keras_gen.helmholtz.likelihood import LikelihoodModel
from keras_gen.noise import fold_in

# Streams of the seed: images are binarised alike whatever the number of samples.
_IMAGES, _LATENTS = 0, 1
# Up to so many samples are a bound, as IWAE's, that nobody takes for the log-likelihood itself.
_FEW_SAMPLES = 10


@dataclasses.dataclass(frozen=True)
class LogLikelihood:
    """An importance-sampling estimate of log p(x), and how it was made.

    Attributes:
        per_image: log mean of the K importance weights, float64 `[N]`, nats. Its expectation is below log p(x), and rises
            to it with K.
        effective_sample_size: (sum w)^2 / sum w^2 for each image, float64 `[N]`, from 1 to K. Near 1, one weight carries the
            estimate, which is then too low by an amount it cannot know.
        num_samples: K.
        seed: int.
        binarization: what was done to the images: "none", "threshold" or "dynamic" (one draw, keyed by the seed).
    """

    per_image: np.ndarray
    effective_sample_size: np.ndarray
    num_samples: int
    seed: int
    binarization: str

    @property
    def mean(self):
        """Mean over images, nats."""
        return float(np.mean(self.per_image))

    @property
    def standard_error(self):
        """Standard error of the mean over images, nats: how far it would move with other images of the same kind."""
        return standard_error(self.per_image)


def _accumulator(alive, chunk_size):
    """Adds a chunk of importance weights to the running log sums of w and w^2."""

    def accumulate(x, key, wanted, log_sum, log_sum_of_squares):
        log_weight = alive().trace(x, chunk_size, key).log_weight
        log_weight = tf.where((tf.range(chunk_size) < wanted)[:, None], log_weight, -math.inf)
        return (
            tf.reduce_logsumexp(tf.concat([log_sum[None], log_weight], 0), 0),
            tf.reduce_logsumexp(tf.concat([log_sum_of_squares[None], 2.0 * log_weight], 0), 0),
        )

    return accumulate


def admitted(model, images, progress=True):
    """`images` as a numpy array, checked as `model` wants them; without `progress`, no warning of how it binarises them."""
    check_kind(model, LikelihoodModel, "whose latents are inferred and whose images are scored")
    images = np.asarray(images)
    images_module.check_shape_and_dtype(images.shape, images.dtype, model.data_shape)
    with warnings.catch_warnings():
        if not progress:
            warnings.simplefilter("ignore")
        model.admit(images, "images")
    return images


def binarization_of(model, images):
    """What `model` does to these `images` to score them: "none", "threshold" or "dynamic"."""
    # Where it has seen grey images, too, "auto" draws binary ones as well: they stay as they are.
    if model.binarization == "auto" and images_module.is_binary(images):
        return "none"
    return model.binarization_in_force


def binarized_batches(model, images, batch_size, seed):
    """Yields (x, count, key) for each batch: images as the likelihood takes them, how many count, a key for their draws.

    The last batch is filled up with copies of its last image: one shape, one program. The same arguments give the same binary
    images, whatever is computed from them.
    """
    batch_size = min(batch_size, len(images))
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        count = len(batch)
        batch = np.concatenate([batch, np.repeat(batch[-1:], batch_size - count, axis=0)]).astype(np.float32)
        key = fold_in([seed, 0], start)
        yield model.binarize(tf.constant(batch), fold_in(key, _IMAGES)), count, fold_in(key, _LATENTS)


def log_likelihood(model, images, num_samples=1000, batch_size=100, seed=0, chunk_size=None, progress=True):
    """Estimates log p(x) of each image: log (1/K) sum_k p(x, z_k) / q(z_k given x), z_k ~ q.

    Streamed: only `batch_size` images times `chunk_size` samples are in memory at a time, sums are kept in log space.

    Args:
        model: a `LikelihoodModel`.
        images: float `[N, H, W, C]` in [0, 1]. Grey ones under a Bernoulli likelihood are binarised as the model says.
        num_samples: K, importance samples an image.
        batch_size: images at a time.
        seed: int32, keys the draws and the binarisation. The same arguments give the same estimate.
        chunk_size: samples at a time; chosen for about 64 MB of pixels where None.
        progress: whether to show a progress bar on stderr's terminal.

    Returns:
        `LogLikelihood`.

    Raises:
        ValueError: a model without a likelihood; images that it cannot score; numbers below 1.

    Warns (UserWarning) where the median effective sample size of more than 10 samples is below 2.

    Burda, Grosse, Salakhutdinov: Importance weighted autoencoders. ICLR 2016, equation 8 and section 5.
    """
    num_samples, batch_size = check_integers(num_samples=num_samples, batch_size=batch_size)
    if chunk_size is not None:
        (chunk_size,) = check_integers(chunk_size=chunk_size)
    seed = check_key(seed)
    images = admitted(model, images, progress)
    batch_size = min(batch_size, len(images))
    if chunk_size is None:
        chunk_size = max(1, 2**24 // (batch_size * math.prod(model.data_shape)))
    # Chunks of equal size, so that one program serves them all; the last one counts only the samples still wanted.
    chunks = math.ceil(num_samples / chunk_size)
    chunk_size = math.ceil(num_samples / chunks)

    accumulate = compiled(model, _accumulator, chunk_size, runs_long=True)

    per_image, effective = [], []
    bar = keras.utils.Progbar(len(images), unit_name="image") if progress and sys.stderr.isatty() else None
    for x, count, key in binarized_batches(model, images, batch_size, seed):
        log_sum = log_sum_of_squares = tf.fill([batch_size], -math.inf)
        for chunk in range(chunks):
            wanted = tf.constant(num_samples - chunk * chunk_size)
            log_sum, log_sum_of_squares = accumulate(x, fold_in(key, chunk), wanted, log_sum, log_sum_of_squares)
        log_sum, log_sum_of_squares = (value.numpy()[:count].astype(np.float64) for value in (log_sum, log_sum_of_squares))
        per_image.append(log_sum - math.log(num_samples))
        effective.append(np.exp(2.0 * log_sum - log_sum_of_squares))
        if bar:
            bar.add(count)
    effective = np.concatenate(effective)
    if num_samples > _FEW_SAMPLES and np.median(effective) < 2.0:
        warnings.warn(
            f"the median effective sample size is {np.median(effective):.2f} of {num_samples} importance samples, and "
            f"{np.mean(effective < 2.0):.0%} of the images have less than 2: for them a single weight carries the estimate, "
            "which is likely too low. Use more samples, or a recognition network that is closer to the posterior: a larger "
            "one, or one trained for longer.",
            stacklevel=2,
        )
    return LogLikelihood(np.concatenate(per_image), effective, num_samples, seed, binarization_of(model, images))
