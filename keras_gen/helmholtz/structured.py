"""Structured prediction: the lower half of an image from its upper half, through stochastic binary hidden layers."""

import functools
import random

import keras
import tensorflow as tf

from keras_gen import conditionals, images
from keras_gen.checks import check_sizes
from keras_gen.distributions import leading_shape
from keras_gen.helmholtz.likelihood import INFER, LikelihoodModel
from keras_gen.model import check_seed_of
from keras_gen.noise import BatchNoise, CounterNoise, fold_in
from keras_gen.objectives import MuProp
from keras_gen.objectives.objective import with_value
from keras_gen.trace import LatentGroup, Trace, check_draws


class PredictionTrace(Trace):
    """Hidden layers drawn from the predictor itself, so that p and q of a draw are one: only the target tells draws apart.

    Attributes:
        log_likelihood: log p(target given the hidden layers), `[K, B]`, nats. It is the log weight too, and the signal of every
            layer, since each has its part in all that comes after it.
    """

    @functools.cached_property
    def log_p_joint(self):
        """log p(target, h given the input), `[K, B]`; its gradient is that of log p(target given h) alone.

        How the hidden layers learn is said once, by their log q.
        """
        return self.log_likelihood + tf.stop_gradient(self.log_q_posterior)

    @property
    def log_direct(self):
        """The same: all hidden layers learn by likelihood ratios."""
        return self.log_p_joint

    @functools.cached_property
    def log_weight(self):
        """log p(target given h), `[K, B]`: p(h) over q(h) is 1."""
        return self.log_likelihood

    @functools.cached_property
    def local_log_weights(self):
        """log p(target given h), `[K, B]`, once for each layer."""
        return [self.log_likelihood] * len(self.groups)


@keras.saving.register_keras_serializable("keras_gen")
class HalfImageGenerator(keras.layers.Layer):
    """Draws the lower half of an image given its upper half; or the upper half first, from independent pixels.

    The image's pixels have the first stream of noise, both halves; each hidden layer has one more.

    Args:
        conditionals: `Bernoulli` layers in the order of drawing: the upper half (no parent), the hidden layers, the lower half.
    """

    def __init__(self, conditionals, **kwargs):
        super().__init__(**kwargs)
        self.conditionals = list(conditionals)
        parent = None
        for conditional in self.conditionals:
            conditional.build(parent)
            parent = (None, *conditional.event_shape)
        self.built = True

    def complete(self, upper, noise):
        """Draws whole images.

        Args:
            upper: float32 `[B or 1, H // 2, W, C]`, the probability of a one in each pixel; binary pixels stay as they are.
            noise: a `Noise` of batch shape `[B]`.

        Returns:
            `{"sample": [B, H, W, C], "mean": same}`: a draw, and the mean of each pixel given the hidden layers; in the upper
            half that is `upper`.
        """
        rows = self.conditionals[0].event_shape[0]
        lower_rows, *rest = self.conditionals[-1].event_shape
        pixels = noise.uniform((rows + lower_rows, *rest))
        # Uniforms are never 0 and at most 1, so that <= leaves binary pixels exactly as they are.
        parent = drawn = tf.cast(pixels[:, :rows] <= upper, tf.float32)
        for conditional in self.conditionals[1:-1]:
            parent = conditional.draw(conditional(parent), noise)
        mean = self.conditionals[-1](parent).mean()
        lower = tf.cast(pixels[:, rows:] < mean, tf.float32)
        return {
            "sample": tf.concat([drawn, lower], axis=1),
            "mean": tf.concat([tf.broadcast_to(upper, tf.shape(drawn)), mean], axis=1),
        }

    def generate(self, noise):
        """The same with an upper half of independent pixels."""
        return self.complete(self.conditionals[0]().mean()[None], noise)

    def get_config(self):
        return {**super().get_config(), "conditionals": [keras.saving.serialize_keras_object(c) for c in self.conditionals]}

    @classmethod
    def from_config(cls, config):
        made = [keras.saving.deserialize_keras_object(conditional) for conditional in config["conditionals"]]
        return cls(**{**config, "conditionals": made})


@keras.saving.register_keras_serializable("keras_gen")
class StructuredPredictor(LikelihoodModel):
    """p(lower half given upper half) = sum over h of p(h_1 given upper) p(h_2 given h_1) ... p(lower given h_L), all binary.

    ```python
    model = keras_gen.StructuredPredictor(data_shape=(28, 28, 1), units=(200, 200))
    model.compile(optimizer="adam", objective=keras_gen.objectives.MuProp())
    model.fit(images, epochs=20)
    completed = model.predict(images[:64], seed=[[7, row] for row in range(64)])["sample"]
    ```

    There is no recognition network: hidden layers are drawn from the predictor itself, h_k ~ p(h given upper), and learn by
    likelihood ratios. `ScoreFunction`, `NVIL` and `MuProp` climb E[log p(lower given h)], averaged over their K draws; `VIMCO`
    climbs E[log (1/K) sum_k p(lower given h_k)], which rises with K to log p(lower given upper). Either is reported as `bound`,
    nats for the lower half; `kl` is 0. `evaluation.log_likelihood` estimates log p(lower given upper) by VIMCO's formula: with
    100 samples an image it is minus the figure of the papers.

    Use `predict`. So that there are whole images to `generate`, too, the upper half has a model of its own: independent
    pixels, fitted by maximum likelihood along with the rest, reported as `upper_log_likelihood` and in no bound. Upper halves
    drawn from it look like noise in the shape of the mean image, and lower halves predicted from those are no better.

    Args:
        data_shape: (H, W, C), H >= 2. The upper half is the first H // 2 rows.
        units: units of the hidden layers **from the upper half onward**.
        binarization, seed: see `LikelihoodModel`; both halves are binarised.

    Raises:
        ValueError: units that are none; images of one row; at `compile`, objectives that do not fit.

    Gu, Levine, Sutskever, Mnih: MuProp: Unbiased backpropagation for stochastic neural networks. ICLR 2016, structured
    prediction. Raiko, Berglund, Alain, Dinh: Techniques for learning binary stochastic feedforward neural networks. ICLR 2015.
    """

    has_recognition = False

    def __init__(self, data_shape, units=(200, 200), binarization="auto", seed=None, **kwargs):
        units = check_sizes("units", units, "the units of each hidden layer from the upper half onward", least=1)
        super().__init__(data_shape=data_shape, binarization=binarization, seed=seed, **kwargs)
        height, *rest = self.data_shape
        if height < 2:
            raise ValueError(
                f"data_shape={self.data_shape}: the lower half is predicted from the upper half, so that an image must have at "
                "least two rows."
            )
        self.units = units
        self._rows = height // 2
        inner = {"dtype": kwargs.get("dtype")}
        self.generator = HalfImageGenerator(
            [
                conditionals.Bernoulli((self._rows, *rest), name="upper", **inner),
                *(conditionals.Bernoulli(size, name=f"hidden_{depth + 1}", **inner) for depth, size in enumerate(units)),
                conditionals.Bernoulli((height - self._rows, *rest), name="lower", **inner),
            ],
            name="generator",
        )
        self.built = True

    @property
    def recognition(self):
        """What draws the latents, as objectives ask of every model: here the hidden layers of the predictor."""
        return self.generator.conditionals[1:-1]

    @property
    def target_rows(self):
        """The rows of an image that are predicted and scored, a slice."""
        return slice(self._rows, None)

    def trace(self, x, num_samples=1, seed=None, draws="pathwise"):
        """Draws `num_samples` = K hidden states for each of B images given the upper half and scores the lower half.

        Args:
            x: float `[B, H, W, C]`, binary.
            num_samples: K.
            seed: int32 `[2]`, the key of the draws; a fresh one where None.
            draws: "pathwise", "fixed" and "choices" are the same: no gradient flows through binary draws. "means": no
                draws, each layer is its mean given the means below (the mean-field pass), through which gradients flow; K is 1.

        Returns:
            `PredictionTrace` of shape `[K, B]`, one group a hidden layer from the upper half onward.
        """
        check_draws(draws)
        x = tf.cast(x, tf.float32)
        batch = leading_shape(x, len(self.data_shape))
        seed = [random.getrandbits(31), random.getrandbits(31)] if seed is None else seed
        noise = BatchNoise(seed, (num_samples, *batch))
        groups, below = [], x[:, : self._rows]
        for conditional in self.recognition:
            distribution = conditional(below)
            if draws == "means":
                below = tf.reshape(distribution.mean(), (1, *batch, *conditional.event_shape))
            else:
                below = conditional.draw(distribution, noise)
            groups.append(LatentGroup(below, prior=distribution, posterior=distribution))
        return PredictionTrace(tuple(groups), self.data_conditional(below).log_prob(x[:, self._rows :]))

    def predict(self, x, seed):
        """Completes images: keeps the upper half and draws the lower one, each row a function of its image and seed row alone.

        Takes the place of Keras's `predict`.

        Args:
            x: float `[B, H, W, C]` in [0, 1]; the lower half is not looked at. A grey pixel of the upper half is drawn, being
                the probability of a one; or thresholded where `binarization="threshold"`.
            seed: int32 `[B, 2]`.

        Returns:
            dict of float32 tensors `[B, H, W, C]`: `sample`, one draw, and `mean`, the mean of each pixel given the hidden
            layers that were drawn.

        Raises:
            ValueError: images or seeds of another shape or dtype, or not as many of the one as of the other; values outside
                [0, 1]; grey ones with `binarization="none"`.
        """
        x = tf.convert_to_tensor(x)
        images.check_shape_and_dtype(x.shape, x.dtype, self.data_shape)
        seed = check_seed_of(x, seed)
        upper = tf.cast(x[:, : self._rows], tf.float32)
        if tf.executing_eagerly():
            self._check_upper(upper.numpy())
        if self.binarization == "threshold":
            upper = tf.cast(upper > 0.5, tf.float32)
        return self.generator.complete(upper, CounterNoise(seed))

    def _check_upper(self, upper):
        images.check_values(upper, "upper halves")
        if self.binarization == "none" and not images.is_binary(upper):
            raise ValueError(
                "upper halves hold grey values, and the first hidden layer was trained on 0 and 1 alone. Binarise them, or "
                'make the model with binarization="dynamic" or "threshold".'
            )

    def default_objective(self):
        return MuProp()

    def step(self, x, seed, label=None):
        x = self.binarize(x, seed)
        estimate = self.objective(self, x, fold_in(seed, INFER))
        upper = self.generator.conditionals[0]().log_prob(tf.cast(x[:, : self._rows], tf.float32))
        # The upper half's pixels learn beside the rest; the loss stays minus the bound.
        loss = with_value(estimate.loss, estimate.loss - upper)
        return estimate._replace(loss=loss, figures={**estimate.figures, "upper_log_likelihood": upper})

    def figure_names(self):
        return [*super().figure_names(), "upper_log_likelihood"]

    def get_config(self):
        return {**super().get_config(), "units": self.units}

    @classmethod
    def from_config(cls, config):
        return cls(**config)
