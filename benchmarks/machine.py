"""What was measured on: the machine's description and its measured peaks."""

import datetime
import importlib.metadata
import os
import platform
import time

PACKAGES = ("tensorflow", "keras", "tensorflow-probability", "torch", "jax", "optax", "pythae", "pyro-ppl", "numpy")


def description():
    """JSON values."""
    with open("/proc/cpuinfo") as lines:
        models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions,
        "date": now(),
        "load": os.getloadavg()[0],
    }


def now():
    """Date and time, to the minute."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")


def peaks():
    """The best of several: FLOP/s of a 2048^3 float32 product in TensorFlow (oneDNN), bytes/s of a triad on 64 MB arrays."""
    import tensorflow as tf

    size, count = 2048, 2**24
    matrix = tf.random.normal((size, size))
    product = _fastest(lambda: tf.matmul(matrix, matrix).numpy()[0, 0])
    b, c = tf.random.normal((count,)), tf.random.normal((count,))
    triad = tf.function(lambda b, c: b + 1.5 * c, jit_compile=True)
    seconds = _fastest(lambda: triad(b, c))
    return {"flops": 2 * size**3 / product, "bytes": 3 * 4 * count / seconds}


def _fastest(function, repeats=10):
    function()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def compiled_cost(step, *arguments):
    """FLOPs and bytes of `step(*arguments)` as XLA compiles it: operations fused together count what they read and write."""
    import jax
    import tensorflow as tf
    from jaxlib import _hlo, _jax

    program = tf.function(step, jit_compile=True)
    program(*arguments)
    proto = program.experimental_get_compiler_ir(*arguments)(stage="optimized_hlo_serialized")
    module = _hlo.HloModule.from_serialized_hlo_module_proto(proto)
    analysis = _jax.hlo_module_cost_analysis(jax.devices("cpu")[0].client, module)
    return {"flops": analysis["flops"], "bytes": analysis["bytes accessed"]}


def import_seconds(code):
    """Seconds that `code`, a string of imports, takes in this process."""
    start = time.perf_counter()
    exec(code, {})
    return {"seconds": time.perf_counter() - start}
