"""`fit` under tf.distribute: on two logical CPUs, and in two processes on loopback."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from tests.keras_gen import strategy_worker
from tests.statistics import FAILURE_RATE

ROOT = Path(__file__).parents[2]
BATCH = 48


def start(strategy, **environment):
    command = [sys.executable, strategy_worker.__file__, strategy, str(BATCH)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", **environment}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def result(process):
    out, err = process.communicate(timeout=300)
    lines = [line for line in out.splitlines() if line.startswith("RESULT ")]
    assert process.returncode == 0 and lines, err[-3000:]
    return json.loads(lines[0].removeprefix("RESULT "))


@pytest.fixture(scope="module")
def one_device():
    return strategy_worker.results("none", BATCH)


@pytest.fixture(scope="module")
def mirrored():
    return result(start("mirrored"))


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture(scope="module")
def workers():
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(2)]}
    processes = [
        start("multi_worker", TF_CONFIG=json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}}))
        for index in range(2)
    ]
    return [result(process) for process in processes]


def test_replicas_draw_different_noise_and_keep_identical_weights(mirrored):
    assert mirrored["replicas"] == 2
    assert not set(mirrored["draws"][0]) & set(mirrored["draws"][1])
    assert mirrored["copies_identical"]


def test_two_replicas_of_half_the_batch_are_one_of_the_whole_in_expectation(one_device, mirrored):
    difference = np.array(one_device["updates_mean"]) - np.array(mirrored["updates_mean"])
    error = np.sqrt((np.square(one_device["updates_std"]) + np.square(mirrored["updates_std"])) / 400)
    moved = error > 1e-9
    assert moved.mean() > 0.9
    z = np.abs(difference[moved]) / error[moved]
    assert z.max() < stats.norm.isf(FAILURE_RATE / 2 / moved.sum())
    for name, values in one_device["history"].items():
        if name.endswith("bound"):
            np.testing.assert_allclose(mirrored["history"][name], values, rtol=0.05)


def test_workers_train_in_step(workers, mirrored):
    assert [worker["replicas"] for worker in workers] == [2, 2]
    assert workers[0]["weights"] == workers[1]["weights"]
    assert not set(workers[0]["draws"][0]) & set(workers[1]["draws"][0])
    assert workers[0]["history"] == workers[1]["history"]
    # Two processes do what two devices of one process do.
    for name, values in mirrored["history"].items():
        np.testing.assert_allclose(workers[0]["history"][name], values, rtol=1e-4)


def test_a_replica_without_an_image_and_calls_of_several_steps(mirrored):
    odd = mirrored["odd batches"]
    assert odd["steps"] == 8  # four an epoch, which three a call do not divide
    assert odd["copies_identical"] and np.isfinite(odd["weights"]).all()
    assert all(np.isfinite(values).all() for values in odd["history"].values())


def test_sides_of_a_game_keep_their_turns_and_identical_weights(workers, mirrored):
    assert {name: game["moves"] for name, game in mirrored["games"].items()} == {"every step": [12, 12], "alternate": [8, 4]}
    assert all(game["copies_identical"] for game in mirrored["games"].values())
    # Sides that move in turn, and statistics of batches, in two processes as on two devices of one.
    games = [worker["games"]["alternate"] for worker in workers]
    assert games[0] == games[1] and games[0]["moves"] == [8, 4]
    np.testing.assert_allclose(games[0]["weights"], mirrored["games"]["alternate"]["weights"], rtol=1e-3, atol=1e-5)
