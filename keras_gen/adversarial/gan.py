"""Generative adversarial networks: dense (`GAN`) and convolutional (`DCGAN`)."""

import keras
import tensorflow as tf

from keras_gen.adversarial import networks
from keras_gen.adversarial.game import JUDGED, AdversarialModel, Move, batch_size_of, judged
from keras_gen.adversarial.generator import ImplicitGenerator
from keras_gen.adversarial.losses import gradient_penalty
from keras_gen.adversarial.priors import UniformPrior
from keras_gen.checks import check_dropout, check_integers, check_sizes
from keras_gen.conditionals import Conditional
from keras_gen.noise import BatchNoise, JoinedNoise, fold_in

# Streams of a step's key.
_FAKE, _DROP_REAL, _DROP_FAKE, _BETWEEN, _FRESH, _DROP_FRESH = range(6)


class _Adversary(AdversarialModel):
    """A generator of images against a critic of images; a subclass makes the two networks."""

    def __init__(self, data_shape, latent_dim, prior, make_generator, make_critic, num_classes, seed, **kwargs):
        (latent_dim,) = check_integers(latent_dim=latent_dim)
        super().__init__(data_shape=data_shape, num_classes=num_classes, seed=seed, **kwargs)
        self.latent_dim, self.prior = latent_dim, prior
        if prior is None:
            prior = UniformPrior(latent_dim, name="prior")
        if not isinstance(prior, Conditional) or prior.event_shape != (latent_dim,):
            raise ValueError(f"prior={self.prior!r}: a conditional without parent that draws events of shape ({latent_dim},).")
        network = self._network(make_generator(), "generator", (latent_dim,), self.data_shape)
        self.generator = ImplicitGenerator([prior], network, name="generator")
        self.critic = self._network(make_critic(), "critic", self.data_shape, ())
        self.built = True

    def sides(self):
        return {"generator": self.generator.trainable_variables, "critic": self.critic.trainable_variables}

    def judge(self, images, label=None, noise=None, training=False):
        """The critic's logits `[B]`, float32, for images `[B, H, W, C]`: positive where it takes them for data.

        `label` one-hot `[B, num_classes]`; `noise` where its units are to be dropped.
        """
        return tf.cast(self.critic(images, label=label, noise=noise, training=training), tf.float32)

    def judged_sets(self, x, label, seed, training=False):
        fake = self.generator.call(BatchNoise(seed, (batch_size_of(x),)), label)
        return tuple(self.judge(images, label, training=training) for images in (x, fake))

    def moves(self, x, label, seed, training):
        rules, batch = self.objective, batch_size_of(x)

        def noise(stream):
            return BatchNoise(fold_in(seed, stream), (batch,))

        def dropping(stream):
            return noise(stream) if training else None

        def critic():
            fake = tf.stop_gradient(self.generator.call(noise(_FAKE), label, training))
            drops = dropping(_DROP_REAL), dropping(_DROP_FAKE)
            if self.critic.is_rowwise:  # once for both: fewer and larger products
                labels = None if label is None else tf.concat([label, label], axis=0)
                joined = JoinedNoise(*drops) if training else None
                logits = tf.split(self.judge(tf.concat([x, fake], axis=0), labels, joined, training), 2)
            else:  # normalised together, the batch's statistics would tell data from drawn images
                logits = [self.judge(each, label, drop, training) for each, drop in zip((x, fake), drops, strict=True)]
            loss, figures = judged(rules.losses, *logits)
            if rules.gradient_penalty and training:
                share = noise(_BETWEEN).uniform(())
                penalty = gradient_penalty(lambda m: self.judge(m, label, None, training), x, fake, share)
                loss += rules.gradient_penalty * penalty
            return loss, figures

        def generator():
            image = self.generator.call(noise(_FRESH), label, training)
            loss = rules.losses.generator(self.judge(image, label, dropping(_DROP_FRESH), training))
            return loss, {"generator_loss": loss}

        return [Move("critic", critic, JUDGED), Move("generator", generator, ("generator_loss",))]

    def get_config(self):
        serialize = keras.saving.serialize_keras_object
        config = {**super().get_config(), "latent_dim": self.latent_dim}
        return {**config, "prior": None if self.prior is None else serialize(self.prior)}

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        for name in ("prior", "generator_network", "critic_network"):
            if isinstance(config.get(name), dict):
                config[name] = keras.saving.deserialize_keras_object(config[name])
        return cls(**config)


def _serialized(network):
    return None if network is None else keras.saving.serialize_keras_object(network)


@keras.saving.register_keras_serializable("keras_gen")
class GAN(_Adversary):
    """Dense networks: ReLU in the generator, maxout and dropout in the critic, as published.

    ```python
    model = keras_gen.GAN(data_shape=(28, 28, 1))
    model.compile()
    model.fit(images, epochs=20)
    pictures = model.sample(64, seed=7)
    ```

    Args:
        data_shape: (H, W, C).
        latent_dim: number of latent units, uniform with unit variance.
        hidden_units: of the generator's layers, from the latents on.
        critic_units: of the critic's maxout layers.
        pieces: linear pieces of a maxout unit.
        input_dropout, dropout: probability that the critic drops an input, or a unit, while training.
        num_classes: number of classes, for a model that draws images of a given class; 0 for none.
        prior: conditional without parent that draws `(latent_dim,)`; None for the uniform one.
        generator_network: a Keras layer from `[B, latent_dim]` to `[B, H, W, C]` in [0, 1], instead of the built-in one.
        critic_network: a Keras layer from `[B, H, W, C]` to logits `[B]` or `[B, 1]`, instead of the built-in one. A label is
            appended to the input of either as a one-hot vector along the last axis.
        seed: see `GenerativeModel`.

    Raises:
        ValueError: networks that do not fit each other, a critic that returns probabilities, or numbers out of range.

    Goodfellow, Pouget-Abadie, Mirza, Xu, Warde-Farley, Ozair, Courville, Bengio: Generative adversarial nets. NeurIPS 2014.
    """

    def __init__(
        self,
        data_shape,
        latent_dim=100,
        hidden_units=(1200, 1200),
        critic_units=(240, 240),
        pieces=5,
        input_dropout=0.2,
        dropout=0.5,
        num_classes=0,
        prior=None,
        generator_network=None,
        critic_network=None,
        seed=None,
        **kwargs,
    ):
        shape, inner = tuple(data_shape), {"dtype": kwargs.get("dtype")}
        hidden_units, critic_units = check_sizes("hidden_units", hidden_units), check_sizes("critic_units", critic_units)
        (pieces,) = check_integers(pieces=pieces)
        check_dropout(input_dropout=input_dropout, dropout=dropout)

        def make_generator():
            if generator_network is not None:
                return generator_network
            return networks.MLPDecoder(latent_dim, shape, hidden_units, self.num_classes, spread=0.05, **inner)

        def make_critic():
            if critic_network is not None:
                return critic_network
            return networks.MaxoutCritic(shape, critic_units, pieces, self.num_classes, input_dropout, dropout, **inner)

        super().__init__(data_shape, latent_dim, prior, make_generator, make_critic, num_classes, seed, **kwargs)
        self.hidden_units, self.critic_units, self.pieces = hidden_units, critic_units, pieces
        self.input_dropout, self.dropout = input_dropout, dropout
        self.generator_network, self.critic_network = generator_network, critic_network

    def get_config(self):
        own = ("hidden_units", "critic_units", "pieces", "input_dropout", "dropout")
        return {
            **super().get_config(),
            **{name: getattr(self, name) for name in own},
            "generator_network": _serialized(self.generator_network),
            "critic_network": _serialized(self.critic_network),
        }


@keras.saving.register_keras_serializable("keras_gen")
class DCGAN(_Adversary):
    """Strided 5x5 convolutions with batch normalisation on both sides, no pooling.

    Data and drawn images are normalised as separate batches while training; a shipped generator normalises by the moving
    statistics, so that a row does not depend on its batch. On a CPU small images train fastest after
    `tf.config.threading.set_intra_op_parallelism_threads(1)`, see `keras_gen.parts`.

    Args:
        data_shape: (H, W, C), of any size; 28, 32 and 64 pixels are the published ones.
        latent_dim: number of latent units, uniform on [-1, 1].
        filters: channels of the generator's maps from the image inward, one halving of height and width each. None for (32, 64)
            below 32 pixels, (32, 64, 128) below 64, (64, 128, 256, 512) from there.
        critic_filters: those of the critic's maps; None for the same.
        dense_units: of dense layers between latents and maps, and between maps and logit; the published net for 28 pixels has
            (1024,), those for colour none.
        num_classes, prior, seed: see `GAN`. The label joins the input of every layer.

    Radford, Metz, Chintala: Unsupervised representation learning with deep convolutional generative adversarial networks.
    ICLR 2016.
    """

    def __init__(
        self,
        data_shape,
        latent_dim=100,
        filters=None,
        dense_units=(),
        num_classes=0,
        prior=None,
        critic_filters=None,
        seed=None,
        **kwargs,
    ):
        shape, inner = tuple(data_shape), {"dtype": kwargs.get("dtype")}
        channels = {"what": "the channels of each convolution", "least": 1, "optional": True}
        filters = check_sizes("filters", filters, **channels)
        critic_filters = check_sizes("critic_filters", critic_filters, **channels)
        used = _usual_filters(shape) if filters is None else filters
        judging = used if critic_filters is None else critic_filters
        if prior is None:
            (latent_dim,) = check_integers(latent_dim=latent_dim)
            prior = UniformPrior(latent_dim, -1.0, 1.0, name="prior")
        units = check_sizes("dense_units", dense_units)
        super().__init__(
            data_shape,
            latent_dim,
            prior,
            lambda: networks.ConvolutionalDecoder(latent_dim, shape, used, units, self.num_classes, **inner),
            lambda: networks.ConvolutionalCritic(shape, judging, units, self.num_classes, **inner),
            num_classes,
            seed,
            **kwargs,
        )
        self.filters, self.critic_filters, self.dense_units = filters, critic_filters, units

    def get_config(self):
        own = ("filters", "critic_filters", "dense_units")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}


def _usual_filters(data_shape):
    side = min(data_shape[:2])
    return (32, 64) if side < 32 else (32, 64, 128) if side < 64 else (64, 128, 256, 512)
