"""Measures: every case, its contenders in turn (A B C A B C ...), each in its own idle-until-asked process."""

import os
import statistics
import sys
import tempfile
import time

from benchmarks.machine import now
from benchmarks.processes import THREADS, Failure, Process
from benchmarks.registry import cases
from benchmarks.table import measured

#: Largest relative errors of a port's loss and of its gradient (over the gradient's largest element), float32.
PORT_TOLERANCE = {"loss": 1e-5, "gradient": 1e-4}

#: Repeats of a contender that is far behind; of the others there are more.
FEW = 2

#: Keras's dtype policies that are compared.
PRECISIONS = ("float32", "mixed_bfloat16")


class WrongPort(AssertionError):
    """A port does not compute what our model computes: its times would mean nothing."""


def run(full=False, only=None, say=print):
    """All measurements: JSON values.

    Args:
        full: all contenders, five repeats of a case's `steps`, the races to a bound and the curves; else the contenders that a
            limit needs, and three shorter repeats.
        only: names of cases; None for all.
        say: takes a line of progress.
    """
    started, tell = time.monotonic(), say

    def say(line):
        tell(f"{time.monotonic() - started:5.0f} s  {line}")

    results = {"mode": "full" if full else "quick", "threads": THREADS}
    with opened(Process()) as process:
        results["machine"] = process.ask("call", function="benchmarks.machine:description")
        results["machine"]["peaks"] = process.ask("call", function="benchmarks.machine:peaks")
    results["cases"], results["measured"] = {}, {}
    for name, case in cases().items():
        if name in only if only else full or case.quick:
            results["cases"][name] = measure(case, full, say)
            results["measured"][name] = {"date": now(), "peaks": results["machine"]["peaks"]}
    results["imports"] = imports(4 if full else 2)
    say("imports")
    if full:
        results["curves"] = curves(only, say)
        results["precision"] = precision(only, say)
    if not only:
        results["minutes"] = (time.monotonic() - started) / 60
    return results


def check_mode(old, mode):
    """Raises a ValueError unless results of `mode` can be put beside those in `old`."""
    if old["mode"] != mode:
        raise ValueError(f"the results there are of {old['mode']} mode, these of {mode}: choose another --output")


def renewed(results, old):
    """`results` of some cases put in the place of those in `old`, of the same mode; the other cases keep theirs, and the date
    and the machine's peaks at which they were measured."""
    check_mode(old, results["mode"])
    old = {**old, "measured": measured(old)}
    old.pop("minutes", None)
    merged = {**old, **results}
    for name in ("cases", "measured", "precision"):
        if name in old:
            merged[name] = {**old[name], **results.get(name, {})}
    if "curves" in old:
        kept = [curve for curve in old["curves"] if curve["case"] not in results["cases"]]
        merged["curves"] = [*kept, *results.get("curves", [])]
    return merged


def measure(case, full=False, say=print):
    """One case: name of contender to its figures, or to {"error": why there are none}."""
    steps = case.epoch_steps(full)
    with tempfile.TemporaryDirectory() as folder, Processes() as processes:
        figures = start(case, steps, os.path.join(folder, "reference.npz"), processes, case.measured(full))
        say(f"{case.name}: all ports are right")
        for repeat in range(5 if full else 3):
            for name, process in list(processes.items()):
                with figures.watch(name, processes):
                    if repeat < FEW or not _far_behind(figures[name]["ms"], figures["keras_gen"]["ms"]):
                        seconds = process.ask("train", epochs=1)["seconds"]
                        figures[name]["ms"] += [1e3 * each / steps for each in seconds]
        for name, process in list(processes.items()):
            figures[name].update(spread(figures[name]["ms"]))
            figures[name]["first"] = max(0.0, figures[name]["first"] - 1e-3 * steps * figures[name]["median"])
            if full and case.target is not None and not name.startswith("products"):
                with figures.watch(name, processes):
                    figures[name]["bound"] = process.ask("time_to_bound", target=case.target, most_epochs=20)
            figures[name]["memory"] = process.ask("peak_memory")["bytes"]
            say(f"{case.name} {name}: {figures[name]['median']:.3f} ms a step")
        figures["counts"] = processes["keras_gen"].ask("counts", settings=case.settings)
    return dict(figures)


def _far_behind(ms, ours):
    """Whether further repeats would tell nothing: each step so far took five times ours or more."""
    return min(ms) >= 5 * max(ours)


def start(case, steps, reference, processes, names):
    """Starts the contenders of these names into `processes`, times their first epochs and checks every port against our model.

    Raises:
        WrongPort: a port whose loss or gradient is not ours.
    """
    figures = _Figures()
    for name in names:
        figures[name], processes[name] = {"ms": []}, Process()
        processes[name].send("load", contender=case.contenders[name])
    _receive(figures, processes, names)
    ours, build = processes["keras_gen"], {"settings": case.settings, "steps": steps, "reference": reference}
    with figures.watch("keras_gen", processes):
        ours.ask("build", **build)
        figures["keras_gen"]["first"] = ours.ask("first")["seconds"]
        ours.ask("write_reference", reference=reference)
    others = [name for name in processes if name != "keras_gen"]
    for name in others:  # not timed, so all at once: they start from the weights that ours has just written
        processes[name].send("build", **build)
    _receive(figures, processes, others)
    for name in others:
        if name in processes:
            with figures.watch(name, processes):
                figures[name]["first"] = processes[name].ask("first")["seconds"]
                if not name.startswith("products"):
                    figures[name]["port_errors"] = check(case, name, processes[name], ours, reference)
    return figures


def _receive(figures, processes, names):
    """Waits for the answers of these contenders."""
    for name in names:
        with figures.watch(name, processes):
            processes[name].receive()


def check(case, name, port, ours, reference):
    """The relative errors of a port.

    A unit of ReLU or maxout within rounding of its kink may fall to one side here and to the other there, which changes the
    gradient by a hundredth. That happens at one batch in three of a convolutional model, so a port that fails is asked again
    at other batches; a port that computes something else fails at them all.

    Raises:
        WrongPort: at each of eight batches its loss or gradient is not ours.
    """
    for batch in range(8):
        path = reference
        if batch:
            path = f"{os.path.splitext(reference)[0]}{batch}.npz"
            ours.ask("write_reference", reference=path, batch=batch)
        errors = port.ask("check", reference=path)
        if all(errors[what] <= limit for what, limit in PORT_TOLERANCE.items()):
            return errors
    raise WrongPort(f"{case.name}, {name}: relative errors {errors}, at most {PORT_TOLERANCE} are allowed.")


def imports(repeats):
    """Seconds to import TensorFlow with TensorFlow Probability, and with keras_gen after them, in fresh processes.

    What keras_gen adds is timed in the same process: between two of them TensorFlow's own import differs by more than that.
    """
    codes = "import tensorflow, tensorflow_probability", "import keras_gen"
    seconds = []
    for _ in range(repeats):
        with opened(Process()) as process:
            seconds.append(
                [process.ask("call", function="benchmarks.machine:import_seconds", code=code)["seconds"] for code in codes]
            )
    before, more = map(spread, zip(*seconds, strict=True))
    return {"keras_gen": {name: before[name] + more[name] for name in more}, "tensorflow + tensorflow_probability": before}


def curves(only=None, say=print):
    """Our step time, and the peak memory of its process, against each setting of the cases' `scaling`: a list of
    {case, setting, values, ms, bytes}.

    The values take turns, as contenders do: a machine that is slower for a while is so for all of them.
    """
    drawn = []
    for case in cases().values():
        for setting, values in case.scaling.items() if not only or case.name in only else ():
            steps, seconds = min(50, case.epoch_steps(full=False)), [[] for _ in values]
            with tempfile.TemporaryDirectory() as folder, Processes() as processes:
                for place in range(len(values)):
                    processes[place] = Process()
                    processes[place].send("load", contender=case.contenders["keras_gen"])
                    settings = {**case.settings, setting: values[place]}
                    processes[place].send("build", settings=settings, steps=steps, reference=os.path.join(folder, "none"))
                    processes[place].send("first")
                for process in processes.values():  # nothing of this is timed: all start at once
                    for _ in ("load", "build", "first"):
                        process.receive()
                for _ in range(3):
                    for place, process in processes.items():
                        seconds[place] += process.ask("train", epochs=1)["seconds"]
                memory = [process.ask("peak_memory")["bytes"] for process in processes.values()]
            ms = [1e3 * statistics.median(own) / steps for own in seconds]
            drawn.append({"case": case.name, "setting": setting, "values": values, "ms": ms, "bytes": memory})
            say(f"{case.name}, {setting} = {values}: {ms} ms, {memory} bytes")
    return drawn


def precision(only=None, say=print):
    """float32 against mixed bfloat16, at the same budget: name of case to policy to [{ms, bound} for each seed]."""
    found = {}
    for case in cases().values():
        if case.precision_epochs and (not only or case.name in only):
            found[case.name] = own = {policy: [] for policy in PRECISIONS}
            with Processes() as processes:
                for policy in PRECISIONS:
                    processes[policy] = Process()
                    processes[policy].ask("load", contender=case.contenders["keras_gen"])
                for seed in range(3):
                    for policy, process in processes.items():
                        arguments = {"policy": policy, "seed": seed, "epochs": case.precision_epochs}
                        own[policy].append(process.ask("precision", settings=case.settings, **arguments))
            say(f"{case.name}: {own}")
    return found


def spread(values):
    """Median, least and greatest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


class _Figures(dict):
    def watch(self, name, processes):
        return _Watch(self, name, processes)


class _Watch:
    """Turns a contender's `Failure` into an entry of the figures and drops its process; ours may not fail."""

    def __init__(self, figures, name, processes):
        self._figures, self._name, self._processes = figures, name, processes

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if not isinstance(error, Failure) or self._name == "keras_gen":
            if isinstance(error, Failure):
                print(self._processes[self._name].errors(), file=sys.stderr)
            return False
        self._figures[self._name] = {"error": str(error)}
        self._processes.pop(self._name).close()
        return True


class Processes(dict):
    def __enter__(self):
        return self

    def __exit__(self, *error):
        for process in self.values():
            process.close()


class opened:
    def __init__(self, process):
        self._process = process

    def __enter__(self):
        return self._process

    def __exit__(self, *error):
        self._process.close()
