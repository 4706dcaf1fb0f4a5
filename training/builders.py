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
    return _compiled(model, settings, total_steps)


def belief_network(settings, data_shape, seed, total_steps):
    """A compiled `kg.SigmoidBeliefNetwork`; arguments as `vae`."""
    model = kg.SigmoidBeliefNetwork(
        data_shape=data_shape,
        units=settings["units"],
        generative=settings["generative"],
        recognition=settings["recognition"],
        binarization=settings["binarization"],
        seed=seed,
    )
    return _compiled(model, settings, total_steps)


def structured_predictor(settings, data_shape, seed, total_steps):
    """A compiled `kg.StructuredPredictor`; arguments as `vae`."""
    model = kg.StructuredPredictor(
        data_shape=data_shape, units=settings["units"], binarization=settings["binarization"], seed=seed
    )
    return _compiled(model, settings, total_steps)


OBJECTIVES = {
    "elbo": kg.objectives.ELBO,
    "iwae": kg.objectives.IWAE,
    "wake_sleep": kg.objectives.WakeSleep,
    "reweighted_wake_sleep": kg.objectives.ReweightedWakeSleep,
    "vimco": kg.objectives.VIMCO,
    "score_function": kg.objectives.ScoreFunction,
    "nvil": kg.objectives.NVIL,
    "muprop": kg.objectives.MuProp,
}


def _compiled(model, settings, total_steps):
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate(settings, total_steps)),
        objective=OBJECTIVES[settings["objective"]](num_samples=settings["num_samples"]),
        jit_compile={"auto": "auto", "true": True, "false": False}[settings["jit_compile"]],
    )
    return model


def learning_rate(settings, total_steps):
    """The learning rate as a float or as a schedule: a function of the optimizer's step count, so it holds no state."""
    if settings["schedule"] == "cosine":
        return keras.optimizers.schedules.CosineDecay(settings["learning_rate"], total_steps)
    return settings["learning_rate"]


BUILDERS = {"vae": vae, "belief_network": belief_network, "structured_predictor": structured_predictor}
