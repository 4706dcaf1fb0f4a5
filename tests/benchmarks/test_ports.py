"""Every port computes the loss and the gradient of our model, for the same weights and the same noise."""

import contextlib
import math

import numpy as np
import pytest

from benchmarks import products, run
from benchmarks.processes import Process
from benchmarks.registry import cases
from benchmarks.worker import Worker

PORTS = [
    (case, peer)
    for case in cases().values()
    for peer in case.contenders
    if peer != "keras_gen" and not peer.startswith("products")
]
PRODUCTS = [(case, peer) for case in cases().values() for peer in case.contenders if peer.startswith("products")]
PACKAGES = {
    "torch": "torch",
    "torch_compile": "torch",
    "jax": "jax",
    "jax_scan": "optax",
    "pythae": "pythae",
    "pyro": "pyro",
    "products_torch": "torch",
    "products_jax": "jax",
}


class Here:
    """A worker within this process, in place of one of its own: for Keras, which is here already."""

    def __init__(self):
        self._worker = Worker()

    def ask(self, do, **arguments):
        return getattr(self._worker, do)(**arguments)


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    """A function from a case to the worker of our model and the file with its weights, noise, loss and gradient."""
    folder, made = tmp_path_factory.mktemp("references"), {}

    def reference(case):
        path = str(folder / f"{case.name}.npz")
        if case.name not in made:
            made[case.name] = worker = Here()
            worker.ask("load", contender=case.contenders["keras_gen"])
            worker.ask("build", settings=case.settings, steps=1, reference=path)
            worker.ask("write_reference", reference=path)
        return made[case.name], path

    return reference


@contextlib.contextmanager
def started(case, peer, path, settings=None):
    with run.opened(Process()) if peer in PACKAGES else contextlib.nullcontext(Here()) as worker:
        worker.ask("load", contender=case.contenders[peer])
        worker.ask("build", settings=settings or case.settings, steps=1, reference=path)
        yield worker


@pytest.mark.parametrize(("case", "peer"), PORTS, ids=[f"{case.name}-{peer}" for case, peer in PORTS])
def test_port_has_our_loss_and_gradient(case, peer, ours):
    if peer in PACKAGES:
        pytest.importorskip(PACKAGES[peer], reason="a peer of the benchmark; `make bench-test` has it")
    own, path = ours(case)
    with started(case, peer, path) as port:
        run.check(case, peer, port, own, path)


@pytest.mark.parametrize(("case", "peer"), PRODUCTS, ids=[peer for _, peer in PRODUCTS])
def test_products_alone_are_timed(case, peer, ours):
    if peer in PACKAGES:
        pytest.importorskip(PACKAGES[peer], reason="a peer of the benchmark; `make bench-test` has it")
    _, path = ours(case)
    with started(case, peer, path) as contender:
        seconds = contender.ask("train", epochs=2)["seconds"]
    assert len(seconds) == 2 and min(seconds) > 0


@pytest.mark.parametrize("name, samples", [("vae", 1), ("iwae5", 5)])
def test_products_alone_are_all_that_a_step_needs(name, samples):
    """Forward, and for each layer two as large backward; but images need no gradient."""
    encoder, decoder = 784 * 200 + 200 * 200 + 200 * 100, 50 * 200 + 200 * 200 + 200 * 784
    wanted = 100 * (3 * encoder - 784 * 200 + samples * 3 * decoder)
    assert sum(math.prod(each) for each in products.shapes(cases()[name].settings)) == wanted


def test_wrong_port_is_found(ours):
    """The check fails, at every batch, where a port trains another objective."""
    case = cases()["iwae5"]
    own, path = ours(case)
    with started(case, "keras", path, {**case.settings, "objective": "elbo"}) as port:
        with pytest.raises(run.WrongPort, match="iwae5, keras"):
            run.check(case, "keras", port, own, path)
        errors = port.ask("check", reference=path)
    assert errors["loss"] > run.PORT_TOLERANCE["loss"]
    assert errors["gradient"] > run.PORT_TOLERANCE["gradient"]


def test_a_port_is_asked_again_at_another_batch(ours):
    """What is wrong at one batch alone, as beside the kink of a ReLU, is not a wrong port."""
    case = cases()["iwae5"]
    own, path = ours(case)

    class Port:
        asked = []

        def ask(self, what, reference):
            self.asked.append(reference)
            return {"loss": 0.0, "gradient": 1e-3 if len(self.asked) == 1 else 1e-6}

    assert run.check(case, "keras", Port(), own, path)["gradient"] == 1e-6
    first, second = (np.load(each)["images"] for each in Port.asked)
    assert first.shape == second.shape and np.any(first != second)
