"""The one trainer of adversarial models: players that move in turn, each with its own weights, loss and optimizer."""

import math
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_gen.adversarial.averaging import Average, averaged
from keras_gen.adversarial.losses import LOSSES
from keras_gen.adversarial.networks import Network, Plain
from keras_gen.checks import check_integers, is_integer
from keras_gen.model import GenerativeModel, batch_mean, check_seed
from keras_gen.noise import CounterNoise, fold_in

SCHEDULES = ("every_step", "alternate")
CRITIC, GENERATOR, ALWAYS = "critic", "generator", "always"
_TEST = 1  # what a key is used for, as in `GenerativeModel`


@keras.saving.register_keras_serializable("keras_gen")
class Game:
    """The rules of an adversarial model's training, its objective: what each side minimises, and when it moves.

    Args:
        loss: "minimax", "non_saturating", "least_squares", "hinge" or "wasserstein"; see `keras_gen.adversarial.losses`.
        critic_steps: k, moves of the critic for each move of the generator, each on a fresh batch.
        schedule: "every_step": the critic moves on every batch, the generator on every k-th, after it. "alternate": a batch is
            for one side alone, k for the critic and then one for the generator (the DCGAN authors' way, with k = 1).
        gradient_penalty: weight of the critic's gradient penalty; 0 for none.
        average: decay of a running average of the generator's weights, 0.999 say; 0 for none. It is drawn from within
            `AdversarialModel.averaged`.

    Raises:
        ValueError: an unknown loss or schedule; numbers out of range; "wasserstein" without a penalty, whose critic has no
            least loss.

    Goodfellow et al.: Generative adversarial nets. NeurIPS 2014, algorithm 1.
    """

    def __init__(self, loss="non_saturating", critic_steps=1, schedule="every_step", gradient_penalty=0.0, average=0.0):
        for name, value, allowed in (("loss", loss, LOSSES), ("schedule", schedule, SCHEDULES)):
            if value not in allowed:
                raise ValueError(f"Game({name}={value!r}): one of {', '.join(map(repr, allowed))}.")
        check_integers(1, "Game", critic_steps=critic_steps)
        if not (gradient_penalty >= 0 and np.isfinite(gradient_penalty)):
            raise ValueError(f"Game(gradient_penalty={gradient_penalty!r}): 0, for none, or a positive weight.")
        if not 0 <= average < 1:
            raise ValueError(f"Game(average={average!r}): 0, for none, or a decay below 1, such as 0.999.")
        if loss == "wasserstein" and not gradient_penalty:
            raise ValueError(
                'Game(loss="wasserstein", gradient_penalty=0): without a penalty the critic\'s loss has no minimum, it only '
                "grows steeper. Set gradient_penalty; the paper takes 10."
            )
        self.loss, self.critic_steps, self.schedule = loss, critic_steps, schedule
        self.gradient_penalty, self.average = gradient_penalty, average

    @property
    def losses(self):
        """The `Losses` that `loss` names."""
        return LOSSES[self.loss]

    #: What `GenerativeModel.compile` looks for in an objective; which figures there are, the model says.
    figure_names = ()

    def check(self, model):
        """Raises a ValueError where the model plays no game."""
        if not isinstance(model, AdversarialModel):
            raise ValueError(
                f"Game is for models that are trained against a critic; a {type(model).__name__} has a likelihood, and its "
                "objectives are those of keras_gen.objectives."
            )

    def make_companion(self, model):
        """The `Average` of the generator's weights where one is kept, else None: the critic is a part of the model."""
        return Average(model.generator.trainable_variables, self.average) if self.average else None

    def turn(self, side, step):
        """Whether `side` moves at `step`, counted from 1: True, or a scalar bool tensor."""
        if side == ALWAYS or (self.schedule == "every_step" and (side == CRITIC or self.critic_steps == 1)):
            return True
        if self.schedule == "every_step":
            return step % self.critic_steps == 0
        generators = step % (self.critic_steps + 1) == 0
        return generators if side == GENERATOR else ~generators

    def turns(self, side, steps):
        """How often `side` moves in the first `steps` steps, an int."""
        alternate = self.schedule == "alternate"
        generators = steps // (self.critic_steps + alternate)
        return generators if side == GENERATOR else steps - generators if alternate and side == CRITIC else steps

    def get_config(self):
        """The constructor's arguments."""
        names = ("loss", "critic_steps", "schedule", "gradient_penalty", "average")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_config(cls, config):
        """The rules with the arguments of `get_config`."""
        return cls(**config)


class Move(NamedTuple):
    """One player's part of a step.

    Attributes:
        player: whose weights move.
        minimised: returns the loss `[B]` and a dict of figures: values `[B]`, or a pair of values and weights `[B]` where not
            every row counts.
        figures: the names of the figures.
    """

    player: str
    minimised: Callable
    figures: tuple


class AdversarialModel(GenerativeModel):
    """A generator that is trained against a critic.

    A subclass sets `generator`, an `ImplicitGenerator`, and says who plays (`sides`) and what each minimises (`moves`). Every
    player has an optimizer: the first one `optimizer`, a further one "critic" `critic_optimizer`, and so on.

    Args:
        data_shape, seed: see `GenerativeModel`.
        num_classes: number of classes where the model is conditional on a label, else 0.
    """

    #: The players, the first of them the one whose loss is reported as `loss`, to the side on which each moves: `CRITIC`,
    #: `GENERATOR` or `ALWAYS`.
    player_sides = {"generator": GENERATOR, "critic": CRITIC}

    def __init__(self, data_shape, num_classes=0, seed=None, **kwargs):
        super().__init__(data_shape=data_shape, seed=seed, **kwargs)
        num_classes = num_classes or 0
        if not is_integer(num_classes) or num_classes < 0 or num_classes == 1:
            raise ValueError(f"num_classes={num_classes!r}: 0 for a model without labels, or at least 2 classes.")
        self.num_classes = int(num_classes)

    @property
    def player_names(self):
        """The players, in their order."""
        return tuple(self.player_sides)

    # What a subclass says of itself.

    def sides(self):
        """Player to the variables that are its own."""
        raise NotImplementedError

    def moves(self, x, label, seed, training):
        """The `Move`s of a step, in order.

        Args:
            x: images `[B, H, W, C]`.
            label: one-hot float `[B, num_classes]`, or None.
            seed: int32 `[2]`, the key of the step's noise.
            training: False to score as shipped: no units dropped, batch normalisation by the moving statistics.
        """
        raise NotImplementedError

    def judged_sets(self, x, label, seed, training=False):
        """The critic's logits for what it takes as data and for what is drawn as shipped, `[B]` each; arguments as `moves`.

        `training`: True to normalise each of the two by its own statistics, as the critic has learned to tell them apart. It is
        then a function of the whole set.
        """
        raise NotImplementedError

    # Drawing images.

    def generate(self, seed, label=None):
        """Draws one image for each row of seed, the same in every runtime and in every batch.

        Args:
            seed: int32 `[B, 2]`.
            label: int32 `[B]` from 0 to num_classes - 1, for a conditional model; None otherwise.

        Returns:
            {"sample": float32 `[B, H, W, C]` in [0, 1]}: the model has no density, so that there is no mean.

        Raises:
            ValueError: seeds or labels of another shape or dtype, labels out of range, labels missing or not wanted.
        """
        seed = check_seed(seed)
        if not self.num_classes:
            if label is not None:
                raise ValueError(f"label was given to a {type(self).__name__} made without num_classes: it takes none.")
            return self.generator.generate(CounterNoise(seed))
        if label is None:
            raise ValueError(f"this {type(self).__name__} draws images of a class: pass label, int32 (B,), one for each seed.")
        if not tf.is_tensor(label) or hasattr(label, "numpy"):  # within a graph the values are not known yet
            label = np.asarray(label)
            self.admit_labels(label, "label")
            label = tf.constant(label.astype(np.int32))
        if not seed.shape[:1].is_compatible_with(label.shape[:1]):
            raise ValueError(f"{seed.shape[0]} seeds and {label.shape[0]} labels were given: one label is needed for each.")
        return self.generator.generate(CounterNoise(seed), self.one_hot(label))

    def sample(self, num, seed=0, label=None):
        """Draws `num` images, the `sample` of seed rows (seed, 0) ... (seed, num - 1), float32 `[num, H, W, C]`.

        `label`: for a conditional model the class of all, or one for each; None takes the classes in turn.
        """
        (num,) = check_integers(num=num)
        if self.num_classes:
            label = np.arange(num) % self.num_classes if label is None else np.asarray(label)
            if label.shape not in ((), (num,)):
                raise ValueError(f"label has shape {label.shape}; the class of all {num} images, or one for each of them.")
            label = np.broadcast_to(label, (num,))
        return super().sample(num, seed, **({} if label is None else {"label": label}))

    def averaged(self):
        """While it lasts, all that the model draws, exports and saves is by the running average of the generator's weights.

        Without an average, `Game(average=...)`, by its own.

        ```python
        with model.averaged():
            images = model.sample(64)
        ```
        """
        return averaged(self)

    @property
    def label_count(self):
        """How many values a label may take; 0 where labels are of no use to the model."""
        return self.num_classes

    @property
    def needs_labels(self):
        """Whether every image must have a label: where images are drawn by it."""
        return bool(self.num_classes)

    def one_hot(self, label):
        """Labels, integer `[B]` or `[B, 1]`, as one-hot float32 `[B, label_count]`; None where the model takes none.

        A label that is no class, -1 for one, gives zeros.
        """
        if not self.label_count or label is None:
            return None
        label = tf.reshape(tf.cast(label, tf.int32), (-1, 1))
        return tf.cast(tf.equal(label, tf.range(self.label_count)[None]), tf.float32)

    # Training.

    def compile(self, optimizer=None, objective=None, **options):
        """Configures the model for training.

        Args:
            optimizer: of the first player; None for Adam(2e-4, beta_1=0.5).
            objective: the `Game`; None for the family's usual one.
            critic_optimizer, ...: of the further players; None for a copy of `optimizer`.
            options: the rest of `GenerativeModel.compile`.

        Raises:
            ValueError: an objective that is no game.
        """
        objective = self.default_objective() if objective is None else objective
        if not isinstance(objective, Game):
            raise ValueError(
                f"objective={objective!r}: a {type(self).__name__} has no likelihood; its objective is a keras_gen.Game."
            )
        if optimizer is None:
            optimizer = keras.optimizers.Adam(2e-4, beta_1=0.5)
        with self.distribute_strategy.scope():
            optimizer = keras.optimizers.get(optimizer)
            for name in self.player_names[1:]:
                given = options.pop(f"{name}_optimizer", None)
                given = type(optimizer).from_config(optimizer.get_config()) if given is None else keras.optimizers.get(given)
                scaled = isinstance(given, keras.optimizers.LossScaleOptimizer)
                if options.get("auto_scale_loss", True) and self.dtype_policy.name == "mixed_float16" and not scaled:
                    given = keras.optimizers.LossScaleOptimizer(given, name="loss_scale_optimizer")
                setattr(self, f"{name}_optimizer", given)
        super().compile(optimizer, objective, **options)

    def default_objective(self):
        """The non-saturating game."""
        return Game()

    def get_compile_config(self):
        if not self.compiled:
            return {}
        further = {f"{name}_optimizer": getattr(self, f"{name}_optimizer") for name in self.player_names[1:]}
        return {**super().get_compile_config(), **keras.saving.serialize_keras_object(further)}

    def _optimizer(self, player):
        return self.optimizer if player == self.player_names[0] else getattr(self, f"{player}_optimizer")

    def players(self):
        return [(self._optimizer(name), variables) for name, variables in self.sides().items()]

    def figure_names(self):
        # A trace of the moves for nothing but their names: they build no operations before they are called.
        moves = self.moves(tf.zeros((2, *self.data_shape)), self.one_hot(tf.zeros(2)), tf.zeros(2, tf.int32), False)
        return [name for move in moves for name in move.figures]

    def admit(self, values, source, whole=True):
        super().admit(values, source, whole)
        if len(values) > 1 and np.ptp(values) == 0.0:
            which = source if whole else f"the first {source}"
            raise ValueError(
                f"{which} are all the same constant {float(np.min(values)):g}: a critic can tell nothing about them but that "
                "constant, and there is nothing to generate."
            )

    def check_batches(self, count, batch_size, steps):
        if not self.normalizes_batch:
            return
        replicas = self.distribute_strategy.num_replicas_in_sync
        sizes = [batch_size] * (count >= batch_size)
        if steps is None or steps >= math.ceil(count / batch_size):
            sizes += [count % batch_size] * (count % batch_size > 0)
        # Of a batch each replica gets an equal share, rounded up, and the last one what is left.
        if any(size - (replicas - 1) * math.ceil(size / replicas) < 2 for size in sizes):
            made = f", divided among {replicas} replicas, leave one fewer than 2" if replicas > 1 else " make a batch of 1"
            raise ValueError(
                f"{count} images in batches of {batch_size}{made}, and batch normalisation needs at least 2: the variance of "
                "one image is 0. Choose another batch_size, or leave some images out."
            )

    @property
    def normalizes_batch(self):
        """Whether a network of its own normalises by the statistics of the batch while training."""
        return any(getattr(layer, "normalizes_batch", False) for layer in self._flatten_layers(include_self=False))

    def _run(self, kind, form, *arguments):
        # Here, since where a program is made the size of its batches may be unknown, and XLA leaves assertions out.
        if kind == "train":
            x, axis = keras.tree.flatten(arguments[0])[0], int(form == "group")
            size = min(each.shape[axis] for each in self.distribute_strategy.experimental_local_results(x))
            if size < 2 and self.normalizes_batch:
                where = " for one of the replicas" if self.distribute_strategy.num_replicas_in_sync > 1 else ""
                raise ValueError(f"a batch of {size}{where}: batch normalisation needs at least 2, the variance of one is 0.")
        return super()._run(kind, form, *arguments)

    def train_step(self, data):
        """Lets each player whose turn it is take a step on the batch, one after the other."""
        x, y, sample_weight = self.unpack(data)
        seed, sides = self._next_seed(), self.sides()
        for move in self.moves(x, self._label(y), seed, training=True):
            turn = self.objective.turn(self.player_sides[move.player], self.steps_taken)

            def play(move=move):
                def minimised():
                    loss, figures = minimised_by(move, sides[move.player], sample_weight)
                    return loss, _weighed(move, figures, sample_weight)

                loss, figures = self.descend(minimised, self._optimizer(move.player), sides[move.player])
                return [loss, *figures]

            self._note(move, play() if turn is True else _played_if(turn, play, 1 + 2 * len(move.figures)), x, turn)
        if self.companion is not None:
            self.companion.update(self.steps_taken)
        return self.get_metrics_result()

    def test_step(self, data):
        """The figures of every player, without a move; every evaluation of the same data draws the same noise."""
        x, y, sample_weight = self.unpack(data)
        seed = fold_in(self._key(_TEST), tf.cast(self._loss_tracker.count.value, tf.int32))
        for move in self.moves(x, self._label(y), seed, training=False):
            loss, figures = move.minimised()
            values = [batch_mean(loss, sample_weight), *_weighed(move, figures, sample_weight)]
            self._note(move, values, x, True)
        return self.get_metrics_result()

    def _label(self, y):
        if self.num_classes and y is None:
            raise ValueError(f"this {type(self).__name__} needs a label for each image: fit(images, labels).")
        return self.one_hot(y)

    def _note(self, move, values, x, turn):
        """Adds a move's loss and figures to the metrics: what `play` returns, zeros for a move that was not made."""
        loss, *figures = values
        metrics = {metric.name: metric for metric in self._figures}
        if move.player == self.player_names[0]:
            rows = tf.cast(tf.shape(x)[0], tf.float32) * tf.cast(turn, tf.float32)
            self._loss_tracker.update_state(loss, sample_weight=rows)
        for name, mean, weight in zip(move.figures, figures[::2], figures[1::2], strict=True):
            metrics[name].update_state(mean, sample_weight=weight)

    def _network(self, network, what, input_shape, output_shape):
        """`network` as a `Network`: itself, or a Keras layer of the user's own made to fit."""
        if isinstance(network, Network):
            return network
        if isinstance(network, keras.layers.Layer):
            return Plain(network, input_shape, output_shape, self.num_classes, what=what, dtype=self.dtype_policy)
        raise ValueError(f"{what}={network!r}: a Keras layer is needed.")

    def get_config(self):
        return {**super().get_config(), "num_classes": self.num_classes}


def minimised_by(move, variables, sample_weight=None):
    """What a move minimises, a scalar, regularisers of the player's own `variables` included; and the move's figures."""
    loss, figures = move.minimised()
    loss = batch_mean(loss, sample_weight)
    for weight in variables:
        if weight.regularizer is not None:
            loss += tf.cast(weight.regularizer(weight), loss.dtype)
    return loss, figures


def _weighed(move, figures, sample_weight):
    """The figures of a move in their order, each as two scalars: the weighted mean, and the sum of the weights."""
    scalars = []
    for name in move.figures:
        values, weights = figures[name] if isinstance(figures[name], tuple) else (figures[name], None)
        if sample_weight is not None:
            weights = tf.cast(sample_weight, values.dtype) * (1.0 if weights is None else weights)
        if weights is None:
            scalars += [batch_mean(values, None), tf.cast(tf.size(values), values.dtype)]
        else:
            total = tf.reduce_sum(weights)
            scalars += [tf.math.divide_no_nan(tf.reduce_sum(values * weights), total), total]
    return scalars


def _played_if(turn, play, count):
    """What `play()` returns, a list of `count` scalars, where `turn`, a scalar bool tensor, is true; else zeros."""

    def pause():
        return [tf.zeros(()) for _ in range(count)]

    if tf.distribute.get_strategy().num_replicas_in_sync == 1:
        return tf.cond(turn, play, pause)

    def all_replicas(strategy, turn, play):
        def run(each):
            return strategy.extended.call_for_each_replica(lambda function: function(), args=(each,))

        return tf.cond(strategy.experimental_local_results(turn)[0], lambda: run(play), lambda: run(pause))

    # An optimizer's replicas meet, which they cannot within a branch that each has taken by itself: they take it together.
    return tf.distribute.get_replica_context().merge_call(all_replicas, args=(turn, play))


def batch_size_of(x):
    """The batch axis of `x`: an int where it is known."""
    return tf.shape(x)[0] if x.shape[0] is None else x.shape[0]


def judged(losses, real_logits, fake_logits):
    """The critic's loss and figures, `[B]` each, from its logits for data and for what was drawn."""
    loss = losses.real(real_logits) + losses.fake(fake_logits)
    boundary = losses.boundary(real_logits, fake_logits)
    return loss, {
        "critic_loss": loss,
        "real_accuracy": tf.cast(real_logits > boundary, tf.float32),
        "fake_accuracy": tf.cast(fake_logits < boundary, tf.float32),
    }


JUDGED = ("critic_loss", "real_accuracy", "fake_accuracy")
