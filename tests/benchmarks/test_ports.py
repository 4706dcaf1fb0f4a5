"""Every port computes the loss and the gradient of our model, for the same weights and the same noise."""

import os
import tempfile

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
def references():
    """A function from a case to the file with our weights, noise, loss and gradient."""
    with tempfile.TemporaryDirectory() as folder:

        def reference(case):
            path = os.path.join(folder, case.name + ".npz")
            if not os.path.exists(path):
                with run.opened(Process()) as process:
                    process.ask("load", contender=case.contenders["keras_gen"])
                    process.ask("build", settings=case.settings, steps=1, reference=path)
                    process.ask("write_reference", reference=path)
            return path

        yield reference


def relative_errors(case, peer, path, settings=None):
    with run.opened(Process()) as process:
        process.ask("load", contender=case.contenders[peer])
        process.ask("build", settings=settings or case.settings, steps=1, reference=path)
        return process.ask("check", reference=path)


@pytest.mark.parametrize(("case", "peer"), PORTS, ids=[f"{case.name}-{peer}" for case, peer in PORTS])
def test_port_has_our_loss_and_gradient(case, peer, references):
    if peer in PACKAGES:
        pytest.importorskip(PACKAGES[peer], reason="a peer of the benchmark; `make bench-test` has it")
    errors = relative_errors(case, peer, references(case))
    for what, limit in run.PORT_TOLERANCE.items():
        assert errors[what] <= limit, f"{what}: {errors[what]:.1e}"


def test_wrong_port_is_found(references):
    """The check fails where a port trains another objective."""
    case = cases()["iwae5"]
    errors = relative_errors(case, "keras", references(case), {**case.settings, "objective": "elbo"})
    assert errors["loss"] > run.PORT_TOLERANCE["loss"]
    assert errors["gradient"] > run.PORT_TOLERANCE["gradient"]
