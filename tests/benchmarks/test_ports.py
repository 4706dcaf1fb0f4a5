"""Every port computes the loss and the gradient of our model, for the same weights and the same noise."""

import contextlib
import os
import tempfile

import numpy as np
import pytest

from benchmarks import run
from benchmarks.processes import Process
from benchmarks.registry import cases

PORTS = [
    (case, peer)
    for case in cases().values()
    for peer in case.contenders
    if peer != "keras_gen" and not peer.startswith("products")
]
PACKAGES = {
    "torch": "torch",
    "torch_compile": "torch",
    "jax": "jax",
    "jax_scan": "optax",
    "pythae": "pythae",
    "pyro": "pyro",
}


@pytest.fixture(scope="session")
def ours():
    """A function from a case to the process of our model and the file with its weights, noise, loss and gradient."""
    open_now = {}
    with tempfile.TemporaryDirectory() as folder:

        def reference(case):
            path = os.path.join(folder, case.name + ".npz")
            if case.name not in open_now:
                close()
                open_now[case.name] = process = Process()
                process.ask("load", contender=case.contenders["keras_gen"])
                process.ask("build", settings=case.settings, steps=1, reference=path)
                process.ask("write_reference", reference=path)
            return open_now[case.name], path

        def close():
            while open_now:
                open_now.popitem()[1].close()

        yield reference
        close()


@contextlib.contextmanager
def started(case, peer, path, settings=None):
    with run.opened(Process()) as process:
        process.ask("load", contender=case.contenders[peer])
        process.ask("build", settings=settings or case.settings, steps=1, reference=path)
        yield process


@pytest.mark.parametrize(("case", "peer"), PORTS, ids=[f"{case.name}-{peer}" for case, peer in PORTS])
def test_port_has_our_loss_and_gradient(case, peer, ours):
    if peer in PACKAGES:
        pytest.importorskip(PACKAGES[peer], reason="a peer of the benchmark; `make bench-test` has it")
    process, path = ours(case)
    with started(case, peer, path) as port:
        run.check(case, peer, port, process, path)


def test_wrong_port_is_found(ours):
    """The check fails, at every batch, where a port trains another objective."""
    case = cases()["iwae5"]
    process, path = ours(case)
    with started(case, "keras", path, {**case.settings, "objective": "elbo"}) as port:
        with pytest.raises(run.WrongPort, match="iwae5, keras"):
            run.check(case, "keras", port, process, path)
        errors = port.ask("check", reference=path)
    assert errors["loss"] > run.PORT_TOLERANCE["loss"]
    assert errors["gradient"] > run.PORT_TOLERANCE["gradient"]


def test_a_port_is_asked_again_at_another_batch(ours):
    """What is wrong at one batch alone, as beside the kink of a ReLU, is not a wrong port."""
    case = cases()["iwae5"]
    process, path = ours(case)

    class Port:
        asked = []

        def ask(self, what, reference):
            self.asked.append(reference)
            return {"loss": 0.0, "gradient": 1e-3 if len(self.asked) == 1 else 1e-6}

    assert run.check(case, "keras", Port(), process, path)["gradient"] == 1e-6
    first, second = (np.load(each)["images"] for each in Port.asked)
    assert first.shape == second.shape and np.any(first != second)
