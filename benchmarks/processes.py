"""Worker processes: one a contender, all with the same number of threads, idle unless they are asked."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile

THREADS = 2


class Failure(RuntimeError):
    """What a worker answered instead of a result."""


class Process:
    """A worker, and the calls of its commands."""

    def __init__(self):
        root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        variables = {name: str(THREADS) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        variables |= {"TF_CPP_MIN_LOG_LEVEL": "3", "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
        variables["PYTHONPATH"] = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        cores = sorted(os.sched_getaffinity(0))[:THREADS]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, **variables},
            text=True,
            preexec_fn=lambda: _settle(cores),
        )

    def send(self, do, **arguments):
        """Gives a command without waiting for its answer."""
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()

    def receive(self):
        """The answer to the oldest command; raises `Failure` where that is an error or the process has died."""
        line = self._process.stdout.readline()
        answer = json.loads(line) if line else {"error": f"the process ended with code {self._process.wait()}"}
        if "error" in answer:
            raise Failure(answer["error"])
        return answer

    def ask(self, do, **arguments):
        self.send(do, **arguments)
        return self.receive()

    def errors(self):
        """What the process has written to its error stream."""
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")

    def close(self):
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._errors.close()


def _settle(cores):
    """Keeps this process on `cores`, and ahead of other work on the machine where that is allowed."""
    os.sched_setaffinity(0, cores)
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -15)
