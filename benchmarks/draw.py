"""DRAW's case: 32 steps with soft attention."""

from benchmarks.registry import Case

CASES = (
    Case(
        name="draw",
        quick=False,
        title="DRAW T = 32, 12x12 windows, batch 100",
        contenders={
            "keras_gen": "benchmarks.draw_keras:KerasGen",
            "default_threads": "benchmarks.draw_keras:DefaultThreads",
            "jax": "benchmarks.draw_jax:JAX",
            "jax_scan": "benchmarks.draw_jax:JAXScan",
        },
        settings={"size": 28, "batch": 100, "steps": 32, "units": 256, "latent": 100, "window": 12},
        steps=10,
        quick_steps=5,
        limits=(
            ("JAX, the faster", ("jax", "jax_scan"), 1.0, 0.6),
            ("the same with TensorFlow's own threads", ("default_threads",), None, None),
        ),
        scaling={"steps": [4, 16, 32, 64]},
        first_limits=(30.0, None),
    ),
)
