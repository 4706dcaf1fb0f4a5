"""From a recipe's resolved settings to a compiled model, one function a family."""

import keras

import keras_gen as kg


def vae(settings, data_shape, seed, total_steps):
    """A compiled `kg.VAE`.

    Args:
        settings: dict, the resolved settings of a recipe of this family.
        data_shape: (H, W, C).
        seed: int, of the model's noise.
        total_steps: int, training steps of the whole run, over which the learning rate falls.
    """
    model = kg.VAE(
        data_shape=data_shape,
        latent_dim=settings["latent_dim"],
        hidden_units=settings["hidden_units"],
        likelihood=settings["likelihood"],
        encoder=settings["encoder"],
        decoder=settings["decoder"],
        activation=settings["activation"],
        levels=settings["levels"],
        binarization=settings["binarization"],
        seed=seed,
    )
    objectives = {"elbo": kg.objectives.ELBO, "iwae": kg.objectives.IWAE}
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate(settings, total_steps)),
        objective=objectives[settings["objective"]](num_samples=settings["num_samples"]),
        jit_compile={"auto": "auto", "true": True, "false": False}[settings["jit_compile"]],
    )
    return model


def learning_rate(settings, total_steps):
    """The learning rate as a float or as a schedule: a function of the optimizer's step count, so it holds no state."""
    if settings["schedule"] == "cosine":
        return keras.optimizers.schedules.CosineDecay(settings["learning_rate"], total_steps)
    return settings["learning_rate"]


BUILDERS = {"vae": vae}
