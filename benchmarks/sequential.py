"""Models that build an image step by step: DRAW with soft attention, and the sequential generator."""

from benchmarks.registry import Case

CASES = (
    Case(
        name="draw",
        quick=False,
        title="DRAW T = 32, 12x12 windows, batch 100",
        contenders={
            "keras_gen": "benchmarks.sequential_keras:KerasGen",
            "default_threads": "benchmarks.sequential_keras:DefaultThreads",
            "jax": "benchmarks.sequential_jax:DRAW",
            "jax_scan": "benchmarks.sequential_jax:DRAWScan",
        },
        settings={"model": "draw", "size": 28, "batch": 100, "steps": 32, "units": 256, "latent": 100, "window": 12},
        steps=10,
        quick_steps=5,
        limits=(
            ("JAX, the faster", ("jax", "jax_scan"), 1.0, 0.6),
            ("the same with TensorFlow's own threads", ("default_threads",), None, None),
        ),
        scaling={"steps": [4, 16, 32, 64]},
        first_limits=(30.0, None),
    ),
    Case(
        name="sequential_generator",
        quick=False,
        title="sequential generator T = 16, LSTM 256, batch 100",
        contenders={
            "keras_gen": "benchmarks.sequential_keras:KerasGen",
            "default_threads": "benchmarks.sequential_keras:DefaultThreads",
            "jax": "benchmarks.sequential_jax:Generator",
            "jax_scan": "benchmarks.sequential_jax:GeneratorScan",
        },
        settings={"model": "generator", "size": 28, "batch": 100, "steps": 16, "units": 256, "latent": 100},
        steps=10,
        quick_steps=5,
        limits=(
            ("JAX, the faster", ("jax", "jax_scan"), None, None),
            ("the same with TensorFlow's own threads", ("default_threads",), None, None),
        ),
        first_limits=(30.0, None),
    ),
)
