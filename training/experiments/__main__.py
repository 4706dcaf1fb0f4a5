"""`python -m training.experiments NAME ...`: runs experiments and writes their figures and pictures to benchmarks/."""

import argparse
import importlib
import json
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "benchmarks"
NAMES = ("sharpness", "ring", "aggregate_posterior")


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m training.experiments", description=__doc__)
    parser.add_argument("names", nargs="+", metavar="NAME", choices=NAMES, help=", ".join(NAMES))
    parser.add_argument("--data-dir", help="where TensorFlow Datasets finds prepared data (aggregate_posterior)")
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder of the files written (default: benchmarks)")
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)  # before what takes minutes
    for name in options.names:
        experiment = importlib.import_module(f"training.experiments.{name}")
        given = {"data_dir": options.data_dir} if name == "aggregate_posterior" else {}
        results, files = experiment.run(say=lambda line: print(line, flush=True), **given)
        (options.output / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n")
        for file, content in files.items():
            (options.output / file).write_bytes(content)
        print(experiment.markdown(results))


if __name__ == "__main__":
    main()
