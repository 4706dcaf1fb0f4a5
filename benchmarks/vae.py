"""The VAE family's cases: dense with the ELBO and with IWAE, and convolutional."""

from benchmarks.registry import Case

CONTENDERS = {
    "keras_gen": "benchmarks.vae_keras:KerasGen",
    "keras": "benchmarks.vae_keras:StockKeras",
    "keras_xla": "benchmarks.vae_keras:StockKerasXLA",
    "torch": "benchmarks.vae_torch:Torch",
    "torch_compile": "benchmarks.vae_torch:TorchCompiled",
    "jax": "benchmarks.vae_jax:JAX",
    "jax_scan": "benchmarks.vae_jax:JAXScan",
}
_PRODUCTS = {
    "products_tf": "benchmarks.products:TensorFlowProducts",
    "products_torch": "benchmarks.products:TorchProducts",
    "products_jax": "benchmarks.products:JAXProducts",
}
_DENSE = {
    "network": "mlp",
    "hidden": [200, 200],
    "latent": 50,
    "activation": "tanh",
    "size": 28,
    "batch": 100,
    "samples": 1,
    "objective": "elbo",
    "decoder_weights": 6,
}
_CONVOLUTIONAL = {**_DENSE, "network": "convolutional", "hidden": [32, 64], "activation": "relu", "decoder_weights": 8}

CASES = (
    Case(
        name="vae",
        title="VAE 784-200-200-50, batch 100",
        contenders={**CONTENDERS, "pythae": "benchmarks.vae_pythae:Pythae", **_PRODUCTS},
        settings=_DENSE,
        target=-150.0,
        limits=(
            ("JAX `lax.scan`", ("jax_scan",), 1.15, 0.8),
            ("stock Keras `fit`", ("keras",), 0.4, 0.3),
            ("stock Keras `fit`, XLA", ("keras_xla",), None, None),
            ("PyTorch, the faster", ("torch", "torch_compile"), 0.7, 0.5),
            ("Pythae", ("pythae",), None, None),
            ("its matrix products alone, the fastest", tuple(_PRODUCTS), 1.8, 1.3),
        ),
        precision_epochs=10,
        scaling={
            "hidden": [[100, 100], [200, 200], [400, 400], [800, 800]],
            "size": [14, 28, 56],
            "batch": [50, 100, 200, 400],
        },
    ),
    Case(
        name="iwae5",
        title="IWAE K = 5",
        contenders=CONTENDERS,
        settings={**_DENSE, "objective": "iwae", "samples": 5},
        steps=100,
        target=-140.0,
        limits=(
            ("JAX `lax.scan`", ("jax_scan",), 1.15, 0.8),
            ("PyTorch, the faster", ("torch", "torch_compile"), None, None),
        ),
        scaling={"samples": [1, 5, 10, 20, 50]},
    ),
    Case(
        name="iwae50",
        quick=False,
        title="IWAE K = 50",
        contenders=CONTENDERS,
        settings={**_DENSE, "objective": "iwae", "samples": 50},
        steps=15,
        limits=(
            ("JAX `lax.scan`", ("jax_scan",), 1.15, 0.8),
            ("PyTorch, the faster", ("torch", "torch_compile"), None, None),
        ),
    ),
    Case(
        name="convolutional",
        title="convolutional VAE 28x28",
        # No scan: XLA's convolutions within a loop use one thread and no library, a step takes a second.
        contenders={name: where for name, where in CONTENDERS.items() if name != "jax_scan"},
        settings=_CONVOLUTIONAL,
        steps=30,
        precision_epochs=3,
        limits=(
            ("PyTorch, the faster", ("torch", "torch_compile"), 0.75, 0.5),
            ("JAX", ("jax",), None, None),
        ),
    ),
)
