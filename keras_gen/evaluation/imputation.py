"""How well unknown pixels are imputed: the bound on their log-likelihood, by the protocol of Bachman and Precup."""

import dataclasses

import numpy as np

from keras_gen.checks import check_integers, check_key, check_kind
from keras_gen.evaluation.likelihood import admitted, binarized_batches
from keras_gen.evaluation.programs import compiled
from keras_gen.evaluation.score import standard_error
from keras_gen.noise import fold_in
from keras_gen.objectives import ELBO
from keras_gen.sequential.imputer import SequentialImputer
from keras_gen.sequential.masks import check_mask


@dataclasses.dataclass(frozen=True)
class ImputationScore:
    """A bound on -log p(unknown pixels given known ones), and how it was made. Lower is better.

    Attributes:
        per_image: reconstruction error and KL of each image, float64 `[N]`, nats; a mean over K draws.
        reconstruction: mean over images of -log p(unknown pixels given the canvas), nats.
        kl: mean over images of the KL of all steps, nats.
        masked_fraction: the share of pixels to impute: as the model draws masks, or of the masks that were given.
        num_samples: K.
        seed: int.
        masks: how they came about, a text.
    """

    per_image: np.ndarray
    reconstruction: float
    kl: float
    masked_fraction: float
    num_samples: int
    seed: int
    masks: str

    @property
    def normalized(self):
        """The mean over images, divided by the share of pixels to impute: nats a whole image, the papers' figure."""
        return float(np.mean(self.per_image)) / self.masked_fraction

    @property
    def standard_error(self):
        """Standard error of `normalized` over images."""
        return standard_error(self.per_image) / self.masked_fraction


def imputation_score(model, images, masks=None, num_samples=10, batch_size=100, seed=0, progress=True):
    """Scores the imputation of images whose pixels are hidden by masks.

    Args:
        model: `SequentialImputer`.
        images: float `[N, H, W, C]` in [0, 1].
        masks: `[N, H, W, 1]`, 1 observed, 0 to impute; drawn as the model draws them where None, keyed by the seed.
        num_samples: K, draws an image.
        batch_size: images at a time.
        seed: int32, keys masks, binarisation and draws.
        progress: whether to warn of how images are binarised.

    Returns:
        `ImputationScore`.

    Raises:
        ValueError: images that the model cannot score; masks of another shape, with values besides 0 and 1, or that leave
            nothing to impute.

    Bachman, Precup: Data generation as sequential decision making. NeurIPS 2015, section 4, table 1.
    """
    num_samples, batch_size = check_integers(num_samples=num_samples, batch_size=batch_size)
    seed = check_key(seed)
    check_kind(model, SequentialImputer, "which is shown the known pixels")
    images = admitted(model, images, progress)
    fraction, how = model.masked_fraction, model.masks_drawn
    if masks is not None:
        masks = check_mask(masks, model.data_shape, len(images), "masks")
        fraction, how = float(np.mean(masks == 0)), "given"
        if not fraction:
            raise ValueError("masks observe every pixel; there is nothing to impute, and no share of pixels to divide by.")
        images = np.concatenate([images, masks], axis=-1)
    figures = compiled(model, _figures, num_samples)
    parts = []
    for x, count, key in binarized_batches(model, images, batch_size, seed):
        parts.append([part.numpy()[:count].astype(np.float64) for part in figures(x, fold_in(key, 0))])
    reconstruction, kl = (np.concatenate(part) for part in zip(*parts, strict=True))
    return ImputationScore(
        kl - reconstruction, float(-np.mean(reconstruction)), float(np.mean(kl)), fraction, num_samples, seed, how
    )


def _figures(alive, num_samples):
    """The reconstruction and the KL of each image."""
    objective = ELBO(num_samples)

    def figures(x, key):
        found = objective(alive(), x, key).figures
        return found["reconstruction"], found["kl"]

    return figures
