"""The command `keras-gen`. Heavy imports happen inside the commands, so that drawing from an exported file starts at once.

Exit status: 0 done; 1 a check failed; 2 bad usage or bad input, told in one line on stderr; 130 interrupted by Ctrl-C.
"""

import argparse
import contextlib
import json
import math
import os
import sys
from pathlib import Path

from training import recipes
from training.console import import_tensorflow, table, text
from training.settings import parse_overrides
from training.units import unit_of

_PROGRAM = "keras-gen"
_AT_ONCE = 500  # images that are drawn at once: a network's maps take many times the memory of its images


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise ValueError(f"{message} ({self.prog} --help shows what is allowed)")


class _Output:
    """Standard output whose reader may go away: the command goes on, to its end and its exit status, and is heard no more."""

    def __init__(self, stream):
        self._stream = stream

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def write(self, text):
        self._unless_gone(self._stream.write, text)
        return len(text)

    def flush(self):
        self._unless_gone(self._stream.flush)

    def _unless_gone(self, function, *arguments):
        try:
            function(*arguments)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())


def main(arguments=None):
    """Runs one command; returns its exit status."""
    with contextlib.redirect_stdout(_Output(sys.stdout)):
        return _main(arguments)


def _main(arguments):
    debug = False
    try:
        options = _parser().parse_args(arguments)
        debug = options.debug
        result, status = options.command(options)
        if options.json:
            print(json.dumps(result), flush=True)
        return status
    except KeyboardInterrupt as interrupt:
        return _fail(str(interrupt) or "interrupted", 130)
    except Exception as error:
        if debug:
            raise
        expected = isinstance(error, ValueError | OSError) or type(error).__module__.startswith("export.")
        name = "" if expected else f"{type(error).__name__}: "
        hint = "" if expected else " (--debug shows where)"
        return _fail(f"{name}{error}{hint}", 2)


def _fail(message, status):
    print(f"{_PROGRAM}: {' '.join(message.split())}", file=sys.stderr, flush=True)
    return status


def _parser():
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print the result as one JSON object, the last line of stdout")
    common.add_argument("--debug", action="store_true", help="show tracebacks")
    parser = _Parser(prog=_PROGRAM, description="Train, evaluate, sample and ship latent-variable image generators.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")

    def command(name, function, help):
        added = commands.add_parser(name, parents=[common], help=help, description=help[0].upper() + help[1:] + ".")
        added.set_defaults(command=function)
        return added

    command("list", _list, "list the recipes")

    train = command("train", _train, "train a recipe and record the run in a folder")
    train.add_argument("recipe", metavar="RECIPE", help="name of a recipe; see keras-gen list")
    data = "digits (default), a TensorFlow Datasets name, folder:PATH, npz:PATH; translated: or cluttered: before any of these"
    train.add_argument("--data", help=data)
    train.add_argument("--out", type=Path, help="folder of the run (default: runs/RECIPE-DATA)")
    train.add_argument("--epochs", type=integer(1), help="how often each image is seen (default: the recipe's)")
    train.add_argument("--seed", type=integer(0), help="of weights, data order and noise (default: 0)")
    train.add_argument("--data-dir", help="where TensorFlow Datasets finds prepared data")
    train.add_argument("--image-size", type=_image_size, metavar="N or HxW", help="resize the images of a folder or of TFDS")
    train.add_argument("--download", action="store_true", help="let TensorFlow Datasets download what is not prepared")
    train.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting; may be repeated")
    train.add_argument("--resume", action="store_true", help="continue the run in --out from its last whole epoch")
    train.add_argument("--strategy", help="auto (default), none, mirrored, multi_worker or tpu")

    evaluate = command("evaluate", _evaluate, "estimate the log-likelihood of a run's model")
    evaluate.add_argument("run", metavar="RUN", type=Path)
    evaluate.add_argument("--split", default="test", choices=("train", "validation", "test"))
    evaluate.add_argument("--num-samples", type=integer(1), default=1000, help="importance samples an image (default: 1000)")
    evaluate.add_argument("--num-images", type=integer(1), help="only the first so many images (default: all)")
    evaluate.add_argument("--batch-size", type=integer(1), default=100, help="images at a time (default: 100)")
    evaluate.add_argument("--seed", type=integer(0), default=0, help="of the importance samples (default: 0)")
    evaluate.add_argument("--data-dir", help="where TensorFlow Datasets finds prepared data")

    sample = command("sample", _sample, "draw images: the same ones for the same seed, whatever draws them")
    sample.add_argument("path", metavar="PATH", type=Path, help="a run, an artifact folder, a .tflite or a .onnx")
    sample.add_argument("--num", type=integer(1), default=64, help="how many (default: 64)")
    sample.add_argument("--seed", type=integer(-(2**31)), default=0, help="image i is of seed row (SEED, i) (default: 0)")
    sample.add_argument("--label", type=integer(0), help="class of all images, for a conditional model (default: in turn)")
    sample.add_argument("--out", type=Path, default=Path("samples.png"), help="PNG to write (default: samples.png)")
    sample.add_argument("--film", type=Path, help="also write how the images come about: a .gif, or a .png that moves")
    sample.add_argument("--output", default="sample", choices=("sample", "mean"), help="a draw, or the last conditional's mean")
    sample.add_argument("--format", help="of an artifact folder: onnx, tflite or saved_model (default: the first there)")

    export = command("export", _export, "write a run's generator as SavedModel, TFLite and ONNX")
    export.add_argument("run", metavar="RUN", type=Path)
    export.add_argument("--out", type=Path, help="folder of the artifact (default: saved_models/NAME OF RUN)")
    export.add_argument("--formats", default="saved_model,tflite,onnx", help="separated by commas (default: all three)")
    export.add_argument("--data-licence", metavar="TEXT", help="licence of the training data, for the model card")
    export.add_argument("--model-version", type=integer(1), default=1, help="written into the files (default: 1)")
    export.add_argument("--quantize", choices=("float16", "int8"), help="shrink the weights of the .tflite")
    export.add_argument("--web", action="store_true", help="add web/, a page that draws the images in a browser")

    verify = command("verify", _verify, "check that an artifact is intact and that its formats draw the same images")
    verify.add_argument("artifact", metavar="ARTIFACT", type=Path)
    verify.add_argument("--num-seeds", type=integer(1), default=256, help="seeds to compare (default: 256)")
    verify.add_argument("--sha256", type=_sha256, metavar="HEX", help="the manifest_sha256 that the artifact must have")
    return parser


def integer(low, high=2**31 - 1):
    def parse(text):
        try:
            number = int(text)
        except ValueError:
            number = None
        if number is None or not low <= number <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not an integer from {low} to {high}")
        return number

    return parse


def _sha256(text):
    if len(text) != 64 or set(text.lower()) - set("0123456789abcdef"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a sha256: 64 hexadecimal digits")
    return text.lower()


def _image_size(text):
    try:
        sizes = [int(part) for part in text.lower().split("x")]
    except ValueError:
        sizes = []
    if len(sizes) not in (1, 2) or min(sizes) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a size such as 32 nor height x width such as 32x24")
    return (sizes[0], sizes[-1])


def _list(options):
    rows = [
        {
            "name": recipe.name,
            "summary": recipe.summary,
            "published": recipe.published,
            "reference": recipe.reference,
            "settings": recipe.settings,
        }
        for recipe in recipes.RECIPES.values()
    ]
    if not options.json:
        for row in rows:
            print(f"{row['name']}\n    {row['summary']}")
            if row["published"]:
                print(f"    published: {row['published']}")
            print(f"    {row['reference']}")
            print("    " + ", ".join(f"{key}={text(value)}" for key, value in row["settings"].items()) + "\n")
    return {"recipes": rows}, 0


def _train(options):
    # What can be refused without TensorFlow is refused before it is imported.
    recipe = recipes.get_recipe(options.recipe)
    parse_overrides(recipe, options.set, options.epochs)
    out = options.out or Path("runs") / f"{options.recipe}-{(options.data or 'digits').replace(':', '-').replace('/', '-')}"
    from training.folder import RunFolder

    folder = RunFolder(out)
    if not (options.resume and folder.is_run):
        folder.check_free()
        if options.resume:
            print(f"{out} holds no run to resume: one begins there, as the other arguments say", file=sys.stderr, flush=True)
    import_tensorflow(recipes.OPERATOR_THREADS["train"].get(recipe.family))
    from training.run import train

    verbose = 0 if options.json else 1 if sys.stdout.isatty() else 2
    result = train(
        options.recipe,
        out,
        data=options.data,
        epochs=options.epochs,
        seed=options.seed,
        overrides=options.set,
        data_dir=options.data_dir,
        image_size=options.image_size,
        download=options.download,
        resume=options.resume,
        strategy=options.strategy,
        verbose=verbose,
    )
    if not options.json:
        already = result["resumed_from"] >= result["epochs"]
        print(f"\n{result['epochs']} epochs were done already" if already else f"\ntrained in {result['seconds']} s")
        print(table({**result["metrics"], "model": f"{out}/model.keras", "report": f"{out}/report.html"}))
    return result, 0


def _evaluate(options):
    from training.folder import RunFolder

    import_tensorflow(recipes.OPERATOR_THREADS["evaluate"].get(RunFolder(options.run).read_config()["family"]))
    from training.evaluate import evaluate

    result = evaluate(
        options.run,
        split=options.split,
        num_samples=options.num_samples,
        num_images=options.num_images,
        batch_size=options.batch_size,
        seed=options.seed,
        data_dir=options.data_dir,
        progress=not options.json,
    )
    if not options.json:
        protocol = result["protocol"]
        figures = {name: _figure(name, figure) for name, figure in result["figures"].items()}
        for name, values in result["baselines"].items():
            figures.update({f"{name}, {key}": _figure(key, figure) for key, figure in values.items()})
        images = f"{protocol['images']} {protocol['split']} images of {protocol['data']}"
        if "binarization" in protocol:
            images += f", binarisation {protocol['binarization']}, K = {protocol['num_samples']}"
        print("\n".join([images, *protocol.get("warnings", ())]))
        print(table(figures))
        print(f"written to {options.run}/evaluation.json")
    return result, 0


def _sample(options):
    import numpy as np

    from training.folder import write_atomically
    from training.pictures import png

    for name, path in (("--out", options.out), ("--film", options.film)):
        if path is not None and not path.parent.is_dir():
            raise ValueError(f"{name} {path}: there is no folder {path.parent}")
    if options.out.suffix.lower() not in (".png", ""):
        raise ValueError(f"--out {options.out}: the name must end in .png, the format that keeps every pixel as drawn")
    if options.out.is_dir():
        raise ValueError(f"--out {options.out} is a folder; name the file, {options.out / 'samples.png'} say")
    if options.film is not None and options.film == options.out:
        raise ValueError(f"--out and --film are both {options.out}: a picture and a film are two files")
    is_run = options.path.is_dir() and (options.path / "config.json").is_file()
    if options.format is not None and (is_run or not options.path.is_dir()):
        raise ValueError(f"--format {options.format}: {options.path} is no artifact folder, which alone has several")
    if is_run:
        generator, source = _load_run(options.path), "keras"
    else:
        if options.format == "saved_model":
            import_tensorflow()
        from export.artifact import load

        generator = load(options.path, format=options.format)
        source = generator.format
    takes_label = _check_request(options, generator)
    seed = np.stack([np.full(options.num, options.seed), np.arange(options.num)], axis=1).astype(np.int32)
    label = {}
    if takes_label:
        if options.label is None and not generator.num_classes:
            raise ValueError(f"{options.path} draws by class and does not say how many there are: choose one by --label")
        given = np.arange(options.num) % generator.num_classes if options.label is None else np.full(options.num, options.label)
        label = {"label": given.astype(np.int32)}
    images = []
    for start in range(0, options.num, _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        drawn = generator.generate(seed[some], **{name: given[some] for name, given in label.items()})
        if options.output not in drawn:
            raise ValueError(f"--output {options.output}: {options.path} draws only {', '.join(drawn)}")
        images.append(np.asarray(drawn[options.output]))
    film = _film(options, generator, seed) if options.film else None
    write_atomically(options.out, png(np.concatenate(images)))
    if film:
        write_atomically(options.film, film)
    if not options.json:
        print(f"{options.num} images written to {options.out}" + f", their film to {options.film}" * bool(film))
    result = {"out": str(options.out), "num": options.num, "seed": options.seed, "output": options.output, "runtime": source}
    return {**result, "film": str(options.film)} if film else result, 0


def _check_request(options, generator):
    """Whether the generator draws by label; ValueError for a label that it does not take, or for more images than memory."""
    if hasattr(generator, "signature"):  # it was read from a file
        takes_label = "label" in {spec.name for spec in generator.signature.inputs}
        shape = generator.signature.outputs[0].row_shape
    else:
        takes_label, shape = bool(getattr(generator, "num_classes", 0)), generator.data_shape
    if options.label is not None and not takes_label:
        raise ValueError(f"--label {options.label}: {options.path} draws images without classes; leave the option out")
    needed, there = 4 * options.num * math.prod(shape), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        raise ValueError(
            f"--num {options.num}: these images alone need {needed / 1e9:,.1f} GB, this machine has {there / 1e9:,.1f} GB of "
            "memory; draw fewer, with several --seed"
        )
    return takes_label


_FILMS = {".gif": "GIF", ".png": "PNG", ".apng": "PNG"}


def _film(options, generator, seed):
    """The bytes of the film that --film names, of a run or of an artifact; the windows are drawn where it can tell them."""
    import numpy as np

    from training.pictures import film

    if options.film.suffix.lower() not in _FILMS:
        raise ValueError(f"--film {options.film}: the name must end in {', '.join(_FILMS)}")
    sequence = getattr(generator, "generate_sequence", None) or getattr(generator, "sequence", None)
    if sequence is None:
        raise ValueError(
            f"--film {options.film}: {options.path} has no sequence of steps to show; a film is of a run whose model draws in "
            "several steps, or of an artifact that ships its sequence"
        )
    windows = generator.generate_windows(seed) if hasattr(generator, "generate_windows") else None
    frames = sequence(seed)
    frames = frames["sequence"] if isinstance(frames, dict) else frames
    return film(np.asarray(frames), None if windows is None else np.asarray(windows), _FILMS[options.film.suffix.lower()])


def _load_run(path):
    from training.folder import RunFolder

    file = RunFolder(path).finished_model()
    import_tensorflow()
    from training.exporting import check_draws
    from training.models import load_model

    model = load_model(file)
    check_draws(model, path)
    return model


def _export(options):
    from training.folder import RunFolder

    folder = RunFolder(options.run)
    folder.finished_model()
    out = options.out or Path("saved_models") / options.run.resolve().name
    if out.exists():
        raise ValueError(f"output folder {out} exists; choose another with --out")
    from export.exporter import check_formats

    formats = check_formats([name.strip() for name in options.formats.split(",")], options.quantize, options.web)
    import_tensorflow()
    from training.exporting import export_run

    artifact = export_run(
        *(folder, out, formats, options.quantize),
        web=options.web,
        licence=options.data_licence,
        version=options.model_version,
    )
    formats = {name: record["bytes"] for name, record in artifact.manifest["formats"].items()}
    if not options.json:
        print(table({name: f"{size:,} bytes" for name, size in formats.items()}))
        print(f"written to {out}; every format was run in its own runtime and draws the same images")
        if options.web:
            print(f"the page: python -m http.server --directory {out}/web")
    return {"artifact": str(out), "formats": formats, **({"page": f"{out}/web/index.html"} if options.web else {})}, 0


def _verify(options):
    if (options.artifact / "saved_model").is_dir():
        with contextlib.suppress(ImportError):  # Then the report says so.
            import_tensorflow()
    from export import verify

    report = verify(options.artifact, num_seeds=options.num_seeds, sha256=options.sha256)
    if not options.json:
        missing = f"; not tried: {', '.join(report.not_tried)}" if report.not_tried else ""
        print(report.table())
        print(("all checks passed" if report.ok else "some checks FAILED") + missing)
    return report.to_dict(), 0 if report.ok else 1


def _figure(name, figure):
    error = figure.get("standard_error")
    return f"{figure['mean']:.3f}" + ("" if error is None else f" +- {error:.3f}") + f" {unit_of(name)}".rstrip()
