"""What a shipped sampler costs, for each family and runtime: `python -m benchmarks samplers`.

Networks of the recipes' sizes for MNIST, untrained: what they draw costs the same. Beside each file stands the same decoder
with its noise as an input, so that what the noise of a seed costs can be told from the rest.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SHAPE = (28, 28, 1)
#: Recipe, and settings that differ from it.
SAMPLERS = {
    "VAE": ("vae", {}),
    "belief network": ("reweighted_wake_sleep", {}),
    "GAN": ("gan", {}),
    "DCGAN": ("dcgan", {}),
    "adversarial autoencoder": ("aae", {}),
    "DRAW": ("draw_no_attention", {}),
    "DRAW, soft windows": ("draw", {}),
    "DRAW, hard windows": ("draw_hard", {}),
    "sequential generator": ("sequential_generator", {}),
    "sequential imputer": ("sequential_imputer", {}),
}
FORMATS = ("saved_model", "tflite", "onnx")
SCHEMES = ("float16", "int8")
SEEDS = 256
#: Most that the noise of a seed may cost, times the same decoder with noise as an input; most bytes beside the weights; most
#: bytes of the int8 file, times the float32 one's.
NOISE_LIMIT, OVERHEAD_LIMIT, INT8_LIMIT = 1.3, 64_000, 0.3
_TITLES = {"saved_model": "TensorFlow", "tflite": "LiteRT", "onnx": "ONNX Runtime"}

_COLD = """
import json, sys, time
start = time.perf_counter()
from export import load
load(sys.argv[1], sys.argv[2]).generate(*json.loads(sys.argv[3]))
seconds = time.perf_counter() - start
with open("/proc/self/status") as status:  # getrusage counts what the parent had before this program began
    print(seconds, next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM")))
"""


def run(say=print, only=None):
    """name to what its sampler costs in each format, and what was measured on: JSON values."""
    from benchmarks import machine

    found = {}
    for name, (recipe, overrides) in SAMPLERS.items():
        if not only or name in only:
            found[name] = measure(recipe, overrides)
            costs = ", ".join(f"{format} {figures['ms_one']:.2f} ms" for format, figures in found[name]["formats"].items())
            say(f"{name}: {costs}")
    return {"machine": machine.description(), "seeds": SEEDS, "samplers": found}


def renewed(results, old):
    """`results` of some samplers put in the place of those in `old`; what they were measured on is told of the latest."""
    return {**results, "samplers": {**old["samplers"], **results["samplers"]}}


def measure(recipe_name, overrides):
    """Exports the recipe's model and times each of its files."""
    from export import export_generator, load, verify
    from export.signature import example_inputs

    model = _model(recipe_name, overrides)
    classes = getattr(model, "num_classes", 0)
    with tempfile.TemporaryDirectory() as folder:
        artifact = export_generator(model, Path(folder) / "artifact")
        report = verify(artifact.path, num_seeds=SEEDS)
        agree = [each for check in report.checks if check.name == "formats agree" for each in check.differences]
        continuous = [each.largest for each in agree if each.differing is None]
        fed = _noise_as_input(model, Path(folder))
        formats = {}
        for format in FORMATS:
            generator, record = load(artifact.path, format), artifact.manifest["formats"][format]
            inputs = example_inputs(_seeds(SEEDS), classes)
            draw = _drawing(generator.generate, *inputs)
            one, many = _in_turn([(draw, 1), (fed[format], 1)], 40), _in_turn([(draw, SEEDS), (fed[format], SEEDS)], 5)
            cold, memory = _cold_start(artifact.path, format, [part[:1].tolist() for part in inputs])
            own = {name: size["bytes"] for name, size in record["files"].items()}
            formats[format] = {
                "bytes": own.get(record["file"], record["bytes"]),
                "ms_one": 1e3 * one[0],
                "images_a_second": SEEDS / many[0],
                "noise_one": one[0] / one[1],
                "noise_many": many[0] / many[1],
                "cold_seconds": cold,
                "peak_bytes": memory,
            }
        for scheme in SCHEMES:
            smaller = export_generator(model, Path(folder) / scheme, formats="tflite", quantize=scheme)
            formats["tflite"][f"{scheme}_bytes"] = smaller.manifest["formats"]["tflite"]["bytes"]
    return {
        "weights_bytes": int(sum(variable.numpy().nbytes for variable in model.generator.variables)),
        "verified": report.ok,
        "largest_difference": max(continuous),
        "formats": formats,
    }


def _model(recipe_name, overrides):
    import keras

    from training import builders
    from training.recipes import get_recipe
    from training.settings import resolve

    keras.utils.set_random_seed(0)
    recipe = get_recipe(recipe_name)
    settings = resolve(recipe, "mnist", "grey", overrides)
    return getattr(builders, recipe.family)(settings, SHAPE, 0, 1)


def _seeds(count):
    return np.random.default_rng(0).integers(-(2**31), 2**31, (count, 2)).astype(np.int32)


def _drawing(function, *inputs):
    """A function of a number of rows, which draws so many."""
    return lambda rows: function(*(part[:rows] for part in inputs))


def _in_turn(contenders, repeats):
    """Median seconds of each (function, rows), one after the other in turn."""
    seconds = [[] for _ in contenders]
    for draw, rows in contenders:
        draw(rows)
    for _ in range(repeats):
        for own, (draw, rows) in zip(seconds, contenders, strict=True):
            start = time.perf_counter()
            draw(rows)
            own.append(time.perf_counter() - start)
    return [statistics.median(own) for own in seconds]


def _cold_start(path, format, inputs):
    """Seconds from a fresh interpreter's first import to its first image, and its largest memory in bytes."""
    command = [sys.executable, "-c", _COLD, str(path), format, json.dumps(inputs)]
    root = Path(__file__).parents[1]
    output = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    seconds, memory = output.split()[-2:]
    return float(seconds), int(memory)


def _noise_as_input(model, folder):
    """The decoder with the uniforms and normals of a draw as its input, in each format: format to a function of rows."""
    from export import onnx, saved_model, tflite
    from export.signature import Signature, TensorSpec

    fed = _Fed(model)
    size, outputs = fed.look(_seeds(1))
    labels = (TensorSpec("label", "int32", (), "integer"),) if fed.num_classes else ()
    signature = Signature((*labels, TensorSpec("noise", "float32", (size,), "unit")), outputs)
    inputs = [np.arange(SEEDS, dtype=np.int32) % fed.num_classes] if labels else []
    inputs.append(np.random.default_rng(0).uniform(0.1, 0.9, (SEEDS, size)).astype(np.float32))
    saved_model.write(fed, signature, folder / "fed")
    tflite.write(fed, signature, folder / "fed.tflite")
    onnx.write(fed, signature, folder / "fed.onnx")
    return {
        "saved_model": _drawing(_tensorflow(folder / "fed", signature), *inputs),
        "tflite": _drawing(_litert(folder / "fed.tflite", signature), *inputs),
        "onnx": _drawing(_onnx_runtime(folder / "fed.onnx", signature), *inputs),
    }


class _Fed:
    """A model whose `generate` takes its noise, all draws side by side, in the place of a seed."""

    def __init__(self, model):
        self.model, self.generator, self.num_classes = model, model.generator, getattr(model, "num_classes", 0)

    def look(self, seed):
        """How many numbers a row draws, and what is returned."""
        from export.signature import TensorSpec
        from keras_gen.noise import CounterNoise

        class Counted(CounterNoise):
            size = 0

            def uniform(self, event_shape):
                self.size += int(np.prod(event_shape))
                return super().uniform(event_shape)

            def normal(self, event_shape):
                self.size += int(np.prod(event_shape))
                return super().normal(event_shape)

        noise = Counted(seed)
        outputs = self.generator.generate(noise, *self._one_hot(np.zeros(1, np.int32)))
        return noise.size, tuple(TensorSpec(name, "float32", tuple(value.shape[1:])) for name, value in outputs.items())

    def generate(self, *inputs):
        import tensorflow as tf

        from keras_gen.noise import Noise

        *label, numbers = inputs

        class Given(Noise):
            place = 0

            def uniform(self, event_shape):
                size = int(np.prod(event_shape))
                self.place += size
                return tf.reshape(numbers[:, self.place - size : self.place], (-1, *event_shape))

            normal = uniform

        return self.generator.generate(Given((tf.shape(numbers)[0],)), *self._one_hot(*label))

    def _one_hot(self, *label):
        return (self.model.one_hot(label[0]),) if self.num_classes else ()


# Each runtime as `export.load` uses it, without its checks of seeds.


def _tensorflow(path, signature):
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    function = loaded.signatures["serving_default"]

    def run(*inputs, _owner=loaded):
        named = {spec.name: tf.constant(value) for spec, value in zip(signature.inputs, inputs, strict=True)}
        return {name: value.numpy() for name, value in function(**named).items()}

    return run


def _litert(path, signature):
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(str(path)).get_signature_runner("serving_default")
    return lambda *inputs: runner(**{spec.name: value for spec, value in zip(signature.inputs, inputs, strict=True)})


def _onnx_runtime(path, signature):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda *inputs: session.run(None, {spec.name: value for spec, value in zip(signature.inputs, inputs, strict=True)})


def markdown(results):
    """The table of the README."""
    machine = results["machine"]
    lines = [
        f"Measured {machine['date']} on {machine['cores']} cores of {machine['cpu']}, untrained networks of the recipes' sizes "
        f"for 28x28; {results['seeds']} seeds compared between runtimes. Noise: how many times as long as the decoder with "
        f"its noise as an input, at one image and at {results['seeds']} (limit {NOISE_LIMIT}). Limit of a file beside its "
        f"weights: {OVERHEAD_LIMIT // 1000} kB. Smaller: the float16 and the int8 file in bytes of the float32 one (limit of "
        f"int8: {INT8_LIMIT:.0%}).",
        "",
        "| sampler | weights kB | largest difference | runtime | file kB | beside weights kB | smaller | ms, one image "
        "| images a second | noise | first image s | peak MB |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, sampler in results["samplers"].items():
        for format, own in sampler["formats"].items():
            weights = sampler["weights_bytes"]
            noise = f"{own['noise_one']:.2f}, {own['noise_many']:.2f}"
            shares = [own[f"{scheme}_bytes"] / own["bytes"] for scheme in SCHEMES if f"{scheme}_bytes" in own]
            smaller = ", ".join(f"{share:.1%}" for share in shares)
            lines.append(
                f"| {name} | {weights / 1000:.0f} | {sampler['largest_difference']:.1e} | {_TITLES[format]} | "
                f"{own['bytes'] / 1000:.0f} | {(own['bytes'] - weights) / 1000:.0f} | {smaller} | {own['ms_one']:.2f} | "
                f"{own['images_a_second']:.0f} | {noise} | {own['cold_seconds']:.2f} | {own['peak_bytes'] / 2**20:.0f} |"
            )
    return "\n".join(lines) + "\n"
