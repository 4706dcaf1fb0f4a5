"""Writes the tables of README.md from the runs' own files: `python -m training.readme`, `make readme`."""

import json
import re
from pathlib import Path

from benchmarks import orderings, samplers, table
from training.experiments import aggregate_posterior, ring, sharpness

ROOT = Path(__file__).parents[1]


def tables(root=ROOT):
    """The generated blocks of the README, by name, as Markdown."""
    return {
        "runs": _runs(root / "benchmarks" / "runs"),
        "samples": _samples(root / "benchmarks" / "runs"),
        "classifiers": _classifiers(root / "benchmarks" / "runs"),
        "imputers": _imputers(root / "benchmarks" / "runs"),
        "artifacts": _artifacts(root / "saved_models"),
        "benchmark": table.markdown(
            _json(root / "benchmarks" / "results.json"),
            elsewhere=[_json(path) for path in sorted((root / "benchmarks").glob("results_*.json"))],
        ),
        "samplers": samplers.markdown(_json(root / "benchmarks" / "samplers.json")),
        "orderings": orderings.markdown(_json(root / "benchmarks" / "orderings.json")),
        "experiments": _experiments(root / "benchmarks"),
    }


def filled(text, blocks):
    """`text` with each `<!-- name -->` ... `<!-- end -->` block replaced by its table."""
    for name, block in blocks.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        if not pattern.search(text):
            raise ValueError(f"README.md has no block <!-- {name} --> ... <!-- end -->")
        text = pattern.sub(lambda match, block=block: match[1] + block + match[2], text)
    return text


def _json(path):
    return json.loads(path.read_text())


def _table(folder, wanted, header, cells_of):
    """A table of those run files of which `wanted(run)` is true.

    `cells_of(run)` gives rows, each a tuple of texts, which stand between a run's name and its epochs and minutes.
    """
    columns = ("run", *header, "epochs", "minutes")
    rows = []
    for path in sorted(folder.glob("*.json")):
        run = json.loads(path.read_text())
        if wanted(run):
            training = run["training"]
            cost = str(training["epochs"]), f"{training['seconds'] / 60:.1f}"
            rows += [(path.stem, *cells, *cost) for cells in cells_of(run)]
    if not rows:
        return "No run yet.\n"
    return "\n".join(f"| {' | '.join(row)} |" for row in (columns, ["---"] * len(columns), *rows)) + "\n"


def _images(protocol):
    return f"{protocol['data']} {protocol['split']}, {protocol['images']:,} images"


def _runs(folder):
    def cells(run):
        protocol = run["protocol"]
        nll, elbo = run["figures"]["negative_log_likelihood"], run["figures"]["elbo"]
        scored = {name: each.get("negative_log_likelihood") for name, each in run["baselines"].items()}
        baseline = {name: figure["mean"] for name, figure in scored.items() if figure}
        name = min(baseline, key=baseline.get, default=None)
        yield (
            f"{_images(protocol)}, binarised: {protocol['binarization']}",
            run["model"],
            f"{protocol['num_samples']:,}",
            f"**{nll['mean']:.2f}** ± {nll['standard_error']:.2f}",
            f"{-elbo['mean']:.2f} ± {elbo['standard_error']:.2f}",
            "" if name is None else f"{name.replace('_', ' ')} {baseline[name]:.2f}",
        )

    header = ("data", "model", "K", "negative log-likelihood", "negative ELBO", "best baseline")
    return _table(folder, lambda run: "negative_log_likelihood" in run["figures"], header, cells)


def _samples(folder):
    """What samples look like, and the means of models with a density: a figure, and that of training images in their place."""

    def cells(run):
        of_images = run["baselines"]["training images"]
        for name, figure in run["figures"].items():
            real = of_images.get(name.removeprefix("means: "))
            if real or "negative_log_likelihood" not in run["figures"]:  # what else a likelihood gives is in another table
                yield name, f"**{_number(figure)}**", _number(real) if real else ""
        curve = run["training"].get("frechet_distance")
        if curve:
            errors = curve.get("errors", [None] * len(curve["values"]))
            pairs = zip(curve["values"], errors, strict=True)
            values = (_number({"mean": mean, "standard_error": error}) for mean, error in pairs)
            yield f"Frechet distance in training, after epochs {', '.join(map(str, curve['epochs']))}", ", ".join(values), ""

    return _table(folder, lambda run: "training images" in run["baselines"], ("figure", "samples", "training images"), cells)


def _classifiers(folder):
    """Test errors of models that look."""

    def cells(run):
        figures = run["figures"]
        means = figures.get("classification error, mean locations")
        error = f"**{_percent(figures['classification error'])}**"
        yield _images(run["protocol"]), run["model"], error, _percent(means) if means else ""

    header = ("data", "model", "error, one pass", "error, mean locations")
    return _table(folder, lambda run: "passes" in run["protocol"], header, cells)


def _imputers(folder):
    """Bounds over the pixels that were not shown."""

    def cells(run):
        protocol, bound, mean = run["protocol"], run["figures"]["normalized_bound"], run["baselines"].get("mean image")
        yield (
            f"{_images(protocol)}, {protocol['likelihood']}",
            run["model"],
            f"{100 * protocol['masked_fraction']:.0f} %",
            f"{protocol['num_samples']:,}",
            f"**{bound['mean']:.2f}** ± {bound['standard_error']:.2f}",
            f"{mean['normalized_bound']['mean']:.2f}" if mean else "",
        )

    header = ("data", "model", "pixels missing", "K", "bound / share missing", "mean image")
    return _table(folder, lambda run: "masked_fraction" in run["protocol"], header, cells)


def _percent(figure):
    return f"{100 * figure['mean']:.2f} ± {100 * figure['standard_error']:.2f} %"


def _number(figure):
    error = figure["standard_error"]
    return f"{figure['mean']:.4g}" + ("" if error is None else f" ± {error:.2g}")


def _experiments(folder):
    modules = {"sharpness": sharpness, "ring": ring, "aggregate_posterior": aggregate_posterior}
    return "\n".join(module.markdown(_json(folder / f"{name}.json")) for name, module in modules.items())


def _artifacts(folder):
    rows = ["| artifact | SavedModel | TFLite | ONNX | largest difference of `mean` |", "| --- | --- | --- | --- | --- |"]
    for path in sorted(folder.glob("*/manifest.json")):
        manifest = json.loads(path.read_text())
        formats = manifest["formats"]
        names = ("saved_model", "tflite", "onnx")
        sizes = [f"{formats[name]['bytes'] / 1000:.0f} kB" if name in formats else "" for name in names]
        differences = [each for record in formats.values() for each in record["differences"] if each["output"] == "mean"]
        largest = f"{max(each['largest'] for each in differences):.1e}" if differences else "it has none"
        rows.append(f"| [{path.parent.name}](saved_models/{path.parent.name}) | {' | '.join(sizes)} | {largest} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(filled(readme.read_text(), tables()))
