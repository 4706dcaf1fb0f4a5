"""Distribution strategies by name."""

import json
import os

import tensorflow as tf

STRATEGIES = ("auto", "none", "mirrored", "multi_worker", "tpu")
_TPU_VARIABLES = ("TPU_NAME", "KUBE_GOOGLE_CLOUD_TPU_ENDPOINTS")


def make_strategy(name="auto"):
    """A `tf.distribute` strategy.

    Args:
        name: "none" for one device; "mirrored" for all GPUs of this machine; "multi_worker" for the cluster that TF_CONFIG
            describes; "tpu" for the TPU that TPU_NAME or KUBE_GOOGLE_CLOUD_TPU_ENDPOINTS names; "auto" for multi_worker, tpu or
            mirrored, the first that the environment calls for, else none.

    Returns:
        (the name in force, `tf.distribute.Strategy`)

    Raises:
        ValueError: unknown name, or an environment without what the strategy needs.
    """
    if name not in STRATEGIES:
        raise ValueError(f"strategy {name!r}; allowed: {', '.join(STRATEGIES)}")
    if name == "auto":
        name = _from_environment()
    if name == "none":
        return name, tf.distribute.get_strategy()
    if name == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return name, tf.distribute.MirroredStrategy([device.name for device in devices])
    if name == "multi_worker":
        return name, _multi_worker()
    return name, _tpu()


def _from_environment():
    if _processes(os.environ.get("TF_CONFIG") or "{}") != 1:
        return "multi_worker"
    if any(os.environ.get(variable) for variable in _TPU_VARIABLES):
        return "tpu"
    return "mirrored" if len(tf.config.list_physical_devices("GPU")) > 1 else "none"


def _processes(text):
    """How many processes TF_CONFIG tells of: 1 too where it has no cluster, as of a job on one machine; None if unreadable."""
    try:
        return sum(map(len, json.loads(text).get("cluster", {}).values())) or 1
    except (ValueError, AttributeError, TypeError):
        return None


def _multi_worker():
    text = os.environ.get("TF_CONFIG", "")
    try:
        config = json.loads(text)
        _ = config["cluster"]["worker" if "worker" in config["cluster"] else "chief"], config["task"]["index"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(
            f"strategy multi_worker with TF_CONFIG={text!r}: the variable must hold JSON with the cluster's workers and the "
            'task of this process, such as {"cluster": {"worker": ["host0:1234", "host1:1234"]}, '
            '"task": {"type": "worker", "index": 0}}'
        ) from None
    return tf.distribute.MultiWorkerMirroredStrategy()


def _tpu():
    if not any(os.environ.get(variable) for variable in _TPU_VARIABLES):
        raise ValueError(
            f"strategy tpu, but neither {' nor '.join(_TPU_VARIABLES)} is set, so there is no TPU to connect to; "
            "set TPU_NAME (local, on a TPU VM), or choose another strategy"
        )
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver()
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (tf.errors.OpError, RuntimeError, OSError, ImportError) as error:
        named = ", ".join(f"{variable}={os.environ[variable]}" for variable in _TPU_VARIABLES if os.environ.get(variable))
        raise ValueError(f"strategy tpu: no TPU answers at {named}: {error}") from error
    return tf.distribute.TPUStrategy(resolver)


def is_chief(strategy):
    """Whether this process is the one that writes the run's folder."""
    resolver = strategy.cluster_resolver
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy) or resolver is None:
        return True
    return resolver.task_type in (None, "chief") or (resolver.task_id == 0 and "chief" not in resolver.cluster_spec().jobs)
