"""The variational autoencoder."""

import keras

from keras_gen import conditionals, networks
from keras_gen.checks import check_integers, check_sizes
from keras_gen.helmholtz.likelihood import data_conditional
from keras_gen.helmholtz.machine import HelmholtzMachine

NETWORKS = ("mlp", "convolutional")


@keras.saving.register_keras_serializable("keras_gen")
class VAE(HelmholtzMachine):
    """p(z) = N(0, I), p(x given z) by a decoder; q(z given x) a diagonal Gaussian by an encoder.

    ```python
    model = keras_gen.VAE(data_shape=(28, 28, 1), latent_dim=50)
    model.compile(optimizer="adam")
    model.fit(images, epochs=20)
    pictures = model.sample(64, seed=7)
    ```

    Args:
        data_shape: (H, W, C).
        latent_dim: number of latent units.
        hidden_units: units of the encoder's layers from the data upward; the decoder has the same, reversed. For
            "convolutional" networks the channels of the stages, each of which halves height and width. None for (200, 200),
            or (32, 64). An empty tuple makes both networks linear.
        likelihood: "bernoulli"; "gaussian", with one learned scale for all pixels (of at least 1/256); or
            "discretized_logistic", over `levels` grey levels.
        encoder, decoder: "mlp", "convolutional", or any Keras layer from `[N, H, W, C]`, respectively `[N, latent_dim]`, to
            features `[N, ...]`; a linear head is added to either.
        activation: of the built-in networks.
        levels: number of grey levels, for "discretized_logistic".
        binarization, seed: see `HelmholtzMachine`.

    Kingma, Welling: Auto-encoding variational Bayes. ICLR 2014.
    Rezende, Mohamed, Wierstra: Stochastic backpropagation and approximate inference in deep generative models. ICML 2014.
    """

    def __init__(
        self,
        data_shape,
        latent_dim=50,
        hidden_units=None,
        likelihood="bernoulli",
        encoder="mlp",
        decoder="mlp",
        activation="relu",
        levels=256,
        binarization="auto",
        seed=None,
        **kwargs,
    ):
        (latent_dim,) = check_integers(latent_dim=latent_dim)
        hidden_units = check_sizes("hidden_units", hidden_units, optional=True)
        data_shape = tuple(data_shape)
        try:
            keras.activations.get(activation)
        except ValueError:
            raise ValueError(
                f"activation={activation!r}: a function, or the name of one of Keras, such as 'relu', 'elu' or 'tanh'."
            ) from None
        # Layers inside take the policy that is given to the model, as they would take the global one.
        inner = {"dtype": kwargs.get("dtype")}
        encoding = _network(encoder, "encoder", hidden_units, activation, data_shape, inner)
        decoding = _network(decoder, "decoder", hidden_units, activation, data_shape, inner)
        super().__init__(
            generative=[
                conditionals.StandardNormal(latent_dim, name="prior", **inner),
                data_conditional(likelihood, data_shape, decoding, levels, inner),
            ],
            recognition=[conditionals.Normal(latent_dim, encoding, name="encoder", **inner)],
            binarization=binarization,
            seed=seed,
            **kwargs,
        )
        self.latent_dim, self.hidden_units, self.activation = latent_dim, hidden_units, activation
        self.likelihood, self.levels = likelihood, levels
        self.encoder, self.decoder = encoder, decoder

    def get_config(self):
        config = super().get_config()
        del config["generative"], config["recognition"]
        own = ("data_shape", "latent_dim", "hidden_units", "likelihood", "activation", "levels")
        config.update({name: getattr(self, name) for name in own})
        for name in ("encoder", "decoder"):
            network = getattr(self, name)
            config[name] = network if isinstance(network, str) else keras.saving.serialize_keras_object(network)
        return config

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        for name in ("encoder", "decoder"):
            if isinstance(config.get(name), dict):
                config[name] = keras.saving.deserialize_keras_object(config[name])
        return cls(**config)


def _network(network, side, hidden_units, activation, data_shape, inner):
    """The Keras layer (or None, for a linear side) that `encoder` or `decoder` names."""
    if isinstance(network, keras.layers.Layer):
        return network
    if network == "mlp":
        units = (200, 200) if hidden_units is None else hidden_units
        return networks.mlp(units if side == "encoder" else units[::-1], activation, **inner)
    if network == "convolutional":
        filters = (32, 64) if hidden_units is None else hidden_units
        if not filters:
            raise ValueError(f'{side}="convolutional" needs hidden_units, the channels of at least one stage.')
        if side == "encoder":
            return networks.convolutional_encoder(filters, activation, **inner)
        return networks.convolutional_decoder(data_shape, filters, activation, **inner)
    raise ValueError(f"{side}={network!r}: one of {', '.join(map(repr, NETWORKS))}, or a Keras layer.")
