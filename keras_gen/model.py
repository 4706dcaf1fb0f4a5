"""TrainableModel: the one place that touches Keras's training machinery; and GenerativeModel, which draws images besides."""

import random

import keras
import numpy as np
import tensorflow as tf

from keras_gen import images as images_module
from keras_gen.arguments import check_labels, weight_rows
from keras_gen.checks import INT32, check_integers, check_key, is_integer
from keras_gen.conditionals import in_training
from keras_gen.loop import DeviceLoop
from keras_gen.noise import CounterNoise, fold_in

# What all convolutions are, transposed and separable ones too.
_CONVOLUTIONS = tuple(
    getattr(keras.layers, name) for name in dir(keras.layers) if "Conv" in name and not name.startswith("ConvLSTM")
)
# What a key is used for: each use has its own noise.
_TRAIN, _TEST, _ORDER, _LAYERS = range(4)


class TrainableModel(DeviceLoop, keras.Model):
    """A model of images, used like any Keras model: compile, fit, evaluate, save.

    A subclass builds all its weights in its constructor, and says in `step` what is minimised.

    Args:
        data_shape: (H, W, C).
        seed: int, the key of all noise while training and evaluating, that of Keras's layers such as Dropout included; drawn
            from Python's generator (which `keras.utils.set_random_seed` seeds) where None. It and the count of steps are
            weights of the model, so that a model saved and loaded continues the same noise.
    """

    #: The Keras layer with what the objective learns beside the model (baselines, say), or None.
    companion = None
    #: Whether a step that has no convolutions is faster on a CPU if XLA compiles it.
    prefers_xla_on_cpu = True
    #: How many values a label may take; 0 where labels are of no use to the model.
    label_count = 0
    #: Whether every image must have a label; where not, -1 stands for none.
    needs_labels = False

    def __init__(self, data_shape, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.data_shape = tuple(int(size) for size in data_shape)
        if len(self.data_shape) != 3 or min(self.data_shape) < 1:
            raise ValueError(
                f"data_shape={tuple(data_shape)}: an image's shape is (height, width, channels), three positive integers; a "
                "grey image has one channel."
            )
        if seed is not None and not is_integer(seed):
            raise ValueError(f"seed={seed!r}: an integer, or None for one of Python's generator.")
        self.seed = seed
        key = random.getrandbits(62) if seed is None else int(seed)
        self._noise_state = self.add_weight(
            (3,),
            initializer=lambda shape, dtype: tf.constant([key & 0x7FFFFFFF, (key >> 31) & 0x7FFFFFFF, 0], dtype),
            dtype="int64",
            trainable=False,
            aggregation="only_first_replica",
            name="noise_state",
        )

    # What a subclass says of itself.

    def admit(self, values, source, whole=True):
        """Checks numpy images `[N, H, W, C]` before they are used; raises a ValueError that names `source`.

        `whole` says whether they are all that there are, or the first batch of a data set.
        """
        images_module.check_values(values, source)

    def admit_labels(self, labels, source):
        """Checks the labels `[N]` beside the images, None where there are none; a model without labels takes any.

        Raises:
            ValueError: labels that are missing, no integers, of another shape or out of range; it names `source`.
        """
        if self.label_count:
            check_labels(labels, self.label_count, self.needs_labels, source)

    @property
    def given_shape(self):
        """The shape of one datum as objectives are given it."""
        return self.data_shape

    def step(self, x, seed, label=None):
        """The `Estimate` for a batch `x` `[B, H, W, C]`, its noise a function of `seed`, int32 `[2]`.

        `label`, `[B]` as given to `fit`, is passed to models with a `label_count` alone.
        """
        raise NotImplementedError

    def default_objective(self):
        """The family's usual objective."""
        raise NotImplementedError

    def figure_names(self):
        """Names of the figures that a step reports."""
        return self.objective.figure_names

    def players(self):
        """Pairs (optimizer, the variables that it updates)."""
        return [(self.optimizer, self.trainable_variables)]

    def step_metrics(self):
        """Metrics besides the objective's figures; each is updated by `update_step_metrics`."""
        return []

    def update_step_metrics(self, estimate):
        """Updates `step_metrics` from a step's estimate."""

    # Training.

    def compile(
        self,
        optimizer="adam",
        objective=None,
        *,
        run_eagerly=False,
        jit_compile="auto",
        steps_per_execution=1,
        auto_scale_loss=True,
    ):
        """Configures the model for training.

        Args:
            optimizer: Keras optimizer, or its name.
            objective: of `keras_gen.objectives`; None for the family's usual one.
            jit_compile: "auto": many steps run in one program on the device, compiled by XLA where that is the faster: on
                accelerators, and on a CPU for networks without convolutions. True: by XLA always. False: Keras's own way, one
                call a step.
            steps_per_execution: steps of a program at the most; 1 leaves the choice to the loop.
            run_eagerly, auto_scale_loss: as in `keras.Model.compile`.

        Raises:
            ValueError: an objective whose gradient is not valid for this model's latents.
        """
        objective = self.default_objective() if objective is None else objective
        if isinstance(objective, type) or not hasattr(objective, "figure_names"):
            raise ValueError(
                f"objective={objective!r}: expected an objective of keras_gen.objectives, such as "
                f"{type(self.default_objective()).__name__}(). A Keras loss compares two images; what is minimised here is "
                "a bound on the likelihood."
            )
        objective.check(self)
        self._jit_setting, self._steps_setting = jit_compile, steps_per_execution
        with self.distribute_strategy.scope():
            super().compile(
                optimizer=optimizer,
                run_eagerly=run_eagerly,
                jit_compile=self.prefers_xla() and not run_eagerly if jit_compile == "auto" else jit_compile,
                steps_per_execution=steps_per_execution,
                auto_scale_loss=auto_scale_loss,
            )
            self.objective = objective
            self._replace_companion(objective.make_companion(self))
            # Built here, in the strategy's scope: a step function may not create variables.
            for optimizer, variables in self.players():
                optimizer.build(variables)
            self.forget_programs()
            self._figures = [keras.metrics.Mean(name=name) for name in self.figure_names()]
            self._step_metrics = self.step_metrics()

    def _replace_companion(self, companion):
        if self.companion is not None:  # Keras would go on tracking it, and training and saving its weights
            self._tracker.unlock()
            self._tracker.untrack(self.companion)
        self._tracker.unlock()
        self.companion = companion

    @property
    def steps_taken(self):
        """Training steps so far, an int64 scalar; within a step, that one included."""
        return self._noise_state.value[2]

    @property
    def loops_on_device(self):
        """Whether `fit` may run many steps in one program."""
        return self._jit_setting is not False and not self.run_eagerly and self.distribute_strategy.num_replicas_in_sync == 1

    def prefers_xla(self):
        """Whether the model runs faster on this machine when XLA compiles it: what `jit_compile="auto"` stands for."""
        if self.distribute_strategy.num_replicas_in_sync > 1:
            return False
        if has_accelerator():
            return True
        # oneDNN's convolutions are faster than XLA's on a CPU.
        return self.prefers_xla_on_cpu and not any(isinstance(layer, _CONVOLUTIONS) for layer in self._flatten_layers())

    def order(self):
        """What keys the order in which `fit` visits arrays: the seed, int32 `[2]`, and the steps taken so far."""
        return self._key(_ORDER), self.steps_taken

    def get_compile_config(self):
        if not self.compiled:
            return {}
        config = {
            "optimizer": self.optimizer,
            "objective": self.objective,
            "run_eagerly": self.run_eagerly,
            "jit_compile": self._jit_setting,
            "steps_per_execution": self._steps_setting,
        }
        return keras.saving.serialize_keras_object(config)

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))

    def check_input(self, images, labels, source, whole=True):
        """Checks images `[N, H, W, C]` and their labels `[N]`, None where there are none; not `whole`, they are a batch."""
        images, name = np.asarray(images), source if whole else f"batches of {source}"
        self.check_shape(images.shape, images.dtype, name)
        self.admit(images, name, whole)
        self.admit_labels(labels, f"labels of {source}")

    def check_shape(self, shape, dtype, source):
        """Raises a ValueError that names `source` unless images of this shape and dtype are what the model takes."""
        images_module.check_shape_and_dtype(shape, dtype, self.data_shape, source)

    def check_batches(self, count, batch_size, steps):
        """Raises a ValueError where `count` images in batches of `batch_size` make one that the model cannot train on.

        `steps`: how many are taken in all; None for as many as there are.
        """

    def train_step(self, data):
        """One step of gradient descent on the mean of the objective's loss over the batch, all replicas together."""
        x, y, sample_weight = self.unpack(data)
        seed = self._next_seed()

        def minimised():
            with in_training():
                estimate = self.step(x, seed, **self._given(y))
            loss = batch_mean(estimate.loss, sample_weight)
            if self.losses:
                loss += tf.add_n([tf.cast(penalty, loss.dtype) for penalty in self.losses])
            return loss, estimate

        loss, estimate = self.descend(minimised, self.optimizer, self.trainable_variables)
        for variable, value in estimate.updates:
            variable.assign(value)
        return self._report(loss, estimate, sample_weight)

    def descend(self, minimised, optimizer, variables):
        """Lets `optimizer` take a step on `variables`, all replicas together; returns what `minimised()` did.

        `minimised` returns the scalar to be minimised, and anything beside it.
        """
        replicas = self.distribute_strategy.num_replicas_in_sync
        with tf.GradientTape() as tape:
            loss, rest = minimised()
            scaled = optimizer.scale_loss(loss / replicas)
        gradients = tape.gradient(scaled, variables)
        if self.jit_compile:
            gradients = one_after_another(gradients)
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return loss, rest

    def test_step(self, data):
        """The objective's figures, without a gradient; every evaluation of the same data draws the same noise.

        The loss is minus the bound, also where training eases it.
        """
        x, y, sample_weight = self.unpack(data)
        seen = tf.cast(self._loss_tracker.count.value, tf.int32)
        estimate = self.step(x, fold_in(self._key(_TEST), seen), **self._given(y))
        return self._report(batch_mean(-estimate.figures["bound"], sample_weight), estimate, sample_weight)

    @staticmethod
    def unpack(data):
        """A batch as (x, y, sample_weight); images of any float type, as numpy's float64, become float32."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        return tf.cast(x, tf.float32), y, None if sample_weight is None else weight_rows(sample_weight)

    def _given(self, label):
        return {"label": label} if self.label_count else {}

    def _report(self, loss, estimate, sample_weight):
        self._loss_tracker.update_state(loss, sample_weight=tf.shape(estimate.loss)[0])
        for metric in self._figures:
            metric.update_state(estimate.figures[metric.name], sample_weight=sample_weight)
        self.update_step_metrics(estimate)
        return self.get_metrics_result()

    def _key(self, use):
        context = tf.distribute.get_replica_context()
        replica = context.replica_id_in_sync_group if context else 0
        return fold_in(fold_in(tf.cast(self._noise_state.value[:2], tf.int32), use), replica)

    def _next_seed(self):
        seed = fold_in(self._key(_TRAIN), self.steps_taken)
        # Layers of Keras that draw noise count for themselves, from a number that no file keeps: they begin each step anew.
        own = [each for layer in self._flatten_layers() for each in layer._seed_generators]
        for index, each in enumerate(own):
            each.state.assign(tf.bitcast(fold_in(fold_in(self._key(_LAYERS), self.steps_taken), index), tf.uint32))
        self._noise_state.assign_add(tf.constant([0, 0, 1], tf.int64))
        return seed

    def get_config(self):
        return {**super().get_config(), "data_shape": self.data_shape, "seed": self.seed}


class GenerativeModel(TrainableModel):
    """A trainable generator of images: a `TrainableModel` with `generate` and `sample`. A subclass sets `generator`."""

    generator = None

    def call(self, x):
        kind = type(self).__name__
        raise ValueError(f"a {kind} maps no image to another: it draws images, by sample(num) or generate(seed).")

    def generate(self, seed):
        """Draws one image for each row of seed, the same in every runtime and in every batch.

        Args:
            seed: int32 `[B, 2]`.

        Returns:
            dict of float32 tensors `[B, H, W, C]` in [0, 1]: `sample`, one draw from the model, and `mean`, the mean of the
            last conditional, where that is a distribution.

        Raises:
            ValueError: seeds of another shape or dtype.
        """
        return self.generator.generate(CounterNoise(check_seed(seed)))

    def sample(self, num, seed=0, **condition):
        """Draws `num` images, the `sample` of seed rows (seed, 0) ... (seed, num - 1), float32 `[num, H, W, C]`.

        `condition`: what `generate` takes besides, a row for each image.
        """
        (num,), seed = check_integers(num=num), check_key(seed)
        rows = np.stack([np.full(num, seed), np.arange(num)], axis=1).astype(np.int32)
        return self.generate(rows, **condition)["sample"]


def has_accelerator():
    """Whether TensorFlow sees a GPU or a TPU."""
    return any(device.device_type in ("GPU", "TPU") for device in tf.config.list_logical_devices())


def one_after_another(gradients):
    """The same gradients, each of which XLA takes to depend on the one before it; the first on the last.

    XLA updates a weight where it lies only if it knows that nothing reads the old value afterwards. The product that takes the
    error on to the layer below reads a layer's weights, and nothing says that the update comes later: so each step copied the
    weights of every layer but the lowest. The gradient of the layer below does depend on that product. What is added of it is
    zero, by two shifts that XLA does not see through.
    """

    def zero(tensor):
        bits = tf.bitcast(tf.cast(tf.reshape(tensor, [-1])[:1], tf.float32), tf.uint32)
        sign = tf.bitwise.right_shift(bits, tf.constant(31, tf.uint32))
        return tf.reshape(tf.bitwise.right_shift(sign, tf.constant(1, tf.uint32)), [])

    dense = [index for index, gradient in enumerate(gradients) if isinstance(gradient, tf.Tensor)]
    ordered = list(gradients)
    for before, index in zip(dense[-1:] + dense[:-1], dense, strict=True):
        ordered[index] += tf.cast(zero(gradients[before]), gradients[index].dtype)
    return ordered


def batch_mean(loss, sample_weight):
    """The mean of `loss` `[B]` over the batch, each row times its weight where there are weights."""
    values = loss if sample_weight is None else loss * tf.cast(sample_weight, loss.dtype)
    if not values.shape[0]:  # a replica may be given no row of a short batch: 0, where a mean would be NaN for all replicas
        return tf.math.divide_no_nan(tf.reduce_sum(values), tf.cast(tf.size(values), values.dtype))
    return tf.reduce_mean(values)


def check_seed_of(images, seed):
    """`check_seed`; a ValueError, too, where it has not a row for each of `images`, a tensor `[B, H, W, C]`."""
    seed = check_seed(seed)
    if not images.shape[:1].is_compatible_with(seed.shape[:1]):
        raise ValueError(f"{images.shape[0]} images and {seed.shape[0]} rows of seed: each image needs a row of its own.")
    return seed


def check_seed(seed):
    """`seed` as an int32 tensor `[B, 2]`; a ValueError that says what was passed where it cannot be one."""
    shape, dtype = getattr(seed, "shape", None), getattr(seed, "dtype", None)
    if dtype is None:
        seed = np.asarray(seed)
        shape, dtype = seed.shape, seed.dtype
        if seed.dtype.kind == "i" and seed.size and INT32[0] <= seed.min() and seed.max() <= INT32[1]:
            seed, dtype = seed.astype(np.int32), np.int32
    if len(shape) != 2 or shape[1] != 2 or tf.as_dtype(dtype) != tf.int32:
        raise ValueError(
            f"seed has shape {tuple(shape)} and dtype {tf.as_dtype(dtype).name}; it must be int32 of shape (B, 2), one row for "
            "each image: the two words are the image's key."
        )
    return tf.convert_to_tensor(seed, tf.int32)
