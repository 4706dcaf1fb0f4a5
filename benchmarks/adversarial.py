"""The adversarial family's cases: the dense and the convolutional GAN, and the adversarial autoencoder."""

from benchmarks.registry import Case

_OURS = {"keras_gen": "benchmarks.adversarial_keras:KerasGen"}
_TORCH = {
    "torch": "benchmarks.adversarial_torch:Torch",
    "torch_compile": "benchmarks.adversarial_torch:TorchCompiled",
}
_GAN = {
    "model": "gan",
    "size": 28,
    "batch": 100,
    "latent": 100,
    "hidden": [1200, 1200],
    "critic": [240, 240],
    "pieces": 5,
    "input_dropout": 0.2,
    "dropout": 0.5,
    "rate": 5e-4,
}
_DCGAN = {"model": "dcgan", "size": 28, "batch": 128, "latent": 100, "filters": [16, 32], "dense": [128], "rate": 2e-4}
_AAE = {"model": "aae", "size": 28, "batch": 100, "latent": 8, "hidden": [1000, 1000], "spread": 5.0, "rate": 5e-4}
_PYTORCH = ("PyTorch, the faster", tuple(_TORCH), 0.7, 0.5)


def shapes(settings, batch):
    """Shapes of what a step draws, in the order in which a reference keeps them.

    "gan": latents for the critic; uniforms that drop its inputs and its units, for images and for what is drawn; latents for
    the generator, and uniforms once more. "dcgan": latents for either. "aae": codes from the prior.
    """
    latents = (batch, settings["latent"])
    if settings["model"] == "gan":
        drops = [(batch, units) for units in (settings["size"] ** 2, *settings["critic"])]
        return [latents, *drops, *drops, latents, *drops]
    return [latents, latents] if settings["model"] == "dcgan" else [latents]


CASES = (
    Case(
        name="gan",
        quick=False,
        title="GAN 28x28",
        contenders={**_OURS, **_TORCH},
        settings=_GAN,
        steps=30,
        limits=(_PYTORCH,),
    ),
    Case(
        name="dcgan",
        quick=False,
        title="DCGAN 28x28",
        contenders={
            "keras_gen": "benchmarks.adversarial_keras:DCGAN",
            "default_threads": "benchmarks.adversarial_keras:KerasGen",
            **_TORCH,
        },
        settings=_DCGAN,
        steps=30,
        limits=(_PYTORCH, ("the same with TensorFlow's own threads", ("default_threads",), None, None)),
    ),
    Case(
        name="aae",
        quick=False,
        title="adversarial autoencoder 28x28",
        contenders={
            **_OURS,
            "jax": "benchmarks.adversarial_jax:JAX",
            "jax_scan": "benchmarks.adversarial_jax:JAXScan",
        },
        settings=_AAE,
        steps=30,
        limits=(("JAX `lax.scan`", ("jax_scan",), 1.15, 0.8), ("JAX", ("jax",), None, None)),
    ),
)
