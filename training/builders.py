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


def gan(settings, data_shape, seed, total_steps):
    """A compiled `kg.GAN`; arguments as `vae`."""
    names = ("latent_dim", "hidden_units", "critic_units", "pieces", "input_dropout", "dropout", "num_classes")
    return _compiled_game(kg.GAN(data_shape, seed=seed, **{name: settings[name] for name in names}), settings, total_steps)


def dcgan(settings, data_shape, seed, total_steps):
    """A compiled `kg.DCGAN`; arguments as `vae`."""
    names = ("latent_dim", "filters", "dense_units", "num_classes")
    critic_filters = settings["critic_filters"] or None
    model = kg.DCGAN(data_shape, critic_filters=critic_filters, seed=seed, **{name: settings[name] for name in names})
    return _compiled_game(model, settings, total_steps)


def adversarial_autoencoder(settings, data_shape, seed, total_steps):
    """A compiled `kg.AdversarialAutoencoder`; arguments as `vae`."""
    names = ("latent_dim", "hidden_units", "prior_scale", "categories", "num_classes", "reconstruction", "dropout")
    model = kg.AdversarialAutoencoder(data_shape, seed=seed, **{name: settings[name] for name in names})
    return _compiled_game(model, settings, total_steps)


def draw(settings, data_shape, seed, total_steps):
    """A compiled `kg.DRAW`; arguments as `vae`."""
    attention = None if settings["attention"] == "none" else settings["attention"]
    sizes = {name: settings[name] for name in ("read_size", "write_size")} if attention else {}
    random_windows = attention == "hard" and settings["places"] == "random"
    own = {**sizes, **_of(settings, *_CANVAS), "random_windows": random_windows}
    model = kg.DRAW(data_shape, attention=attention, seed=seed, **own)
    return _compiled(model, _at_places(settings, random_windows), total_steps)


def sequential_generator(settings, data_shape, seed, total_steps):
    """A compiled `kg.SequentialGenerator`; arguments as `vae`."""
    model = kg.SequentialGenerator(data_shape, seed=seed, **_of(settings, *_CANVAS, "network", "canvas"))
    return _compiled(model, settings, total_steps)


def sequential_imputer(settings, data_shape, seed, total_steps):
    """A compiled `kg.SequentialImputer`; arguments as `vae`."""
    own = _of(settings, *_CANVAS, "network", "canvas", "mask", "drop_rate")
    size = settings["square_size"] if settings["mask"] == "mar" else None
    model = kg.SequentialImputer(data_shape, square_size=size, seed=seed, **own)
    return _compiled(model, settings, total_steps)


def recurrent_attention(settings, data_shape, seed, total_steps):
    """A compiled `kg.RecurrentAttentionClassifier`; arguments as `vae`."""
    random_glimpses = settings["places"] == "random"
    own = _of(settings, "num_classes", "glimpses", "glimpse_size", "glimpse_scales", "location_std", "units", "sensor_units")
    model = kg.RecurrentAttentionClassifier(data_shape, random_glimpses=random_glimpses, seed=seed, **own)
    return _compiled(model, _at_places(settings, random_glimpses), total_steps)


def _at_places(settings, random):
    """The settings with the objective that fits: at random places nothing is left to likelihood ratios."""
    return {**settings, "objective": "elbo"} if random else settings


_CANVAS = ("steps", "units", "latent_dim", "likelihood", "levels", "binarization")


def _of(settings, *names):
    return {name: settings[name] for name in names}


def _compiled_game(model, settings, total_steps):
    names = ("loss", "critic_steps", "gradient_penalty", "average")
    game = kg.Game(schedule=settings["turns"], **{name: settings[name] for name in names})
    first, *others = [
        keras.optimizers.Adam(rate, beta_1=0.9 if player == "autoencoder" else settings["momentum"])
        for player, rate in _learning_rates(model, game, settings, total_steps).items()
    ]
    model.compile(
        first,
        game,
        jit_compile={"auto": "auto", "true": True, "false": False}[settings["jit_compile"]],
        **{f"{player}_optimizer": optimizer for player, optimizer in zip(model.player_names[1:], others, strict=True)},
    )
    return model


_LEARNERS = ("generator", "autoencoder")  # whose learning rate is that of the recipe; the others have the critic's


def _learning_rates(model, game, settings, total_steps):
    """Player to the learning rate of its optimizer, which counts the player's own moves alone."""
    return {
        player: _learning_rate(settings, game.turns(side, total_steps), "" if player in _LEARNERS else "critic_")
        for player, side in model.player_sides.items()
    }


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
        optimizer=keras.optimizers.Adam(
            _learning_rate(settings, total_steps), global_clipnorm=settings.get("clip_norm") or None
        ),
        objective=OBJECTIVES[settings["objective"]](num_samples=settings["num_samples"]),
        jit_compile={"auto": "auto", "true": True, "false": False}[settings["jit_compile"]],
    )
    return model


def set_learning_rates(model, settings, total_steps):
    """Gives every optimizer of a compiled model its learning rate for a run of `total_steps`."""
    if not hasattr(model, "player_sides"):
        model.optimizer.learning_rate = _learning_rate(settings, total_steps)
        return
    rates = _learning_rates(model, model.objective, settings, total_steps).values()
    for (optimizer, _), rate in zip(model.players(), rates, strict=True):
        optimizer.learning_rate = rate


def _learning_rate(settings, steps, whose=""):
    """The learning rate as a float or as a schedule: a function of the optimizer's step count, so it holds no state.

    `steps`: how many the optimizer takes. `whose`: what the name of the setting begins with.
    """
    rate = settings[whose + "learning_rate"]
    return keras.optimizers.schedules.CosineDecay(rate, max(1, steps)) if settings["schedule"] == "cosine" else rate


BUILDERS = {
    "vae": vae,
    "belief_network": belief_network,
    "structured_predictor": structured_predictor,
    "gan": gan,
    "dcgan": dcgan,
    "adversarial_autoencoder": adversarial_autoencoder,
    "draw": draw,
    "sequential_generator": sequential_generator,
    "sequential_imputer": sequential_imputer,
    "recurrent_attention": recurrent_attention,
}
