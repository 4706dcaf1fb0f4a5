"""What one image from a `.tflite` costs on the machine that exports it: memory and time.

Measured in a process of its own, since memory that a process has used once stays with it: LiteRT's Interpreter with XNNPACK on
one thread, the signature `single`. Phones differ by a factor of several either way; figures of the same machine compare
variants of one generator.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from export.errors import RunFailedError
from export.signature import SINGLE

_RUNS, _WARM_UP = 30, 3
_STATUS = Path("/proc/self/status")
_TIMEOUT = 600  # Seconds.


def measure(path):
    """Draws a few dozen images from the `.tflite` at `path`, one at a time, and returns what one costs, as JSON types.

    Returns:
        A dict: `memory_bytes`, what the interpreter takes beside the file and the runtime's own code (None where the system
        does not tell, which Linux does); `latency_ms`, the median; `runs`; `threads`; `machine`.

    Raises:
        RunFailedError: the process failed.
    """
    program = "import sys; from export import budget; budget.report(sys.argv[1])"
    command = [sys.executable, "-c", program, str(Path(path).resolve())]
    paths = [str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_TIMEOUT, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        told = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1:]
        raise RunFailedError(f"tflite: the cost of one image could not be measured: {' '.join(told)}") from error
    return json.loads(done.stdout.splitlines()[-1])


def report(path):
    """Measures in this process, and prints the record as JSON."""
    from ai_edge_litert.interpreter import Interpreter

    before = _memory()
    runner = Interpreter(path, num_threads=1).get_signature_runner(SINGLE)
    inputs = {name: np.zeros(detail["shape"], detail["dtype"]) for name, detail in runner.get_input_details().items()}
    times = []
    for _ in range(_WARM_UP + _RUNS):
        start = time.perf_counter()
        runner(**inputs)
        times.append(1e3 * (time.perf_counter() - start))
    after = _memory()
    record = {
        "memory_bytes": None if before is None else max(0, after - before),
        "latency_ms": float(f"{statistics.median(times[_WARM_UP:]):.3g}"),
        "runs": _RUNS,
        "threads": 1,
        "machine": f"{platform.system()} {platform.machine()}",
    }
    print(json.dumps(record))


def _memory():
    """Bytes of this process that no file backs, or None."""
    if not _STATUS.is_file():
        return None
    for line in _STATUS.read_text().splitlines():
        if line.startswith("RssAnon:"):
            return 1024 * int(line.split()[1])
    return None
