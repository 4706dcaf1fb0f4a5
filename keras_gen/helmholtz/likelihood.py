"""What models with a likelihood of images share: images are checked, and binarised where the likelihood is of bits."""

import warnings

import numpy as np
import tensorflow as tf

from keras_gen import conditionals, images
from keras_gen.model import GenerativeModel
from keras_gen.noise import fold_in
from keras_gen.objectives.likelihood_ratio import Seen

LIKELIHOODS = ("bernoulli", "gaussian", "discretized_logistic")
#: Streams of a step's key: of the binarisation, and of the draws of the objective.
BINARIZE, INFER = 0, 1


class LikelihoodModel(GenerativeModel):
    """A model whose last factor, `data_conditional`, scores images, trained by an objective of `keras_gen.objectives`.

    Args:
        data_shape: (H, W, C).
        binarization: what is done to grey images where the likelihood is Bernoulli. "auto": images that are binary already are
            left, grey ones are drawn afresh at every visit (with a warning that says so). "dynamic", "threshold" (x > 0.5):
            always. "none": grey images are refused.
        seed: see `GenerativeModel`.
    """

    #: Whether latents are inferred by a network of their own.
    has_recognition = True

    def __init__(self, data_shape, binarization="auto", seed=None, **kwargs):
        if binarization not in images.BINARIZATIONS:
            raise ValueError(f"binarization={binarization!r}: one of {', '.join(map(repr, images.BINARIZATIONS))}.")
        super().__init__(data_shape=data_shape, seed=seed, **kwargs)
        self.binarization = binarization
        # Whether all images seen so far are binary; None before any. Then "auto" need not binarise, which would leave them as
        # they are. Other data, for validation or in a callback, may end that, and may not begin it.
        self._all_binary = None

    @property
    def data_conditional(self):
        """The last factor, p(x given the latents): a `Conditional`."""
        return self.generator.conditionals[-1]

    @property
    def choices_seen(self):
        """What was seen by whatever draws each group of latents, from the data upward: `Seen`s, for learned baselines."""
        return [Seen(shape) for shape in (self.data_shape, *(latent.event_shape for latent in self.recognition[:-1]))]

    def admit(self, values, source, whole=True):
        """Checks pixel values against the likelihood; grey ones under a Bernoulli are binarised or refused, never scored.

        Args:
            values: numpy float `[N, H, W, C]` in [0, 1].
            source: what they are, for the error's text.
            whole: whether these are all that there are; of a data set's other batches nothing is known.

        Raises:
            ValueError: grey values under a Bernoulli with `binarization="none"`; values off a discretised likelihood's grid.
        """
        super().admit(values, source, whole)
        if self.data_conditional.binary:
            is_grey = not images.is_binary(values)
            if is_grey and self.binarization == "none":
                raise ValueError(
                    f"{source} hold grey values, and the likelihood is Bernoulli, which gives probability to 0 and 1 alone: "
                    'its formula at a grey value is no likelihood. Binarise them, set binarization="dynamic" or '
                    '"threshold", or choose likelihood="gaussian" or "discretized_logistic".'
                )
            if is_grey and self.binarization == "auto":
                warnings.warn(
                    f"{source} hold grey values: each is taken as the probability of a one and drawn afresh at every visit, "
                    'since the likelihood is Bernoulli. binarization="dynamic" says that this is meant.',
                    stacklevel=6,
                )
            all_binary = whole and not is_grey and self._all_binary is not False
            in_force, self._all_binary = self.binarization_in_force, all_binary
            if self.binarization_in_force != in_force:
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
        if not self.data_conditional.binary:
            return "none"
        if self.binarization == "auto":
            return "none" if self._all_binary else "dynamic"
        return self.binarization

    def binarize(self, x, seed):
        """Images as the likelihood takes them: `x` `[B, H, W, C]`, binarised as `binarization_in_force` says."""
        return images.binarize(x, self.binarization_in_force, fold_in(seed, BINARIZE))

    def dream_like(self, x, seed):
        """As many dreams as `x`, what `binarize` gives, has images, and given what of each is given to p; see `dream`."""
        return self.dream(tf.shape(x)[0] if x.shape[0] is None else x.shape[0], seed)

    def step(self, x, seed, label=None):
        return self.objective(self, self.binarize(x, seed), fold_in(seed, INFER))

    def get_config(self):
        return {**super().get_config(), "binarization": self.binarization}


def data_conditional(likelihood, data_shape, network, levels, inner, allowed=LIKELIHOODS):
    """The `Conditional` that one of the `allowed` names stands for."""
    if likelihood not in allowed:
        raise ValueError(f"likelihood={likelihood!r}: one of {', '.join(map(repr, allowed))}.")
    if likelihood == "bernoulli":
        return conditionals.Bernoulli(data_shape, network, name="decoder", **inner)
    if likelihood == "gaussian":
        return conditionals.Normal(
            data_shape, network, shared_scale=True, initial_scale=0.3, min_scale=1 / 256, name="decoder", **inner
        )
    if likelihood == "discretized_logistic":
        return conditionals.DiscretizedLogistic(data_shape, network, levels=levels, name="decoder", **inner)
    return conditionals.CrossEntropy(data_shape, network, name="decoder", **inner)
