"""The adversarial autoencoder: reconstruction, and a critic of codes in place of the KL."""

import keras
import tensorflow as tf

from keras_gen.adversarial import networks
from keras_gen.adversarial.game import ALWAYS, CRITIC, GENERATOR, JUDGED, AdversarialModel, Move, batch_size_of, judged
from keras_gen.adversarial.generator import ImplicitGenerator
from keras_gen.adversarial.losses import gradient_penalty
from keras_gen.adversarial.priors import NormalPrior, UniformCategorical
from keras_gen.checks import check_dropout, check_integers, check_sizes
from keras_gen.conditionals import Conditional
from keras_gen.distributions import softplus
from keras_gen.noise import BatchNoise, fold_in

RECONSTRUCTIONS = ("squared", "cross_entropy")
# Streams of a step's key.
_DROP_AUTOENCODER, _PRIOR, _DROP_CODES, _DROP_ENCODER, _BETWEEN = range(5)


class Encoder(networks.Network):
    """Images `[B, H, W, C]` through dense ReLU layers to a code `[B, latent_dim]`, linear, and logits `[B, categories]`.

    Args:
        data_shape: (H, W, C).
        latent_dim: length of the code.
        hidden_units: of the dense layers, from the data upward.
        categories: number of logits, 0 for none.
        dropout: probability that a unit is dropped while training.
    """

    def __init__(self, data_shape, latent_dim, hidden_units, categories=0, dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        self.dropout, self.categories, self.latent_dim, self.hidden = dropout, categories, latent_dim, []
        self.flatten = keras.layers.Flatten(dtype=self.dtype_policy)
        shape = tuple(self.flatten.compute_output_shape((None, *data_shape))[1:])
        for units in hidden_units:
            layer, shape = self._layer(keras.layers.Dense, units, shape, activation="relu")
            self.hidden.append(layer)
        self.head, _ = self._layer(keras.layers.Dense, latent_dim + categories, shape)
        self.built = True

    def call(self, inputs, label=None, noise=None, training=False):
        values = self.flatten(inputs)
        for layer in self.hidden:
            values = networks.dropped(layer(values), self.dropout, noise)
        values = tf.cast(self.head(values), tf.float32)
        return values[:, self.categories :], values[:, : self.categories]


@keras.saving.register_keras_serializable("keras_gen")
class AdversarialAutoencoder(AdversarialModel):
    """An autoencoder whose codes, over all images, are made to look like draws from a prior by a critic of codes.

    Three players on each batch: the autoencoder lowers the reconstruction error, the critic learns to tell prior draws from
    codes, the encoder learns to pass for the prior. What is matched is the *aggregated* posterior: the codes of all images
    together, where a VAE's KL acts on each image's own.

    With `categories` a code is a pair: a one-hot category, and a style from the prior; a second critic holds the encoder's
    category probabilities to one-hot vectors. Labels teach the categories where there are some (-1 for an image without one);
    without any the categories are clusters.

    Args:
        data_shape: (H, W, C).
        latent_dim: length of the code (of the style, with categories).
        hidden_units: of the encoder's layers from the data upward; the decoder has the same, reversed.
        critic_units: of the critic's dense layers; None for those of `hidden_units`.
        prior: conditional without parent that draws `(latent_dim,)`; None for N(0, prior_scale^2 I).
        prior_scale: standard deviation of the normal prior.
        categories: number of categories of the code, 0 for none.
        num_classes: number of classes where images are drawn by label, which the decoder then takes beside the code. Not
            together with `categories`.
        reconstruction: "squared": half the squared error, summed over pixels. "cross_entropy": summed over pixels, for values
            that are probabilities.
        dropout: probability that a unit of encoder or decoder is dropped while training.
        seed: see `GenerativeModel`.

    Makhzani, Shlens, Jaitly, Goodfellow, Frey: Adversarial autoencoders. 2015.
    """

    player_sides = {"autoencoder": ALWAYS, "critic": CRITIC, "encoder": GENERATOR}

    def __init__(
        self,
        data_shape,
        latent_dim=8,
        hidden_units=(1000, 1000),
        critic_units=None,
        prior=None,
        prior_scale=5.0,
        categories=0,
        num_classes=0,
        reconstruction="squared",
        dropout=0.0,
        seed=None,
        **kwargs,
    ):
        (latent_dim,) = check_integers(latent_dim=latent_dim)
        categories, num_classes = categories or 0, num_classes or 0
        hidden_units = check_sizes("hidden_units", hidden_units)
        critic_units = check_sizes("critic_units", critic_units, optional=True)
        if reconstruction not in RECONSTRUCTIONS:
            raise ValueError(f"reconstruction={reconstruction!r}: one of {', '.join(map(repr, RECONSTRUCTIONS))}.")
        if categories and num_classes:
            raise ValueError(
                f"categories={categories} and num_classes={num_classes}: a label either is a part of the code, which the "
                "encoder infers (categories), or is given beside it (num_classes)."
            )
        check_dropout(dropout=dropout)
        super().__init__(data_shape=data_shape, num_classes=num_classes, seed=seed, **kwargs)
        self.latent_dim, self.prior, self.prior_scale = latent_dim, prior, prior_scale
        self.hidden_units, self.critic_units = hidden_units, critic_units
        self.categories, self.reconstruction, self.dropout = categories, reconstruction, dropout
        inner, shape = {"dtype": kwargs.get("dtype")}, self.data_shape
        style = NormalPrior(latent_dim, prior_scale, name="prior") if prior is None else prior
        if not isinstance(style, Conditional) or style.event_shape != (latent_dim,):
            raise ValueError(f"prior={prior!r}: a conditional without parent that draws events of shape ({latent_dim},).")
        priors = [UniformCategorical(categories, name="category"), style] if categories else [style]
        self.encoder = Encoder(shape, latent_dim, self.hidden_units, categories, dropout, **inner)
        decoder = networks.MLPDecoder(
            latent_dim + categories, shape, self.hidden_units[::-1], num_classes, dropout=dropout, **inner
        )
        self.generator = ImplicitGenerator(priors, decoder, name="generator")
        units = hidden_units if critic_units is None else critic_units
        self.critic = networks.MLPCritic((latent_dim,), units, **inner)
        self.category_critic = networks.MLPCritic((categories,), units, **inner) if categories else None
        self.built = True

    def sides(self):
        encoder, decoder = self.encoder.trainable_variables, self.generator.trainable_variables
        judges = [self.critic, self.category_critic] if self.categories else [self.critic]
        return {
            "autoencoder": [*encoder, *decoder],
            "critic": [variable for judge in judges for variable in judge.trainable_variables],
            "encoder": encoder,
        }

    def encode(self, images):
        """The code of images `[B, H, W, C]`, float32 `[B, latent_dim]`: a function of the image, not a draw."""
        return self.encoder(tf.convert_to_tensor(images))[0]

    def classify(self, images):
        """Probabilities of the categories, float32 `[B, categories]`.

        Raises:
            ValueError: a model made without categories.
        """
        if not self.categories:
            raise ValueError("this AdversarialAutoencoder was made without categories: there is nothing to classify by.")
        return tf.nn.softmax(self.encoder(tf.convert_to_tensor(images))[1])

    def call(self, images, label=None):
        """Reconstructs images, `[B, H, W, C]`; `label` integer `[B]` for a conditional model.

        Raises:
            ValueError: a conditional model without labels.
        """
        if self.num_classes and label is None:
            raise ValueError("this AdversarialAutoencoder decodes by class: call it with labels too, model(images, label=...).")
        style, logits = self.encoder(images)
        return self.generator.decode(self._code(style, logits), self.one_hot(label) if self.num_classes else None)

    def _code(self, style, logits):
        return tf.concat([tf.nn.softmax(logits), style], axis=-1) if self.categories else style

    def _reconstruction(self, x, code, label, noise):
        logits = tf.cast(self.generator.network.logits(code, label, noise), tf.float32)
        squared = self.reconstruction == "squared"
        error = 0.5 * tf.square(x - tf.sigmoid(logits)) if squared else softplus(logits) - x * logits
        return tf.reduce_sum(error, axis=[1, 2, 3])

    def judged_sets(self, x, label, seed, training=False):
        drawn = self.generator.latents(BatchNoise(seed, (batch_size_of(x),)))
        return self._judged(self.critic, drawn[:, self.categories :]), self._judged(self.critic, self.encoder(x)[0])

    def moves(self, x, label, seed, training):
        rules, batch, classes = self.objective, batch_size_of(x), None
        if self.categories:  # labels are a part of the code
            classes, label = tf.zeros((batch, self.categories)) if label is None else label, None

        def noise(stream):
            return BatchNoise(fold_in(seed, stream), (batch,))

        def dropping(stream):
            return noise(stream) if training and self.dropout else None

        def autoencoder():
            drop = dropping(_DROP_AUTOENCODER)
            style, logits = self.encoder(x, noise=drop)
            reconstruction = self._reconstruction(x, self._code(style, logits), label, drop)
            loss, figures = reconstruction, {"reconstruction": reconstruction}
            if self.categories:
                loss += self._classification(logits, classes, figures)
            return loss, figures

        def critic():
            style, logits = self.encoder(x, noise=dropping(_DROP_CODES))
            style, probabilities = tf.stop_gradient(style), tf.stop_gradient(tf.nn.softmax(logits))
            drawn = self.generator.latents(noise(_PRIOR))
            pairs = [(self.critic, drawn[:, self.categories :], style)]
            if self.categories:
                pairs.append((self.category_critic, drawn[:, : self.categories], probabilities))
            total = 0.0
            for judge, real, fake in reversed(pairs):  # the figures are those of the style
                logits = tf.split(self._judged(judge, tf.concat([real, fake], axis=0)), 2)  # one product for both
                loss, figures = judged(rules.losses, *logits)
                if rules.gradient_penalty and training:
                    share = noise(_BETWEEN).uniform(())
                    weight = rules.gradient_penalty
                    loss += weight * gradient_penalty(lambda m: self._judged(judge, m), real, fake, share)  # noqa: B023
                total += loss
            return total, figures

        def encoder():
            style, logits = self.encoder(x, noise=dropping(_DROP_ENCODER))
            loss = rules.losses.generator(self._judged(self.critic, style))
            if self.categories:
                loss += rules.losses.generator(self._judged(self.category_critic, tf.nn.softmax(logits)))
            return loss, {"encoder_loss": loss}

        named = ("reconstruction", "classification", "accuracy") if self.categories else ("reconstruction",)
        return [
            Move("autoencoder", autoencoder, named),
            Move("critic", critic, JUDGED),
            Move("encoder", encoder, ("encoder_loss",)),
        ]

    @staticmethod
    def _judged(judge, codes):
        return tf.cast(judge(codes), tf.float32)

    def _classification(self, logits, classes, figures):
        """The cross-entropy of the labelled images, `[B]`, 0 for the others, scaled to their mean over the batch."""
        labelled = tf.reduce_sum(classes, axis=-1)  # 0 for a label of -1, whose one-hot vector is 0
        share = labelled * tf.cast(tf.shape(labelled)[0], tf.float32) / tf.maximum(1.0, tf.reduce_sum(labelled))
        entropy = -tf.reduce_sum(classes * tf.nn.log_softmax(logits), axis=-1)
        right = tf.cast(tf.equal(tf.argmax(logits, -1), tf.argmax(classes, -1)), tf.float32)
        figures.update(classification=(entropy, labelled), accuracy=(right, labelled))
        return entropy * share

    @property
    def label_count(self):
        return self.categories or self.num_classes

    def get_config(self):
        own = ("latent_dim", "hidden_units", "critic_units", "prior_scale", "categories", "reconstruction", "dropout")
        prior = None if self.prior is None else keras.saving.serialize_keras_object(self.prior)
        return {**super().get_config(), **{name: getattr(self, name) for name in own}, "prior": prior}

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        if isinstance(config.get("prior"), dict):
            config["prior"] = keras.saving.deserialize_keras_object(config["prior"])
        return cls(**config)
