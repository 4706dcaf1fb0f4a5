"""What quantised weights cost a run's model, in the figure that it is judged by."""

import numpy as np

import training.data
from export import quantization
from export.exporter import stored_weights
from keras_gen import evaluation
from keras_gen.evaluation.score import standard_error
from keras_gen.helmholtz.likelihood import LikelihoodModel
from training.evaluate import elbo
from training.evaluate_samples import draw, known, shipped_features

_IMAGES = 1000
_BATCH = 100
_SEED = 0


def quantization_cost(model, scheme, data, settings):
    """The loss of a model's figure when the weights of its generator are rounded: a figure for manifest and card.

    Models with a likelihood: the bound of test images with the weights as they were, less the bound with the rounded ones,
    under the same draws; nats an image. Others: by how much the Frechet distance of their samples to test images grows, %.

    Args:
        model: of a finished run.
        scheme: of `export.quantization`.
        data: the `ImageData` of the run.
        settings: of the run.

    Returns:
        dict with `value`, `standard_error`, `unit` and `protocol`, or None where no feature network is shipped for the data.
    """
    raw, name = data.test[:_IMAGES], training.data.shown(data.name)
    if isinstance(model, LikelihoodModel):
        images = training.data.fixed_images(raw, settings.get("binarization", "none"))
        before = elbo(model, images, _BATCH, _SEED)
        with quantization.rounded(model, stored_weights(model, scheme)):
            lost = before - elbo(model, images, _BATCH, _SEED)
        return {
            "value": float(np.mean(lost)),
            "standard_error": known(standard_error(lost)),
            "unit": "nats an image",
            "protocol": f"bound of {len(images)} test images of {name} before less after rounding, the same draws",
        }
    features = shipped_features(data)
    if features is None:
        return None
    images = training.data.to_float(data.test)

    def distance():
        return evaluation.frechet_distance(features, draw(model, len(images), _SEED)[0]["sample"], images).value

    before = distance()
    with quantization.rounded(model, stored_weights(model, scheme)):
        grown = 100 * (distance() / before - 1)
    return {
        "value": float(grown),
        "standard_error": None,
        "unit": "%",
        "protocol": f"growth of the Frechet distance of {len(images)} samples to the test images of {name}, same seeds",
    }
