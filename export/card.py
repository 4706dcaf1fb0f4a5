"""The model card of an artifact, `README.md`, written from its manifest, and the picture in it."""

import math

import numpy as np

from export import phones
from export.about import describe

FILE = "README.md"
PICTURE = "samples.png"
NEIGHBOURS = "neighbours.png"
_NOT_RECORDED = "Not recorded: this generator was exported without"
_COLUMNS, _ROWS = 8, 4
_MIN_SIDE = 56

_RUNTIMES = {
    "saved_model": """### TF Serving

```bash
docker compose -f serving/docker-compose.yml up -d
curl -d '{"inputs": {"seed": [[7, 0], [7, 1]]}}' http://localhost:8501/v1/models/generator:predict
```

`serving/` also has clients for REST and gRPC and an example of a request and its response. The server, as it is set up there,
takes at most 64 rows a request.

### TensorFlow

```python
import tensorflow as tf

generator = tf.saved_model.load("saved_model/1").signatures["serving_default"]
images = generator(seed=tf.constant([[7, 0], [7, 1]], tf.int32))["sample"].numpy()
```
""",
    "tflite": """### LiteRT (`pip install ai-edge-litert`)

```python
import numpy as np
from ai_edge_litert.interpreter import Interpreter

generator = Interpreter("generator.tflite").get_signature_runner("serving_default")
images = generator(seed=np.array([[7, 0], [7, 1]], np.int32))["sample"]
```

A runtime that needs fixed shapes takes the signature `single`, one seed at a time.
""",
    "onnx": """### ONNX Runtime (`pip install onnxruntime`)

```python
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("generator.onnx")
(images,) = session.run(["sample"], {"seed": np.array([[7, 0], [7, 1]], np.int32)})
```
""",
}

_PAGE = """### A browser

`python -m http.server --directory web` serves a page that draws the images. It asks no other host for anything."""

_OWN = """### This project (`pip install keras-gen`)

```python
from export import load

generator = load(".", format="{first}")  # Checks the digests of manifest.json first.
images = generator.generate([[7, 0], [7, 1]])["sample"]
```

`keras-gen verify .` runs every format and compares them.
"""


# How each piece of code is given labels beside the seeds, where the generator takes some.
_LABELS = {
    '"seed": [[7, 0], [7, 1]]': '"seed": [[7, 0], [7, 1]], "label": [0, 1]',
    "seed=tf.constant([[7, 0], [7, 1]], tf.int32)": "seed=tf.constant([[7, 0], [7, 1]], tf.int32), label=tf.constant([0, 1])",
    "seed=np.array([[7, 0], [7, 1]], np.int32)": (
        "seed=np.array([[7, 0], [7, 1]], np.int32), label=np.array([0, 1], np.int32)"
    ),
    '"seed": np.array([[7, 0], [7, 1]], np.int32)': (
        '"seed": np.array([[7, 0], [7, 1]], np.int32), "label": np.array([0, 1], np.int32)'
    ),
    "generate([[7, 0], [7, 1]])": "generate([[7, 0], [7, 1]], label=[0, 1])",
}


def _given(code, manifest):
    for plain, labelled in _LABELS.items() if manifest.get("num_classes") else ():
        code = code.replace(plain, labelled)
    return code


def text(manifest):
    """The model card as Markdown, from the manifest's dict."""
    formats = manifest["formats"]
    sections = [
        f"# {manifest['name']}",
        "## What it draws\n\n" + _introduction(manifest),
        "## Training data\n\n" + _data(manifest["run"].get("data")),
        "## How it was trained\n\n" + _training(manifest),
        "## Figures\n\n" + _figures(manifest["evaluation"]),
        "## Known failures\n\n" + _failures(manifest["checks"]),
        "## Files\n\n" + _files(formats),
        "## How to run it\n\n" + _signature(manifest),
        *(_given(_RUNTIMES[format], manifest).rstrip() for format in _RUNTIMES if format in formats),
        *([_phones(manifest)] if "tflite" in formats else []),
        *([_PAGE] if "page" in manifest else []),
        _given(_OWN.format(first=next(iter(formats))), manifest).rstrip(),
        "## Limits\n\n" + _limits(manifest),
    ]
    return "\n\n".join(sections) + "\n"


def picture(outputs):
    """The card's picture: an upper block of `sample`, and below it a block of the same seeds' `mean` if there is one.

    Args:
        outputs: dict of float arrays `[B, H, W, C]` in [0, 1].

    Returns:
        A `PIL.Image.Image`, grey for C = 1, colour for C = 3, the first channel otherwise.
    """
    from PIL import Image

    blocks = [_block(outputs[name]) for name in ("sample", "mean") if name in outputs]
    gap = np.ones((max(2, outputs["sample"].shape[1] // 2), *blocks[0].shape[1:]))
    stacked = np.concatenate([part for block in blocks for part in (gap, block)][1:])
    pixels = np.round(255 * np.clip(stacked, 0.0, 1.0)).astype(np.uint8)
    image = Image.fromarray(pixels if pixels.shape[-1] == 3 else pixels[..., 0])
    scale = math.ceil(_MIN_SIDE / outputs["sample"].shape[2])
    return image.resize((scale * image.width, scale * image.height), Image.Resampling.NEAREST)


def _block(images):
    images = images[: _ROWS * _COLUMNS]
    columns = min(_COLUMNS, len(images))
    rows = len(images) // columns
    # A white line between images.
    framed = np.pad(images[: rows * columns], ((0, 0), (0, 1), (0, 1), (0, 0)), constant_values=1.0)
    height, width, channels = framed.shape[1:]
    grid = framed.reshape(rows, columns, height, width, channels).transpose(0, 2, 1, 3, 4)
    return grid.reshape(rows * height, columns * width, channels)


def _introduction(manifest):
    has_mean = any(output["name"] == "mean" for output in manifest["signature"]["outputs"])
    blocks = (
        "Above, draws from the model; below, the mean of the last conditional for the same seeds."
        if has_mean
        else "Draws from the model."
    )
    return (
        f"{describe(manifest['family'], manifest['model']['data_shape'])} Version {manifest.get('version', 1)}.\n\n"
        f"![samples]({PICTURE})\n\n{blocks}"
    )


def _training(manifest):
    facts = {**manifest["run"], **manifest["recipe"]}
    time = _time(facts.pop("training", None))
    for elsewhere in ("data", "versions"):  # Above, and in the manifest.
        facts.pop(elsewhere, None)
    rows = [(key, value) for key, value in _flat(facts) if value is not None]
    if not rows:
        return f"{_NOT_RECORDED} a recipe or a run.\n\n{time}"
    if manifest["recipe_sha256"]:
        rows.append(("sha256 of the recipe here", manifest["recipe_sha256"]))
    return f"{_table(('setting', 'value'), rows)}\n\n{time}"


def _time(training):
    if not training:
        return "Time and energy: not recorded."
    cores = f"{training['cores']} CPU cores" if training.get("cores") else "a machine that was not recorded"
    gpus = f" and {training['gpus']} GPUs" if training.get("gpus") else ""
    return f"Time: {training['seconds']:,g} s for {training['epochs']} epochs on {cores}{gpus}. Energy: not measured."


def _data(data):
    if not isinstance(data, dict):
        return f"`{data}`; source and licence are not recorded." if data else f"{_NOT_RECORDED} a run."
    names = {"spec": "data", "description": "images and split", "sha256": "sha256 of the images"}
    names["labels_sha256"] = "sha256 of the labels"
    rows = [(names.get(key, key), value) for key, value in _flat(data) if value is not None and key != "data_dir"]
    return _table(("of the data", ""), rows)


def _failures(checks):
    parts = []
    if "not_checked" in checks:
        parts.append(f"Not checked for copies of training images, nor for what is left out: {checks['not_checked']}.")
    if not checks:
        parts.append("Not recorded: nobody looked for copies of training images, nor for what is left out.")
    if "memorisation" in checks:
        parts.append(_memorisation(checks["memorisation"]))
    if "coverage" in checks:
        parts.append(_coverage(checks["coverage"]))
    elif "memorisation" in checks:
        parts.append("**Mode coverage.** Not checked: the data have no labels of classes.")
    return "\n\n".join(parts)


def _memorisation(found):
    rows = [
        (f"{found['samples']} samples", found["samples_to_training"], found["smallest_of_samples"]),
        (f"{found['test_images']} test images", found["test_to_training"], found["smallest_of_test"]),
    ]
    table = _table((f"distance to the nearest of {found['training_images']:,} training images", "mean", "smallest"), rows)
    return (
        "**Memorisation.** A generator that copies draws images nearer to its training images than images are that it was not "
        f"trained on.\n\n{table}\n\nDistance: {found['distance']}. Nearer than all but 5 % of the test images are: "
        f"{100 * found['share_nearer_than_5_percent_of_test']:.3g} % of the samples; 5 % are expected of a generator without "
        "fault.\n\nThe samples that are nearest to a training image, the nearest first, and below each that image:\n\n"
        f"![samples over their nearest training images]({NEIGHBOURS})"
    )


def _coverage(found):
    shares = found["shares"]
    rows = [(index, *(f"{100 * shares[name][index]:.3g} %" for name in shares)) for index in range(len(shares["training"]))]
    missing = f"Never drawn: {', '.join(map(str, found['missing']))}." if found["missing"] else "No class is missing."
    return (
        f"**Mode coverage.** Classes by the {found['classifier']}. {missing} Share of images that would have to be of another "
        f"class to have the training data's histogram: {100 * found['distance_of_samples']:.3g} % of the samples, "
        f"{100 * found['distance_of_test']:.3g} % of the test images.\n\n{_table(('class', *shares), rows)}"
    )


def _figures(evaluation):
    if not evaluation:
        return "Not evaluated."
    rows = []
    for name, figure in evaluation.items():
        figure = figure if isinstance(figure, dict) else {"value": figure}
        error = figure.get("standard_error")
        value = _number(figure.get("value")) + (f" ± {_number(error)}" if error is not None else "")
        rows.append((name, f"{value} {figure.get('unit') or ''}".strip(), _protocol(figure.get("protocol"))))
    protocols = {row[2] for row in rows}
    head = ("figure", "value ± standard error", "protocol")
    if len(protocols) == 1:
        return f"{_table(head[:2], [row[:2] for row in rows])}\n\nProtocol: {protocols.pop()}."
    return _table(head, rows)


def _protocol(protocol):
    if isinstance(protocol, dict):
        settings = (setting for setting in _flat(protocol) if setting[1] is not None and "sha256" not in setting[0])
        return "; ".join(f"{key}: {value}" for key, value in settings)
    return protocol or "not recorded"


def _files(formats):
    rows = [
        (f"`{record['file']}`", f"{record['bytes'] / 1000:,.0f} kB", _remark(record), f"`{record['sha256'][:16]}`")
        for record in formats.values()
    ]
    budgets = [_budget(record["budget"]) for record in formats.values() if "budget" in record]
    return "\n\n".join([_table(("file", "size", "remarks", "sha256 begins"), rows), *budgets])


def _budget(budget):
    memory = "not measured" if budget["memory_bytes"] is None else f"{budget['memory_bytes'] / 1e6:.2g} MB beside the file"
    return (
        f"One image from `generator.tflite`, on the machine that exported it ({budget['machine']}, {budget['threads']} thread, "
        f"LiteRT's Interpreter with XNNPACK): {budget['latency_ms']:g} ms, the median of {budget['runs']}; memory: {memory}."
    )


def _remark(record):
    if "quantization" in record:
        quantization = record["quantization"]
        errors = ", ".join(
            f"{one['output']} {one['largest']:.1e}" for one in quantization["differences"] if one["differing"] is None
        )
        return f"{quantization['scheme']} weights; largest difference over {quantization['num_seeds']} seeds: {errors}"
    return f"opset {record['opset']}, standard operators" if "opset" in record else ""


def _phones(manifest):
    return (
        f"### Android (Kotlin, LiteRT's CompiledModel)\n\n```kotlin\n{phones.kotlin(manifest)}```\n\n"
        f"### iOS (Swift, LiteRT's Interpreter)\n\n```swift\n{phones.swift(manifest)}```\n\n"
        "Written from the manifest, not run on a phone. Whether accelerators other than the CPU keep the bits of the noise is "
        "not known: draw a golden seed first."
    )


def _signature(manifest):
    lines = [
        f"* {side} `{spec['name']}`: {spec['dtype']} `[{', '.join(map(str, spec['shape']))}]`"
        for side in ("inputs", "outputs")
        for spec in manifest["signature"][side]
    ]
    return (
        "\n".join(lines)
        + "\n\nAny two integers make a seed, negative ones too. Row i of every output depends on row i of the seed "
        "alone, so requests can be batched and split at will. `manifest.json` holds golden seeds with what they draw."
        + (f" `label` is the class of each image, below {manifest['num_classes']}." if "num_classes" in manifest else "")
        + "".join(_method(name, record, manifest["formats"]) for name, record in manifest.get("methods", {}).items())
    )


_METHODS = {
    "sequence": "The image on the canvas after each step; the last one is the `mean` of the same seed.",
    "impute": "Fills in the pixels at which `mask` is 0; where it is 1 the image comes back as given. Row i of the outputs "
    "depends on row i of the inputs alone.",
}


def _method(name, record, formats):
    """What the card says of a further signature."""
    lines = [
        f"* {side} `{spec['name']}`: {spec['dtype']} `[{', '.join(map(str, spec['shape']))}]`"
        + {"unit": " in [0, 1]", "binary": ", 0 or 1"}.get(spec.get("values"), "")
        for side in ("inputs", "outputs")
        for spec in record[side]
    ]
    places = ["the signature of this name in SavedModel and TFLite"] if set(formats) - {"onnx"} else []
    places += [f"`{name}.onnx`"] if "onnx" in formats else []
    names = ", ".join(spec["name"] for spec in record["inputs"])
    return (
        f"\n\nBeside it there is `{name}`: {' and '.join(places)}; `load(\".\").{name}({names})` in this project. "
        f"{_METHODS.get(name, '')}\n\n" + "\n".join(lines)
    )


def _limits(manifest):
    methods = manifest.get("methods", {})
    lines = [
        f"`mean` agrees between runtimes within {manifest['tolerance']:g}, not to the last bit.",
        "Draws have the biases of the data that it was trained on, and its figures hold for the data they were measured on.",
        *(["Ancestral sampling only: no conditioning on a given image, no editing."] if "impute" not in methods else []),
    ]
    if manifest["sample"]["values"] == "continuous":
        lines[0] = f"Outputs agree between runtimes within {manifest['tolerance']:g}, not to the last bit."
    else:
        lines.append(
            "A pixel of `sample` may differ between runtimes where its uniform lies within that distance of its threshold."
        )
    return "\n".join(f"* {line}" for line in lines)


def _flat(record, prefix=""):
    for key, value in record.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _table(head, rows):
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines
    )


def _number(value):
    return f"{value:.6g}" if isinstance(value, float) else str(value)
