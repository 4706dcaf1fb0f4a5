"""The recurrent attention model: an image is classified from a few glimpses, at places that the model chooses."""

import dataclasses
import math
import random
from typing import Any

import keras
import tensorflow as tf

from keras_gen import images as images_module
from keras_gen.checks import check_integers
from keras_gen.distributions import leading_shape
from keras_gen.model import TrainableModel, check_seed_of
from keras_gen.noise import BatchNoise, CounterNoise
from keras_gen.objectives import ELBO, NVIL
from keras_gen.objectives.likelihood_ratio import LikelihoodRatio, Seen
from keras_gen.sequential.attention import check_window, glimpse
from keras_gen.sequential.recurrent import linear, product
from keras_gen.sequential.steps import StepLatent
from keras_gen.trace import Action, Trace


class GlimpsePlace(StepLatent):
    """Where a glimpse is taken: a Gaussian draw, but what is seen there has no gradient in it."""

    reparameterized = False


@dataclasses.dataclass(frozen=True)
class GlimpseTrace(Trace):
    """What K passes over each of B images leave; `log_likelihood` is log p(label given the glimpses), `[K, B]`.

    Attributes:
        places: where was looked, `[T, K, B, 2]`, (y, x) from -1 to 1.
        reward: 1 where the likeliest class is the label, else 0, `[K, B]`.
    """

    places: Any = None
    reward: Any = None

    @property
    def signal(self):
        """The reward: what the places have earned."""
        return self.reward


@keras.saving.register_keras_serializable("keras_gen")
class RecurrentAttentionClassifier(TrainableModel):
    """Classifies an image from T glimpses, each at a place chosen after what was seen before. It draws no images.

    ```python
    model = keras_gen.RecurrentAttentionClassifier(data_shape=(28, 28, 1), num_classes=10, glimpses=6, glimpse_size=8)
    model.compile(optimizer=keras.optimizers.Adam(1e-3))
    model.fit(images, labels, epochs=20)
    model.predict(images).argmax(-1)
    ```

    A glimpse is some patches of N, 2N, 4N ... pixels around a place l, all reduced to N x N. With h = 0 at the start,

        g = relu(W [relu(W patches), relu(W l)]),   h <- relu(W [h, g]),

    and the class probabilities are a softmax of the last h. The first place is uniformly random. The next ones are drawn from
    N(W h, location_std^2), and clipped to the image where they are looked at; log pi is that of the draw as it was before. It
    sums over y and x, and there are T - 1 of them.

    The loss is hybrid. Cross-entropy trains all but the locator, which likelihood ratios train: its reward is 1 where the
    likeliest class is right, and what it and the baselines see of h passes no gradient. Objectives by likelihood ratios fit,
    with their own baselines and K passes over each image: `NVIL` (the usual one), `ScoreFunction`. `VIMCO` climbs the
    importance weighted bound in place of the reward. The figure `bound` is minus the cross-entropy: for passes at random places
    a lower bound of log p(label given the image). Cost: a straight line in T.

    Args:
        data_shape: (H, W, C).
        num_classes: at least 2.
        glimpses: T.
        glimpse_size: N; None for 8, and no more than a third of the shorter side.
        glimpse_scales: number of patches.
        location_std: standard deviation of the places, where (-1, -1) and (1, 1) are the image's corners.
        units: of h and g.
        sensor_units: of the layer that takes the patches, and of that which takes the place.
        random_glimpses: whether all places are uniformly random: what a policy must beat. There is nothing for likelihood
            ratios then, and `ELBO` fits: plain cross-entropy.
        seed: see `TrainableModel`.

    Raises:
        ValueError: numbers or windows that cannot be; at `compile`, objectives that do not fit; at `fit`, labels that are
            missing or out of range.

    Mnih, Heess, Graves, Kavukcuoglu: Recurrent models of visual attention. NeurIPS 2014. The bound: Ba, Grosse, Salakhutdinov,
    Frey: Learning wake-sleep recurrent attention models. NeurIPS 2015, equation 4.
    """

    needs_labels = True
    #: The places are a policy's own: there is no q beside it.
    has_recognition = False

    def __init__(
        self,
        data_shape,
        num_classes=10,
        glimpses=6,
        glimpse_size=None,
        glimpse_scales=1,
        location_std=0.15,
        units=256,
        sensor_units=128,
        random_glimpses=False,
        seed=None,
        **kwargs,
    ):
        (num_classes,) = check_integers(2, why="with one class there is nothing to tell apart", num_classes=num_classes)
        (glimpses,) = check_integers(why="without a glimpse nothing of the image is seen", glimpses=glimpses)
        glimpse_scales, units, sensor_units = check_integers(
            glimpse_scales=glimpse_scales, units=units, sensor_units=sensor_units
        )
        if not (location_std > 0.0 and math.isfinite(location_std)):
            raise ValueError(
                f"location_std={location_std!r}: a positive number is needed: places that are not random have no probability "
                "to learn from."
            )
        super().__init__(data_shape=data_shape, seed=seed, **kwargs)
        if glimpse_size is None:
            glimpse_size = max(1, min(8, min(self.data_shape[:2]) // 3))
        glimpse_size = check_window("glimpse_size", glimpse_size, self.data_shape)
        self._settings = {
            "num_classes": num_classes,
            "glimpses": glimpses,
            "glimpse_size": glimpse_size,
            "glimpse_scales": glimpse_scales,
            "location_std": location_std,
            "units": units,
            "sensor_units": sensor_units,
            "random_glimpses": random_glimpses,
        }
        self.label_count, self.glimpse_count = num_classes, glimpses
        self.glimpse_size, self.glimpse_scales, self.location_std = glimpse_size, glimpse_scales, location_std
        self.units, self.random_glimpses = units, random_glimpses
        dtype = self.dtype_policy
        self.what = linear(glimpse_size**2 * glimpse_scales * self.data_shape[2], sensor_units, "what", dtype)
        self.where = linear(2, sensor_units, "where", dtype)
        self.sensor = linear(2 * sensor_units, units, "sensor", dtype)
        self.core = linear(2 * units, units, "core", dtype)
        self.classifier = linear(units, num_classes, "classifier", dtype)
        self.locator = linear(units, 2, "locator", dtype, scale=0.01) if self._learns_places else None
        self.built = True

    @property
    def _learns_places(self):
        return not self.random_glimpses and self.glimpse_count > 1

    # Looking.

    def look(self, images, first, normals):
        """Takes T glimpses of each image.

        Args:
            images: `[R, H, W, C]`.
            first: float32 `[R, 2]`, the first place; all places `[R, T, 2]` where they are random.
            normals: standard normals `[R, T - 1, 2]` that draw the others; zeros for their means.

        Returns:
            Logits of the classes float32 `[R, num_classes]`; the places looked at, T tensors `[R, 2]`; log pi of the T - 1
            draws, `[R]` each, and the h that each was drawn after, detached, `[R, units]`.
        """
        images = tf.cast(images, tf.float32)
        h = tf.zeros((tf.shape(first)[0], self.units))
        places, log_pi, seen = [], [], []
        for step in range(self.glimpse_count):
            if not self._learns_places:
                place = first[:, step]
            elif step == 0:
                place = first
            else:
                seen.append(tf.stop_gradient(h))
                mean = product(self.locator, seen[-1])
                drawn = tf.stop_gradient(mean + self.location_std * normals[:, step - 1])
                log_pi.append(gaussian_log_prob(drawn, mean, self.location_std))
                place = tf.clip_by_value(drawn, -1.0, 1.0)
            places.append(place)
            h = self._see(images, place, h)
        return product(self.classifier, h), places, log_pi, seen

    def _see(self, images, place, h):
        """The next h, after a glimpse at `place` `[R, 2]`."""
        patches = glimpse(images, place, self.glimpse_size, self.glimpse_scales)
        patches = tf.reshape(patches, (-1, math.prod(patches.shape[1:])))
        both = tf.concat([product(self.what, patches), product(self.where, place)], axis=-1)
        g = tf.nn.relu(product(self.sensor, tf.nn.relu(both)))
        return tf.nn.relu(product(self.core, tf.concat([h, g], axis=-1)))

    def _draws(self, noise):
        """`first` and `normals` of `look` from a noise of batch shape `[..., B]`, their leading axes flat."""
        count = self.glimpse_count
        uniform = noise.uniform((2,) if self._learns_places else (count, 2))
        normals = noise.normal((count - 1, 2)) if self._learns_places else tf.zeros((1, 0, 2))
        flat = tf.reshape(2.0 * uniform - 1.0, (-1, *uniform.shape[len(noise.batch_shape) :]))
        return flat, tf.reshape(normals, (-1, *normals.shape[-2:]))

    def trace(self, x, num_samples=1, seed=None, draws="choices", label=None):
        """Passes over each image K times and scores the label.

        Args:
            x: images `[B, H, W, C]`.
            num_samples: K.
            seed: int32 `[2]`, the key of the places; a fresh one where None.
            draws: no matter: places never have a gradient.
            label: integers `[B]` or `[B, 1]`.

        Returns:
            `GlimpseTrace` of shape `[K, B]`, with one `Action` of T - 1 steps where places are learned.

        Raises:
            ValueError: labels that are missing, of no class, or not as many as images.
        """
        if label is None:
            raise ValueError("trace needs a label for each image: what is scored is log p(label given the glimpses).")
        if tf.executing_eagerly():  # within a graph the values are not known, and `fit` has checked them
            self.admit_labels(label, "labels of trace")
            if len(label) != len(x):
                raise ValueError(f"{len(x)} images and {len(label)} labels: each image needs one.")
        seed = [random.getrandbits(31), random.getrandbits(31)] if seed is None else seed
        x, label = tf.cast(x, tf.float32), tf.reshape(tf.cast(label, tf.int32), (-1,))
        shape = (num_samples, *leading_shape(x, len(self.data_shape)))
        x = tf.tile(x, (num_samples, 1, 1, 1)) if num_samples > 1 else x
        logits, places, log_pi, seen = self.look(x, *self._draws(BatchNoise(seed, shape)))
        logits = tf.reshape(logits, (*shape, self.label_count))
        log_likelihood = tf.reduce_sum(tf.one_hot(label, self.label_count) * tf.nn.log_softmax(logits), axis=-1)
        reward = tf.cast(tf.equal(tf.argmax(logits, axis=-1, output_type=tf.int32), label), tf.float32)
        actions = ()
        if self._learns_places:
            steps = len(log_pi)
            by_step = [tf.reshape(tf.stack(each), (steps, *shape, *each[0].shape[1:])) for each in (log_pi, seen)]
            actions = (Action(*by_step, tf.repeat(reward[None], steps, axis=0)),)
        return GlimpseTrace((), log_likelihood, actions, tf.reshape(tf.stack(places), (len(places), *shape, 2)), reward)

    def classify(self, images, seed=None, mean_locations=False):
        """The probabilities of the classes after one pass, float32 `[B, num_classes]`.

        Args:
            images: float `[B, H, W, C]`.
            seed: int32 `[B, 2]`, the key of each image's places; None for the rows (0, 0) ... (0, B - 1).
            mean_locations: whether to look at the means: first in the middle of the image, then where the locator points.
                Nothing is random then. Not for a model whose places are random.

        Raises:
            ValueError: images or seeds of another shape or dtype, or not as many of the one as of the other; values outside
                [0, 1].
        """
        return tf.nn.softmax(self._pass(images, seed, mean_locations)[0])

    def glimpses(self, images, seed=None, mean_locations=False):
        """The places that `classify` looks at, float32 `[B, T, 2]`: (y, x) from (-1, -1), the upper left corner, to (1, 1)."""
        return tf.stack(self._pass(images, seed, mean_locations)[1], axis=1)

    def _pass(self, images, seed, mean_locations):
        if mean_locations and self.random_glimpses:
            raise ValueError("mean_locations=True: all places of a model with random_glimpses=True have one mean, the middle.")
        images = tf.convert_to_tensor(images)
        self.check_shape(images.shape, images.dtype, "images")
        rows = tf.shape(images)[0]
        seed = tf.stack([tf.zeros(rows, tf.int32), tf.range(rows)], axis=1) if seed is None else check_seed_of(images, seed)
        if tf.executing_eagerly() and len(images):
            images_module.check_values(images.numpy(), "images")
        first, normals = self._draws(CounterNoise(seed))
        if mean_locations:
            first, normals = tf.zeros_like(first), tf.zeros_like(normals)
        return self.look(images, first, normals)

    def call(self, images):
        """`classify` with the key (0, 0) for each image, whatever its batch: what `predict` gives."""
        return self.classify(images, tf.zeros((tf.shape(images)[0], 2), tf.int32))

    # Training.

    def step(self, x, seed, label=None):
        if label is None:
            self.admit_labels(None, "labels of x")
        estimate = self.objective(self, x, seed, label=label)
        figures = {"bound": estimate.figures["bound"], "accuracy": tf.reduce_mean(estimate.trace.signal, axis=0)}
        if self._has_baseline:
            choice = self.objective.choices(self, x, estimate.trace)[0]
            expected = sum(self.objective.expected(0, choice, self.companion)) + tf.zeros_like(choice.signal)
            figures["baseline"] = tf.reduce_mean(expected, axis=range(expected.shape.rank - 1))
        return estimate._replace(figures=figures)

    @property
    def _has_baseline(self):
        return self._learns_places and isinstance(self.objective, LikelihoodRatio)

    def figure_names(self):
        return ("accuracy", "baseline") if self._has_baseline else ("accuracy",)

    @property
    def recognition(self):
        """What objectives ask the draws for; all steps have the same kind."""
        return [GlimpsePlace("place", (2,), [self.locator])] if self._learns_places else []

    @property
    def choices_seen(self):
        return [Seen((self.units,), (self.glimpse_count - 1,))] if self._learns_places else []

    def default_objective(self):
        """`NVIL`; `ELBO` where no place is learned."""
        return NVIL() if self._learns_places else ELBO()

    def get_config(self):
        return {**super().get_config(), **self._settings}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def gaussian_log_prob(value, mean, std):
    """log N(value; mean, std^2 I) summed over the last axis: `[...]` from `[..., n]`; `std` a number."""
    size = value.shape[-1]
    squares = tf.reduce_sum(tf.square((value - mean) / std), axis=-1)
    return -0.5 * squares - size * (math.log(std) + 0.5 * math.log(2.0 * math.pi))
