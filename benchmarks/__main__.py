"""`python -m benchmarks [run|table|check|orderings|samplers]`: measure training, print the table, check the ports, compare
objectives, or measure shipped samplers."""

import argparse
import json
import os
import sys
import tempfile

FOLDER = os.path.dirname(os.path.abspath(__file__))


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("command", nargs="?", choices=("run", "table", "check", "orderings", "samplers"), default="run")
    full = "all cases and contenders, five repeats, the races to a bound, and the curves (about 30 minutes)"
    quick = "four cases, those contenders that have a limit, three shorter repeats (under 5 minutes): the default"
    parser.add_argument("--full", action="store_true", help=full)
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--only", nargs="+", metavar="CASE", help="these cases alone; results of the others stay as they are")
    parser.add_argument("--output", default=FOLDER, help="folder of results.json and results.svg")
    arguments = parser.parse_args()
    if arguments.full and arguments.quick:
        parser.error("--full and --quick exclude each other.")
    if arguments.command not in ("table", "check"):
        os.makedirs(arguments.output, exist_ok=True)  # before what takes long, so that nothing measured is lost
    path = os.path.join(arguments.output, "results.json")
    try:
        _check(arguments, path)
    except ValueError as error:
        parser.error(str(error))
    if arguments.command == "table":
        show(path)
    elif arguments.command == "check":
        check(arguments.only)
    elif arguments.command == "orderings":
        from benchmarks import orderings

        results = orderings.run(lambda line: print(line, flush=True))
        _write(os.path.join(arguments.output, "orderings.json"), results)
        print(orderings.markdown(results))
    elif arguments.command == "samplers":
        from benchmarks import samplers

        path = os.path.join(arguments.output, "samplers.json")
        results = samplers.run(lambda line: print(line, flush=True), arguments.only)
        if arguments.only and os.path.exists(path):
            with open(path) as file:
                results = samplers.renewed(results, json.load(file))
        _write(path, results)
        print(samplers.markdown(results))
    else:
        from benchmarks import picture
        from benchmarks.run import renewed, run
        from benchmarks.table import failures

        results = run(arguments.full, arguments.only, say=lambda line: print(line, flush=True))
        failed = failures(results)
        if arguments.only and os.path.exists(path):
            with open(path) as file:
                results = renewed(results, json.load(file))
        _write(path, results)
        with open(os.path.join(arguments.output, "results.svg"), "w") as file:
            file.write(picture.svg(results))
        show(path)
        if failed:
            sys.exit("\n".join(failed))


def _check(arguments, path):
    """Raises a ValueError where `--only` names nothing that the command knows, or its results could not be put in `path`."""
    if not arguments.only:
        return
    if arguments.command in ("table", "orderings"):
        raise ValueError(f"{arguments.command} takes no --only")
    if arguments.command == "samplers":
        from benchmarks.samplers import SAMPLERS as known
    else:
        from benchmarks.registry import cases

        known = cases()
    unknown = [name for name in arguments.only if name not in known]
    if unknown:
        raise ValueError(f"--only {' '.join(unknown)}: allowed are {', '.join(known)}")
    if arguments.command == "run" and os.path.exists(path):
        from benchmarks.run import check_mode

        with open(path) as file:
            check_mode(json.load(file), "full" if arguments.full else "quick")


def _write(path, results):
    with open(path, "w") as file:
        json.dump(results, file, indent=1)
        file.write("\n")


def show(path):
    from benchmarks.table import markdown

    with open(path) as file:
        print(markdown(json.load(file)))


def check(only=None):
    """Every port of every case against our model; prints the relative errors, raises where a port is wrong or does not run."""
    from benchmarks.registry import cases
    from benchmarks.run import Processes, start

    for name, case in cases().items():
        if not only or name in only:
            with tempfile.TemporaryDirectory() as folder, Processes() as processes:
                figures = start(case, 1, os.path.join(folder, "reference.npz"), processes, case.contenders)
            for peer, own in figures.items():
                if "error" in own:
                    raise RuntimeError(f"{name}, {peer}: {own['error']}")
                print(name, peer, own.get("port_errors", ""), flush=True)


if __name__ == "__main__":
    main()
