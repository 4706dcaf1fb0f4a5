"""The belief networks' cases: sigmoid belief network 784-200-200 with reweighted wake-sleep and with VIMCO."""

from benchmarks.noise import split as split_noise
from benchmarks.registry import Case

_JAX = {"jax": "benchmarks.belief_network_jax:JAX", "jax_scan": "benchmarks.belief_network_jax:JAXScan"}
_OURS = {"keras_gen": "benchmarks.belief_network_keras:KerasGen"}
_SETTINGS = {"units": [200, 200], "size": 28, "batch": 100, "samples": 5, "objective": "rws"}
_LIMITS = (("JAX `lax.scan`", ("jax_scan",), 1.15, 0.8), ("JAX", ("jax",), None, None))


def shapes(settings, batch):
    """Shapes of the uniforms that a step draws, in the order in which a reference keeps them.

    q's, from the data upward; then, where the objective dreams, p's, from the prior down.
    """
    units, pixels = settings["units"], settings["size"] ** 2
    inferred = [(settings["samples"], batch, size) for size in units]
    return inferred + ([(batch, size) for size in (*units[::-1], pixels)] if settings["objective"] == "rws" else [])


def split(noise, settings, batch):
    """The uniforms of a reference, one array a draw."""
    return split_noise(noise, shapes(settings, batch))


CASES = (
    Case(
        name="rws1",
        quick=False,
        title="belief network 784-200-200, RWS K = 1",
        contenders={**_OURS, **_JAX},
        settings={**_SETTINGS, "samples": 1},
        quick_steps=100,
        limits=_LIMITS,
    ),
    Case(
        name="rws5",
        title="belief network, RWS K = 5",
        contenders={**_OURS, **_JAX, "pyro": "benchmarks.belief_network_pyro:Pyro"},
        settings=_SETTINGS,
        steps=100,
        quick_steps=50,
        limits=(*_LIMITS, ("Pyro, whose weights are of whole batches", ("pyro",), None, None)),
        scaling={"samples": [1, 5, 10, 20, 50]},
    ),
    Case(
        name="rws50",
        quick=False,
        title="belief network, RWS K = 50",
        contenders={**_OURS, **_JAX},
        settings={**_SETTINGS, "samples": 50},
        steps=20,
        limits=_LIMITS,
    ),
    Case(
        name="vimco5",
        quick=False,
        title="belief network, VIMCO K = 5",
        contenders={**_OURS, "jax_scan": _JAX["jax_scan"]},
        settings={**_SETTINGS, "objective": "vimco"},
        steps=100,
        quick_steps=50,
        limits=_LIMITS[:1],
        scaling={"samples": [2, 5, 10, 20, 50]},
    ),
)
