"""The registry of all public models: what the shared contract test, the export tests and the coverage test run over."""

import numpy as np

import keras_gen as kg
from keras_gen.adversarial.game import AdversarialModel
from keras_gen.helmholtz.likelihood import LikelihoodModel
from keras_gen.model import GenerativeModel

SHAPE = (8, 8, 1)


def _own_layers():
    import keras

    return keras.Sequential([keras.layers.Flatten(), keras.layers.LayerNormalization(), keras.layers.Dense(12, "silu")])


def _machine(**kwargs):
    from keras_gen import conditionals, networks

    return kg.HelmholtzMachine(
        generative=[
            conditionals.Normal(2, name="p2"),
            conditionals.Normal(3, networks.mlp((6,), "tanh"), name="p1"),
            conditionals.Bernoulli(SHAPE, networks.mlp((9,), "tanh"), name="p0"),
        ],
        recognition=[
            conditionals.Normal(3, networks.mlp((9,), "tanh"), name="q1"),
            conditionals.Normal(2, networks.mlp((6,), "tanh"), name="q2"),
        ],
        **kwargs,
    )


def _categorical_machine(**kwargs):
    from keras_gen import conditionals

    return kg.HelmholtzMachine(
        generative=[conditionals.Categorical((3, 4), name="p1"), conditionals.Bernoulli(SHAPE, name="p0")],
        recognition=[conditionals.Categorical((3, 4), name="q1")],
        **kwargs,
    )


#: name -> factory of a small model; keyword arguments go to the constructor.
MODELS = {
    "vae": lambda **kwargs: kg.VAE(SHAPE, latent_dim=4, hidden_units=(16,), **kwargs),
    "vae_gaussian": lambda **kwargs: kg.VAE(SHAPE, latent_dim=4, hidden_units=(16,), likelihood="gaussian", **kwargs),
    "vae_colour": lambda **kwargs: kg.VAE(
        (9, 7, 3), latent_dim=4, hidden_units=(4, 8), likelihood="discretized_logistic",
        encoder="convolutional", decoder="convolutional", **kwargs,
    ),
    "vae_own_layers": lambda **kwargs: kg.VAE(
        SHAPE, latent_dim=3, encoder=_own_layers(), decoder=_own_layers(), binarization="dynamic", **kwargs
    ),
    "vae_smallest": lambda **kwargs: kg.VAE((3, 3, 1), latent_dim=1, hidden_units=(), **kwargs),
    "helmholtz_machine": _machine,
    "belief_network": lambda **kwargs: kg.SigmoidBeliefNetwork(SHAPE, units=(6, 4), **kwargs),
    "belief_network_autoregressive": lambda **kwargs: kg.SigmoidBeliefNetwork(
        SHAPE, units=(6,), generative="autoregressive", recognition="autoregressive", **kwargs
    ),
    "categorical_machine": _categorical_machine,
    "gan": lambda **kwargs: kg.GAN(SHAPE, latent_dim=4, hidden_units=(16,), critic_units=(12,), pieces=3, **kwargs),
    "gan_conditional": lambda **kwargs: kg.GAN(
        (3, 3, 1), latent_dim=2, hidden_units=(8,), critic_units=(8,), pieces=2, num_classes=3, **kwargs
    ),
    "dcgan": lambda **kwargs: kg.DCGAN((9, 7, 3), latent_dim=4, filters=(4, 8), **kwargs),
    "dcgan_conditional": lambda **kwargs: kg.DCGAN(
        SHAPE, latent_dim=4, filters=(4, 8), dense_units=(8,), num_classes=3, **kwargs
    ),
    "aae": lambda **kwargs: kg.AdversarialAutoencoder(SHAPE, latent_dim=3, hidden_units=(16,), dropout=0.1, **kwargs),
    "aae_categories": lambda **kwargs: kg.AdversarialAutoencoder(
        SHAPE, latent_dim=3, hidden_units=(16,), categories=3, **kwargs
    ),
    "aae_conditional": lambda **kwargs: kg.AdversarialAutoencoder(
        SHAPE, latent_dim=3, hidden_units=(16,), num_classes=3, reconstruction="cross_entropy", **kwargs
    ),
    "draw": lambda **kwargs: kg.DRAW(SHAPE, steps=3, units=12, latent_dim=3, **kwargs),
    "draw_soft_colour": lambda **kwargs: kg.DRAW(
        (7, 9, 3), steps=3, units=12, latent_dim=3, attention="soft", read_size=3, write_size=4,
        likelihood="discretized_logistic", **kwargs,
    ),
    "draw_hard": lambda **kwargs: kg.DRAW(
        SHAPE, steps=3, units=12, latent_dim=3, attention="hard", read_size=3, write_size=4, **kwargs
    ),
    "draw_hard_random": lambda **kwargs: kg.DRAW(
        (7, 6, 1), steps=2, units=12, latent_dim=3, attention="hard", random_windows=True, likelihood="gaussian", **kwargs
    ),
    "draw_smallest": lambda **kwargs: kg.DRAW(
        (3, 3, 1), steps=1, units=4, latent_dim=1, attention="soft", read_size=2, write_size=2, **kwargs
    ),
    "sequential_generator": lambda **kwargs: kg.SequentialGenerator(SHAPE, steps=3, units=12, latent_dim=3, **kwargs),
    "sequential_generator_jump": lambda **kwargs: kg.SequentialGenerator(
        (7, 6, 1), steps=2, units=10, latent_dim=3, canvas="jump", likelihood="gaussian", **kwargs
    ),
    "sequential_generator_feed_forward": lambda **kwargs: kg.SequentialGenerator(
        (5, 4, 3), steps=2, units=10, latent_dim=3, network="feed_forward", likelihood="discretized_logistic", **kwargs
    ),
    "sequential_imputer": lambda **kwargs: kg.SequentialImputer(
        SHAPE, steps=2, units=12, latent_dim=3, drop_rate=0.5, **kwargs
    ),
    "sequential_imputer_lstm": lambda **kwargs: kg.SequentialImputer(
        (7, 6, 3), steps=3, units=10, latent_dim=3, network="lstm", canvas="jump", mask="mar",
        likelihood="cross_entropy", **kwargs
    ),
    "recurrent_attention": lambda **kwargs: kg.RecurrentAttentionClassifier(
        (9, 7, 3), num_classes=3, glimpses=3, glimpse_size=3, glimpse_scales=2, units=12, sensor_units=8, **kwargs
    ),
    "recurrent_attention_random": lambda **kwargs: kg.RecurrentAttentionClassifier(
        (3, 3, 1), num_classes=2, glimpses=2, units=8, sensor_units=6, random_glimpses=True, **kwargs
    ),
    "structured_predictor": lambda **kwargs: kg.StructuredPredictor((7, 6, 1), units=(8, 64), **kwargs),
}

#: Which of them draw no images, and which score none: said here, since to build them all takes each part of the suite seconds.
CLASSIFIERS = ("recurrent_attention", "recurrent_attention_random")
GAMES = ("gan", "gan_conditional", "dcgan", "dcgan_conditional", "aae", "aae_categories", "aae_conditional")

#: A model of each class and way to learn, for what costs a compilation and does not depend on shapes or likelihoods.
ONE_OF_EACH = (
    "vae",
    "vae_colour",
    "helmholtz_machine",
    "belief_network",
    "belief_network_autoregressive",
    "categorical_machine",
    "structured_predictor",
    "gan",
    "dcgan_conditional",
    "aae_categories",
    "draw_soft_colour",
    "draw_hard",
    "sequential_generator",
    "sequential_imputer",
    "sequential_imputer_lstm",
    "recurrent_attention",
)


def images_for(model, count=32, seed=0):
    """Images that the model's likelihood can score, float32 `[count, *data_shape]`."""
    levels = np.random.default_rng(seed).integers(0, 256, (count, *model.data_shape))
    grey = (levels / 255).astype(np.float32)
    return (grey > 0.5).astype(np.float32) if has_likelihood(model) and model.data_conditional.binary else grey


def has_likelihood(model):
    """Whether the model scores images."""
    return isinstance(model, LikelihoodModel)


def draws_images(model):
    """Whether the model is a generator; a classifier is none."""
    return isinstance(model, GenerativeModel)


def plays_game(model):
    """Whether the model is trained against a critic."""
    return isinstance(model, AdversarialModel)


def data_for(model, count=32, seed=0):
    """What `fit` takes: `(images,)`, or `(images, labels)` for a model that uses labels."""
    images, classes = images_for(model, count, seed), model.label_count
    if not classes:
        return (images,)
    labels = np.arange(count, dtype=np.int32) % classes
    if not draws_images(model):  # so that there is something to learn: the brightness is the class
        images = images * ((1 + labels) / classes).astype(np.float32)[:, None, None, None]
    return images, labels


def generated(model, seeds):
    """`model.generate` of these seeds, with a label for each where the model takes labels, as numpy."""
    classes = getattr(model, "num_classes", 0)
    labels = [np.arange(len(seeds), dtype=np.int32) % classes] if classes else []
    return {name: np.asarray(value) for name, value in model.generate(seeds, *labels).items()}
