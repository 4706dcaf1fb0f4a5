"""Strategies by name, and runs under them."""

import json
import os
import socket
import subprocess
import sys

import pytest

from tests.training.helpers import ROOT, USUAL, assert_same_run, rows
from training import strategies

PROGRAM = """
import sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from training.run import train
for out, epochs, resume in (("straight", 2, False), ("resumed", 1, False), ("resumed", 2, True)):
    train("vae", f"{sys.argv[1]}/{out}", epochs=epochs, resume=resume, strategy="mirrored", verbose=0, overrides=sys.argv[2:])
"""


def test_auto_follows_the_environment(monkeypatch):
    for variable in ("TF_CONFIG", "TPU_NAME", "KUBE_GOOGLE_CLOUD_TPU_ENDPOINTS"):
        monkeypatch.delenv(variable, raising=False)
    assert strategies.make_strategy("auto")[0] == "none"
    monkeypatch.setenv("TPU_NAME", "local")
    assert strategies._from_environment() == "tpu"
    # A job on one machine, as schedulers tell of it.
    for config in ("", "{}", '{"cluster": {"chief": ["localhost:1"]}, "task": {"type": "chief", "index": 0}}'):
        monkeypatch.setenv("TF_CONFIG", config)
        assert strategies._from_environment() == "tpu"
    for config in ('{"cluster": {"chief": ["a:1"], "worker": ["b:1"]}, "task": {"type": "chief", "index": 0}}', "worker"):
        monkeypatch.setenv("TF_CONFIG", config)
        assert strategies._from_environment() == "multi_worker"
    with pytest.raises(ValueError, match="must hold JSON with the cluster's workers"):
        strategies.make_strategy("auto")


def test_a_mirrored_run_is_resumed_exactly(tmp_path):
    # With a constant learning rate an epoch more is the same as an epoch more from the start.
    settings = [*USUAL, "schedule=constant"]
    done = subprocess.run([sys.executable, "-c", PROGRAM, tmp_path, *settings], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    config = json.loads((tmp_path / "resumed" / "config.json").read_text())
    assert config["strategy"] == {"name": "mirrored", "replicas": 2}
    assert_same_run(tmp_path / "resumed", tmp_path / "straight")


def test_two_workers_write_one_run(tmp_path):
    sockets = [socket.socket() for _ in range(2)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    hosts = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    settings = [word for setting in USUAL for word in ("--set", setting)]
    command = [sys.executable, "-m", "training", "train", "vae", "--out", str(tmp_path / "run"), "--epochs", "1", *settings]
    workers = [
        subprocess.Popen(
            [*command, "--json"],
            cwd=ROOT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "TF_CONFIG": json.dumps({"cluster": {"worker": hosts}, "task": {"type": "worker", "index": i}})},
        )
        for i in range(2)
    ]
    results = [worker.communicate(timeout=120) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], results
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["strategy"] == {"name": "multi_worker", "replicas": 2}
    assert [row["epoch"] for row in rows(tmp_path / "run")] == [1]
    assert len(list((tmp_path / "run" / "tensorboard").iterdir())) == 1
