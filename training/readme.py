"""Writes the tables of README.md from the runs' own files: `python -m training.readme`, `make readme`."""

import json
import re
from pathlib import Path

from benchmarks import orderings, table
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
        "benchmark": table.markdown(_json(root / "benchmarks" / "results.json")),
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


def _runs(folder):
    rows = [
        "| run | data | model | K | negative log-likelihood | negative ELBO | best baseline | minutes |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for path in sorted(folder.glob("*.json")):
        run = json.loads(path.read_text())
        protocol = run["protocol"]
        if "negative_log_likelihood" not in run["figures"]:
            continue
        nll, elbo = run["figures"]["negative_log_likelihood"], run["figures"]["elbo"]
        baseline = {name: each["negative_log_likelihood"]["mean"] for name, each in run["baselines"].items()}
        name = min(baseline, key=baseline.get, default=None)
        cells = (
            path.stem,
            f"{protocol['data']} {protocol['split']}, {protocol['images']:,} images, binarised: {protocol['binarization']}",
            run["model"],
            f"{protocol['num_samples']:,}",
            f"**{nll['mean']:.2f}** ± {nll['standard_error']:.2f}",
            f"{-elbo['mean']:.2f} ± {elbo['standard_error']:.2f}",
            "" if name is None else f"{name.replace('_', ' ')} {baseline[name]:.2f}",
            f"{run['training']['seconds'] / 60:.1f}",
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _samples(folder):
    """Models without a likelihood: a figure, and the same of training images in the samples' place."""
    rows = ["| run | figure | samples | training images | minutes |", "| --- | --- | --- | --- | --- |"]
    for path in sorted(folder.glob("*.json")):
        run = json.loads(path.read_text())
        if "training images" not in run["baselines"]:  # scored by a likelihood, or a bound
            continue
        for name, figure in run["figures"].items():
            real = run["baselines"]["training images"].get(name)
            minutes = f"{run['training']['seconds'] / 60:.1f}"
            rows.append(f"| {path.stem} | {name} | **{_number(figure)}** | {_number(real) if real else ''} | {minutes} |")
    return "\n".join(rows) + "\n"


def _classifiers(folder):
    """Test errors of models that look."""
    rows = [
        "| run | data | model | error, one pass | error, mean locations | minutes |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for path in sorted(folder.glob("*.json")):
        run = json.loads(path.read_text())
        if "passes" not in run["protocol"]:
            continue
        protocol, figures = run["protocol"], run["figures"]
        means = figures.get("classification error, mean locations")
        cells = (
            path.stem,
            f"{protocol['data']} {protocol['split']}, {protocol['images']:,} images",
            run["model"],
            f"**{_percent(figures['classification error'])}**",
            _percent(means) if means else "",
            f"{run['training']['seconds'] / 60:.1f}",
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _imputers(folder):
    """Bounds over the pixels that were not shown."""
    rows = [
        "| run | data | model | pixels missing | K | bound / share missing | mean image | minutes |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for path in sorted(folder.glob("*.json")):
        run = json.loads(path.read_text())
        if "masked_fraction" not in run["protocol"]:
            continue
        protocol, bound, mean = run["protocol"], run["figures"]["normalized_bound"], run["baselines"].get("mean image")
        cells = (
            path.stem,
            f"{protocol['data']} {protocol['split']}, {protocol['images']:,} images, {protocol['likelihood']}",
            run["model"],
            f"{100 * protocol['masked_fraction']:.0f} %",
            f"{protocol['num_samples']:,}",
            f"**{bound['mean']:.2f}** ± {bound['standard_error']:.2f}",
            f"{mean['normalized_bound']['mean']:.2f}" if mean else "",
            f"{run['training']['seconds'] / 60:.1f}",
        )
        rows.append(f"| {' | '.join(cells)} |")
    if len(rows) == 2:
        return "No run yet.\n"
    return "\n".join(rows) + "\n"


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
        largest = max(each["largest"] for each in differences)
        rows.append(f"| [{path.parent.name}](saved_models/{path.parent.name}) | {' | '.join(sizes)} | {largest:.1e} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(filled(readme.read_text(), tables()))
