"""The Helmholtz machine: any generative chain with any recognition chain."""

import math
import random
import warnings

import keras
import numpy as np
import tensorflow as tf

from keras_gen import conditionals, images
from keras_gen.generator import AncestralGenerator
from keras_gen.metrics import ActiveUnits
from keras_gen.model import GenerativeModel
from keras_gen.noise import NativeNoise, fold_in
from keras_gen.objectives import ELBO
from keras_gen.trace import LatentGroup, Trace

# Streams of a step's key.
_BINARIZE, _INFER = 0, 1


@keras.saving.register_keras_serializable("keras_gen")
class HelmholtzMachine(GenerativeModel):
    """p(z_L) p(z_{L-1} given z_L) ... p(x given z_1), with q(z_1 given x) ... q(z_L given z_{L-1}) to infer the latents.

    Args:
        generative: conditionals from the prior down to the data.
        recognition: conditionals from the data up to z_L: `recognition[l]` infers what `generative[-2 - l]` draws.
        binarization: what is done to grey images where the last conditional is Bernoulli. "auto": images that are binary
            already are left, grey ones are drawn afresh at every visit (with a warning that says so). "dynamic", "threshold"
            (x > 0.5): always. "none": grey images are refused.
        seed: see `GenerativeModel`.

    Raises:
        ValueError: chains that do not fit each other.

    Dayan, Hinton, Neal, Zemel: The Helmholtz machine. Neural Computation 7, 1995.
    """

    def __init__(self, generative, recognition, binarization="auto", seed=None, **kwargs):
        generative, recognition = list(generative), list(recognition)
        if len(generative) != len(recognition) + 1:
            raise ValueError(
                f"{len(generative)} generative and {len(recognition)} recognition conditionals: every generative one but the "
                "last, which draws the data, needs one that infers what it draws."
            )
        for draws, infers in zip(generative[-2::-1], recognition, strict=True):
            if draws.event_shape != infers.event_shape:
                raise ValueError(
                    f"generative {draws.name!r} draws events of shape {draws.event_shape}, recognition {infers.name!r} "
                    f"infers {infers.event_shape}: generative runs from the prior down, recognition from the data up."
                )
        if binarization not in images.BINARIZATIONS:
            raise ValueError(f"binarization={binarization!r}: one of {', '.join(map(repr, images.BINARIZATIONS))}.")
        super().__init__(data_shape=generative[-1].event_shape, seed=seed, **kwargs)
        self.binarization = binarization
        # Until `admit` has seen the data, "auto" binarises: that leaves binary images as they are.
        self._takes_grey = True
        self.generator = AncestralGenerator(generative, name="generator")
        parent = (None, *self.data_shape)
        for conditional in recognition:
            conditional.build(parent)
            parent = (None, *conditional.event_shape)
        self.recognition = recognition
        self.built = True

    @property
    def data_conditional(self):
        """The last factor, p(x given z_1)."""
        return self.generator.conditionals[-1]

    def trace(self, x, num_samples=1, seed=None):
        """Infers and scores: draws `num_samples` = K latents for each of B images from q and evaluates p and q.

        Args:
            x: float `[B, H, W, C]`, binary where the likelihood is Bernoulli.
            num_samples: K.
            seed: int32 `[2]`, the key of the draws; a fresh one where None.

        Returns:
            `Trace` of shape `[K, B]`.
        """
        x = tf.convert_to_tensor(x)
        seed = [random.getrandbits(31), random.getrandbits(31)] if seed is None else seed
        noise = NativeNoise(seed, (num_samples, *conditionals.leading_shape(x, len(self.data_shape))))
        posteriors, values, below = [], [], x
        for conditional in self.recognition:
            posteriors.append(conditional(below))
            below = conditional.draw(posteriors[-1], noise)
            values.append(below)
        # Each generative factor is conditioned on the draw above it; the prior on nothing.
        factors = self.generator.conditionals
        priors = [factors[0](), *(factor(above) for factor, above in zip(factors[1:-1], values[:0:-1], strict=True))]
        groups = tuple(
            LatentGroup(value, prior, posterior, has_analytic_kl=index == len(values) - 1)
            for index, (value, prior, posterior) in enumerate(zip(values, priors[::-1], posteriors, strict=True))
        )
        return Trace(groups, factors[-1](values[0]).log_prob(x))

    def call(self, x):
        """Reconstructs: the mean of p(x given z_1) at the means of q, `[B, H, W, C]`."""
        return self.data_conditional(self.recognition[0](x).mean()).mean()

    def default_objective(self):
        return ELBO()

    def admit(self, values, source):
        """Checks pixel values against the likelihood; grey ones under a Bernoulli are binarised or refused, never scored.

        Args:
            values: numpy float `[N, H, W, C]` in [0, 1].
            source: what they are, for the error's text.

        Raises:
            ValueError: grey values under a Bernoulli with `binarization="none"`; values off a discretised likelihood's grid.
        """
        super().admit(values, source)
        if isinstance(self.data_conditional, conditionals.Bernoulli):
            takes_grey = not images.is_binary(values)
            if takes_grey and self.binarization == "none":
                raise ValueError(
                    f"{source} hold grey values, and the likelihood is Bernoulli, which gives probability to 0 and 1 alone: "
                    'its formula at a grey value is no likelihood. Binarise them, set binarization="dynamic" or '
                    '"threshold", or choose likelihood="gaussian" or "discretized_logistic".'
                )
            if takes_grey and self.binarization == "auto":
                warnings.warn(
                    f"{source} hold grey values: each is taken as the probability of a one and drawn afresh at every visit, "
                    'since the likelihood is Bernoulli. binarization="dynamic" says that this is meant.',
                    stacklevel=4,
                )
            if takes_grey != self._takes_grey:
                self._takes_grey = takes_grey
                self.forget_programs()
        if isinstance(self.data_conditional, conditionals.DiscretizedLogistic):
            levels = self.data_conditional.levels
            scaled = np.asarray(values, np.float64) * (levels - 1)
            if np.max(np.abs(scaled - np.rint(scaled))) > 1e-3:
                raise ValueError(
                    f"{source} hold values off the grid k/{levels - 1}, and the likelihood gives probability to the {levels} "
                    "levels of that grid alone. Set levels to the number of grey levels that the images have."
                )

    @property
    def binarization_in_force(self):
        """What a step does to its images: "none", "threshold" or "dynamic"."""
        if not isinstance(self.data_conditional, conditionals.Bernoulli):
            return "none"
        if self.binarization == "auto":
            return "dynamic" if self._takes_grey else "none"
        return self.binarization

    def binarize(self, x, seed):
        """Images as the likelihood takes them: `x` `[B, H, W, C]`, binarised as `binarization_in_force` says."""
        return images.binarize(x, self.binarization_in_force, fold_in(seed, _BINARIZE))

    def step(self, x, seed):
        return self.objective(self, self.binarize(x, seed), fold_in(seed, _INFER))

    def step_metrics(self):
        return [ActiveUnits(sum(math.prod(conditional.event_shape) for conditional in self.recognition))]

    def update_step_metrics(self, estimate):
        means = []
        for group in estimate.trace.groups:
            mean = group.posterior.mean()
            rank = len(group.value.shape) - 2
            mean = tf.reduce_mean(mean, axis=0) if len(mean.shape) == rank + 2 else mean
            means.append(tf.reshape(mean, (-1, math.prod(mean.shape[1:]))))
        self._step_metrics[0].update_state(tf.concat(means, axis=-1))

    def get_config(self):
        serialize = keras.saving.serialize_keras_object
        config = super().get_config()
        del config["data_shape"]  # the last conditional's event
        return {
            **config,
            "generative": [serialize(conditional) for conditional in self.generator.conditionals],
            "recognition": [serialize(conditional) for conditional in self.recognition],
            "binarization": self.binarization,
        }

    @classmethod
    def from_config(cls, config):
        deserialize = keras.saving.deserialize_keras_object
        chains = {name: [deserialize(each) for each in config[name]] for name in ("generative", "recognition")}
        return cls(**{**config, **chains})
