"""From a run to an artifact."""

import keras

import keras_gen  # noqa: F401  registers the models
from export import export_generator
from keras_gen.model import GenerativeModel
from training.quantization_cost import quantization_cost

_UNITS = {"effective_sample_size": "samples", "bits_per_dimension": "bits a pixel value"}


def check_draws(model, path):
    """Raises ValueError where the model of a run draws no images."""
    if not isinstance(model, GenerativeModel):
        raise ValueError(
            f"{path} holds a {type(model).__name__}, which draws no images: there is no generator to sample from or to export. "
            "Its figures are given by: evaluate"
        )


def export_run(folder, config, evaluation, out, formats, quantize=None, name=None, overwrite=False, web=False):
    """Exports a finished run's generator with what the manifest and the model card tell of it.

    Args:
        folder: `RunFolder`.
        config: its configuration.
        evaluation: its evaluation, or None.
        out: folder of the artifact.
        formats, quantize, name, overwrite, web: see `export.export_generator`.

    Returns:
        `export.Artifact`.
    """
    model = keras.saving.load_model(folder.finished_model())
    check_draws(model, folder.path)
    recipe = {"name": config["recipe"], "settings": config["settings"], "reference": config["reference"]}
    run = {key: config[key] for key in ("data", "seed", "strategy", "versions", "created")}
    figures = {}
    for figure, value in (evaluation["figures"] if evaluation else {}).items():
        figures[figure] = {
            "value": value["mean"],
            "standard_error": value.get("standard_error"),
            "unit": _UNITS.get(figure, "nats an image"),
            "protocol": evaluation["protocol"],
        }
    if quantize is not None and (cost := quantization_cost(model, quantize, config)):
        figures[f"cost of {quantize} weights"] = cost
    return export_generator(
        model,
        out,
        formats=tuple(formats),
        name=name or out.name,
        quantize=quantize,
        recipe=recipe,
        run=run,
        evaluation=figures,
        web=web,
        overwrite=overwrite,
    )
