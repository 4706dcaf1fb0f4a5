"""The registry of all public models: what the shared contract test, the export tests and the coverage test run over."""

import numpy as np

import keras_gen as kg

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
    "structured_predictor": lambda **kwargs: kg.StructuredPredictor((7, 6, 1), units=(8, 64), **kwargs),
}


def images_for(model, count=32, seed=0):
    """Images that the model's likelihood can score, float32 `[count, *data_shape]`."""
    levels = np.random.default_rng(seed).integers(0, 256, (count, *model.data_shape))
    grey = (levels / 255).astype(np.float32)
    return (grey > 0.5).astype(np.float32) if model.data_conditional.binary else grey
