"""From a run to an artifact."""

import sys

import training.data
from export import export_generator
from export.card import NEIGHBOURS
from keras_gen.model import GenerativeModel
from training.checks import check_samples
from training.licences import provenance
from training.models import load_model
from training.quantization_cost import quantization_cost
from training.units import unit_of


def check_draws(model, path):
    """Raises ValueError where the model of a run draws no images."""
    if not isinstance(model, GenerativeModel):
        raise ValueError(
            f"{path} holds a {type(model).__name__}, which draws no images: there is no generator to sample from or to export. "
            "Its figures are given by: evaluate"
        )


def export_run(folder, out, formats, quantize=None, name=None, overwrite=False, web=False, licence=None, version=1):
    """Exports a finished run's generator with what the manifest and the model card tell of it.

    Args:
        folder: `RunFolder`. Figures are told of where they are those of its model.
        out: folder of the artifact.
        formats, quantize, name, overwrite, web, version: see `export.export_generator`.
        licence: text, of the training data, where `training.licences` does not know it, or knows better.

    Returns:
        `export.Artifact`.
    """
    model = load_model(folder.finished_model())
    check_draws(model, folder.path)
    config, evaluation = folder.read_config(), folder.read_evaluation()
    recipe = {"name": config["recipe"], "settings": config["settings"], "reference": config["reference"]}
    run = {key: config[key] for key in ("data", "seed", "strategy", "versions", "created")}
    spec = training.data.shown(config["data"]["spec"])
    run["data"] = {**run["data"], "spec": spec, **provenance(spec, licence)}
    run["data"].pop("data_dir", None)  # where something lies on this machine is no one else's business
    run["training"] = {**folder.time(), **config.get("machine", {})}
    figures = {}
    for figure, value in (evaluation["figures"] if evaluation else {}).items():
        figures[figure] = {
            "value": value["mean"],
            "standard_error": value.get("standard_error"),
            "unit": unit_of(figure) or None,
            "protocol": evaluation["protocol"],
        }
    settings = config["settings"]
    try:
        data = training.data.of_run(config)
    except (ValueError, OSError) as error:  # they may have stayed elsewhere; where, is told here and not in the artifact
        print(f"warning: nothing is checked against the training data: {error}", file=sys.stderr)
        checks, pictures = {"not_checked": "the training data are not where the run found them"}, {}
    else:
        checks, picture = check_samples(model, data, settings.get("binarization", "none"))
        pictures = {NEIGHBOURS: picture}
        if quantize is not None and (cost := quantization_cost(model, quantize, data, settings)):
            figures[f"cost of {quantize} weights"] = cost
    return export_generator(
        model,
        out,
        formats=tuple(formats),
        name=name or out.name,
        version=version,
        quantize=quantize,
        recipe=recipe,
        run=run,
        evaluation=figures,
        web=web,
        checks=checks,
        pictures=pictures,
        overwrite=overwrite,
    )
