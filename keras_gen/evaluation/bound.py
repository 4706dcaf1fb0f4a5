"""What the bound is made of: reconstruction, KL by layer and unit, active units, and the inference gap."""

import dataclasses

import numpy as np
import tensorflow as tf

from keras_gen.checks import check_integers, check_key
from keras_gen.evaluation.likelihood import admitted, binarized_batches, log_likelihood
from keras_gen.evaluation.programs import compiled
from keras_gen.evaluation.score import standard_error
from keras_gen.metrics import mean_over_draws
from keras_gen.noise import fold_in

# Streams beside those of `log_likelihood`'s chunks, which are numbered from 0.
_BOUND = 2**31 - 1
_MEANS = 2**31 - 2
#: Least variance over images of an active unit's posterior mean.
ACTIVE = 0.01


@dataclasses.dataclass(frozen=True)
class BoundReport:
    """The parts of the evidence lower bound, in nats an image, means over images. Layers are counted from the data upward.

    Attributes:
        bound: the ELBO, reconstruction - sum(kl).
        reconstruction: E_q[log p(x given z_1)].
        kl: of each layer, E_q[log q - log p], tuple of floats. Of layers below the top it can be negative.
        unit_kl: of each unit, tuple of float64 arrays; sum(unit_kl[l]) is kl[l]. For a categorical layer a unit is a variable.
        log_likelihood: importance-sampling estimate of log p(x); in expectation from below.
        inference_gap: log_likelihood - bound, what the recognition network costs: an estimate of KL(q, true posterior).
        active_units: of each layer, the number of units whose posterior mean varies over the images by more than 0.01 (for a
            categorical variable: that of any category). The variance that comes of draws is taken off. One image has none.
        standard_error: of the means over images: a dict with the names of the figures above that are floats, and "kl", a tuple.
        num_images, num_samples, likelihood_samples, seed, binarization: how it was made.
    """

    bound: float
    reconstruction: float
    kl: tuple
    unit_kl: tuple
    log_likelihood: float
    inference_gap: float
    active_units: tuple
    standard_error: dict
    num_images: int
    num_samples: int
    likelihood_samples: int
    seed: int
    binarization: str

    @property
    def total_active_units(self):
        """Active units of all layers."""
        return sum(self.active_units)

    def __str__(self):
        def row(name, value, error, note=""):
            return f"{name:<16}{value:>10.2f} ± {error:<7.2f}{note}".rstrip()

        error = self.standard_error
        rows = [f"nats an image over {self.num_images} images, ± standard error (binarization: {self.binarization})"]
        rows.append(row("log-likelihood", self.log_likelihood, error["log_likelihood"], f"K = {self.likelihood_samples}"))
        rows.append(row("inference gap", self.inference_gap, error["inference_gap"], "log-likelihood - bound"))
        rows.append(row("bound", self.bound, error["bound"], f"K = {self.num_samples}"))
        rows.append(row("reconstruction", self.reconstruction, error["reconstruction"]))
        for layer, (kl, units, active) in enumerate(zip(self.kl, self.unit_kl, self.active_units, strict=True)):
            rows.append(row(f"KL of layer {layer + 1}", kl, error["kl"][layer], f"{active} of {units.size} units active"))
        return "\n".join(rows)


def explain_bound(model, images, num_samples=10, likelihood_samples=1000, batch_size=100, seed=0, progress=True):
    """Takes the evidence lower bound apart, and compares it with the log-likelihood of the same (binarised) images.

    The KL of the top layer is in closed form where there is one, that of others the draws' log q - log p.

    Args:
        model: `HelmholtzMachine`.
        images: float `[N, H, W, C]` in [0, 1]. Grey ones under a Bernoulli likelihood are binarised as the model says.
        num_samples: K, draws an image for the bound.
        likelihood_samples: importance samples an image for the log-likelihood.
        batch_size: images at a time.
        seed: int32, keys the draws and the binarisation.
        progress: whether to show the progress of the log-likelihood, and to warn of how images are binarised.

    Returns:
        `BoundReport`; printed, it is a table.

    Raises:
        ValueError: images that the model cannot score; numbers below 1.

    Active units: Burda, Grosse, Salakhutdinov: Importance weighted autoencoders. ICLR 2016, section 5.2. Inference gap: Cremer,
    Li, Duvenaud: Inference suboptimality in variational autoencoders. ICML 2018, section 3.
    """
    num_samples, likelihood_samples, batch_size = check_integers(
        num_samples=num_samples, likelihood_samples=likelihood_samples, batch_size=batch_size
    )
    seed = check_key(seed)
    images = admitted(model, images, progress)

    parts_of = compiled(model, _parts, num_samples)
    batches = []
    for x, count, key in binarized_batches(model, images, batch_size, seed):
        parts = parts_of(x, fold_in(key, _BOUND))
        batches.append(tf.nest.map_structure(lambda part: part.numpy()[:count].astype(np.float64), parts))  # noqa: B023
    reconstruction, layers = tf.nest.map_structure(lambda *parts: np.concatenate(parts), *batches)
    kl, unit_kl = [layer[0] for layer in layers], [layer[1] for layer in layers]
    bound = reconstruction - sum(kl)
    estimate = log_likelihood(model, images, likelihood_samples, batch_size, seed, progress=progress)
    scalars = {
        "bound": bound,
        "reconstruction": reconstruction,
        "log_likelihood": estimate.per_image,
        "inference_gap": estimate.per_image - bound,
    }
    return BoundReport(
        **{name: float(np.mean(values)) for name, values in scalars.items()},
        kl=tuple(float(np.mean(values)) for values in kl),
        unit_kl=tuple(np.mean(values, axis=0) for values in unit_kl),
        active_units=tuple(_active(mean, noise, units.ndim) for _, units, mean, noise in layers),
        standard_error={
            **{name: standard_error(values) for name, values in scalars.items()},
            "kl": tuple(standard_error(values) for values in kl),
        },
        num_images=len(images),
        num_samples=num_samples,
        likelihood_samples=likelihood_samples,
        seed=seed,
        binarization=estimate.binarization,
    )


def _parts(alive, num_samples):
    """Of each image the reconstruction, and of each layer the KL, that of its units, and the posterior mean and its noise."""

    def parts_of(x, key):
        trace = alive().trace(x, num_samples, key)
        layers = []
        # The noise of a mean that depends on draws takes two of them to tell.
        again = trace if num_samples > 1 else alive().trace(x, 2, fold_in(key, _MEANS))
        for group, of_mean in zip(trace.groups, again.groups, strict=True):
            layers.append((_over_samples(group.kl(), 1), _unit_kl(group), *mean_over_draws(of_mean)))
        return tf.reduce_mean(trace.log_likelihood, axis=0), layers

    return parts_of


def _over_samples(values, rank):
    """The mean over K of `[K, B, ...]`, where `[B, ...]` has the rank `rank`; values without K are their own mean."""
    return tf.reduce_mean(values, axis=0) if len(values.shape) > rank else values


def _unit_kl(group):
    # The KL has the batch axes alone, which tells those of the units apart.
    kl, unit_kl = group.kl(), group.unit_kl()
    return _over_samples(unit_kl, 1 + len(unit_kl.shape) - len(kl.shape))


def _active(mean, noise, units_rank):
    variance = np.var(mean, axis=0) - np.mean(noise, axis=0)
    active = variance > ACTIVE
    # The last axis of a categorical layer are categories of one unit.
    return int(np.sum(active if mean.ndim == units_rank else np.any(active, axis=-1)))
