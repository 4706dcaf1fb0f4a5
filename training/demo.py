"""The main job from end to end: train a VAE on the embedded digits, evaluate it beside two baselines, ship it, check it.

    python -m training.demo

Everything is written into one folder, which replaces that of an earlier demonstration once all has gone well.
"""

import argparse
import contextlib
import os
import shutil
import sys
import time
from pathlib import Path

from training.cli import integer
from training.console import import_tensorflow, table

_MARK = ".demo"  # tells a folder that may be replaced from anything else


def main(arguments=None):
    """Runs the demonstration; returns 0 if all formats draw the same images, else 1."""
    parser = argparse.ArgumentParser(prog="python -m training.demo", description="Train, evaluate, export and verify a VAE.")
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder (default: runs/demo)")
    parser.add_argument("--epochs", type=integer(1), help="fewer than the recipe's, for a quick look")
    parser.add_argument("--num-samples", type=integer(1), default=1000, help="importance samples an image (default: 1000)")
    options = parser.parse_args(arguments)
    if options.out.exists() and not (options.out / _MARK).is_file():
        print(f"{options.out} exists and is not an earlier demonstration; choose another folder with --out", file=sys.stderr)
        return 2
    started = time.monotonic()
    import_tensorflow()
    try:
        with _replacing(options.out) as folder:
            results, report = _run(folder, options)
    except KeyboardInterrupt:
        print(f"interrupted; {options.out} is as it was", file=sys.stderr)
        return 130
    except OSError as error:
        print(f"{options.out} cannot be written: {error}", file=sys.stderr)
        return 2
    print(_figures(results))
    print(f"\nDone in {time.monotonic() - started:.0f} s. Where everything is:")
    print(table({what: options.out / path for what, path in PLACES.items()}))
    return 0 if report.ok else 1


PLACES = {
    "picture": "samples.png",
    "report": "vae/report.html",
    "model": "vae/model.keras",
    "figures": "vae/evaluation.json",
    "SavedModel": "artifact/saved_model",
    "TFLite": "artifact/generator.tflite",
    "ONNX": "artifact/generator.onnx",
    "model card": "artifact/README.md",
    "TensorBoard": "vae/tensorboard",
}


def _run(folder, options):
    from export import load, verify
    from training.evaluate import evaluate
    from training.exporting import export_run
    from training.folder import RunFolder, write_atomically
    from training.pictures import png
    from training.run import train

    results = {}
    for recipe in ("vae", "linear_vae"):
        print(f"Training {recipe} on the embedded digits ...", flush=True)
        trained = train(recipe, folder / recipe, data="digits", epochs=options.epochs, strategy="none", verbose=0)
        results[recipe] = evaluate(folder / recipe, num_samples=options.num_samples, progress=False)
        print(f"  {trained['epochs']} epochs, {trained['seconds']} s", flush=True)

    print("Exporting and verifying SavedModel, TFLite and ONNX ...", flush=True)
    export_run(RunFolder(folder / "vae"), folder / "artifact", ("saved_model", "tflite", "onnx"), name="vae-digits")
    report = verify(folder / "artifact")
    print(report.table())

    seed = [[7, index] for index in range(64)]
    write_atomically(folder / "samples.png", png(load(folder / "artifact", format="onnx").generate(seed)["mean"]))
    return results, report


def _figures(results):
    vae, linear = results["vae"], results["linear_vae"]
    rows = {
        "VAE": vae["figures"]["negative_log_likelihood"],
        "linear VAE (baseline)": linear["figures"]["negative_log_likelihood"],
        "independent pixels (baseline)": vae["baselines"]["independent_pixels"]["negative_log_likelihood"],
    }
    protocol = vae["protocol"]
    own = rows["VAE"]["mean"]
    lines = {}
    for name, row in rows.items():
        better = "" if name == "VAE" else f"   VAE better by {row['mean'] - own:.2f}"
        lines[name] = f"{row['mean']:.2f} +- {row['standard_error']:.2f}{better}"
    return (
        f"\nTest negative log-likelihood, nats an image +- standard error ({protocol['images']} held-out digits, "
        f"binarised by {protocol['binarization']}, K = {protocol['num_samples']}; lower is better)\n{table(lines)}"
    )


@contextlib.contextmanager
def _replacing(path):
    """Gives a new folder beside `path` that takes its place if all goes well."""
    partial, old = path.with_name(f".{path.name}.partial"), path.with_name(f".{path.name}.old")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        (partial / _MARK).touch()
        yield partial
        shutil.rmtree(old, ignore_errors=True)
        if path.exists():
            os.rename(path, old)
        os.rename(partial, path)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
