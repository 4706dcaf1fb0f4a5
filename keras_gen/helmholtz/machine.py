"""The Helmholtz machine: any generative chain with any recognition chain."""

import math
import random

import keras
import tensorflow as tf

from keras_gen.distributions import leading_shape
from keras_gen.generator import AncestralGenerator
from keras_gen.helmholtz.likelihood import LikelihoodModel
from keras_gen.metrics import ActiveUnits, mean_over_draws
from keras_gen.noise import BatchNoise, CounterNoise
from keras_gen.objectives import ELBO, ReweightedWakeSleep
from keras_gen.trace import LatentGroup, Trace, check_draws


@keras.saving.register_keras_serializable("keras_gen")
class HelmholtzMachine(LikelihoodModel):
    """p(z_L) p(z_{L-1} given z_L) ... p(x given z_1), with q(z_1 given x) ... q(z_L given z_{L-1}) to infer the latents.

    Args:
        generative: conditionals from the prior down to the data.
        recognition: conditionals from the data up to z_L: `recognition[l]` infers what `generative[-2 - l]` draws.
        binarization, seed: see `LikelihoodModel`.

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
        super().__init__(data_shape=generative[-1].event_shape, binarization=binarization, seed=seed, **kwargs)
        self.generator = AncestralGenerator(generative, name="generator")
        parent = (None, *self.data_shape)
        for conditional in recognition:
            conditional.build(parent)
            parent = (None, *conditional.event_shape)
        self.recognition = recognition
        self.built = True

    def trace(self, x, num_samples=1, seed=None, draws="pathwise"):
        """Infers and scores: draws `num_samples` = K latents for each of B images from q and evaluates p and q.

        Args:
            x: float `[B, H, W, C]`, binary where the likelihood is Bernoulli.
            num_samples: K.
            seed: int32 `[2]`, the key of the draws; a fresh one where None.
            draws: "pathwise": gradients flow through draws that have one. "fixed", "choices": through none. "means": no
                draws, each latent is the mean of its q (the mean-field pass); K is 1.

        Returns:
            `Trace` of shape `[K, B]`.
        """
        check_draws(draws)
        x = tf.cast(x, tf.float32)
        batch = leading_shape(x, len(self.data_shape))
        seed = [random.getrandbits(31), random.getrandbits(31)] if seed is None else seed
        noise = BatchNoise(seed, (num_samples, *batch))
        posteriors, values, below = [], [], x
        for conditional in self.recognition:
            posteriors.append(conditional(below))
            if draws == "means":
                below = tf.reshape(posteriors[-1].mean(), (1, *batch, *conditional.event_shape))
            else:
                below = conditional.draw(posteriors[-1], noise)
                below = tf.stop_gradient(below) if draws in ("fixed", "choices") else below
            values.append(below)
        return self._scored(x, values, posteriors)

    def score(self, x, values):
        """Evaluates p and q at given latents.

        Args:
            x: float `[B, H, W, C]`.
            values: the latents of each group from the data upward, `[K, B, *event]`.

        Returns:
            `Trace` of shape `[K, B]`.
        """
        x = tf.cast(x, tf.float32)
        below = [x, *values[:-1]]
        return self._scored(x, values, [conditional(each) for conditional, each in zip(self.recognition, below, strict=True)])

    def dream(self, num, seed):
        """Draws `num` = B images with their latents from p and evaluates p and q: a `Trace` `[1, B]`, its draws fixed.

        Args:
            num: int or scalar tensor.
            seed: int32 `[2]`, the key of the draws.
        """
        draws = [tf.stop_gradient(draw) for _, draw in self.generator.call(BatchNoise(seed, (num,)))]
        return self.score(draws[-1], [draw[None] for draw in draws[-2::-1]])

    def _scored(self, x, values, posteriors):
        # Each generative factor is conditioned on the draw above it; the prior on nothing.
        factors = self.generator.conditionals
        priors = [factors[0](), *(factor(above) for factor, above in zip(factors[1:-1], values[:0:-1], strict=True))]
        groups = tuple(
            LatentGroup(value, prior, posterior, has_analytic_kl=index == len(values) - 1)
            for index, (value, prior, posterior) in enumerate(zip(values, priors[::-1], posteriors, strict=True))
        )
        return Trace(groups, factors[-1](values[0]).log_prob(x))

    def call(self, x):
        """Reconstructs: the mean of p(x given z_1) at the mean of q(z_1 given x), `[B, H, W, C]`.

        Where q is autoregressive it has no mean in closed form: then at a draw, of the same key for every image. Where p is,
        the mean of each element is the one given those before it in `x`.
        """
        posterior = self.recognition[0](x)
        if hasattr(posterior, "mean_given"):
            latent = self.recognition[0].draw(posterior, CounterNoise(tf.zeros((tf.shape(x)[0], 2), tf.int32)))
        else:
            latent = posterior.mean()
        likelihood = self.data_conditional(latent)
        return likelihood.mean_given(x) if hasattr(likelihood, "mean_given") else likelihood.mean()

    def default_objective(self):
        """`ELBO` where every latent's draw has a gradient, else `ReweightedWakeSleep`."""
        return ELBO() if all(conditional.reparameterized for conditional in self.recognition) else ReweightedWakeSleep()

    def step_metrics(self):
        return [ActiveUnits(sum(math.prod(conditional.event_shape) for conditional in self.recognition))]

    def update_step_metrics(self, estimate):
        means, noise = zip(*map(mean_over_draws, estimate.trace.groups), strict=True)
        self._step_metrics[0].update_state(_side_by_side(means), _side_by_side(noise))

    def get_config(self):
        serialize = keras.saving.serialize_keras_object
        config = super().get_config()
        del config["data_shape"]  # the last conditional's event
        return {
            **config,
            "generative": [serialize(conditional) for conditional in self.generator.conditionals],
            "recognition": [serialize(conditional) for conditional in self.recognition],
        }

    @classmethod
    def from_config(cls, config):
        deserialize = keras.saving.deserialize_keras_object
        chains = {name: [deserialize(each) for each in config[name]] for name in ("generative", "recognition")}
        return cls(**{**config, **chains})


def _side_by_side(layers):
    """The units of all layers, `[B, *event]` each, as one `[B, units]`."""
    return tf.concat([tf.reshape(layer, (-1, math.prod(layer.shape[1:]))) for layer in layers], axis=-1)
