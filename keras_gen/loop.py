"""The training loop on the device: many steps in one compiled program.

`fit` of a small model in stock Keras spends most of its time outside the arithmetic: Python, dispatch and input for each
step. Here a program takes a group of stacked batches and runs `train_step` on one after the other, so that Python is met
once a group. The steps are the same, in the same order, with the same noise.
"""

import contextlib
import math
import types
import warnings

import keras
import tensorflow as tf

from keras_gen import feed
from keras_gen.arguments import checked_data, is_array, triple, weights_by_class
from keras_gen.hooks import STEP_HOOKS, TEST_HOOKS, ExactSteps, needs_each_step
from keras_gen.passes import sound_passes

_NO_PROGRESS = {"train": None, "test": None}


class DeviceLoop:
    """Mixed into a `keras.Model` before it: overrides `fit`, `evaluate` and what makes their step functions.

    What a callback may call while they run, `predict` and the methods of one batch, is not affected by it.

    Groups are used where they are the same computation: on one replica, not eagerly, with data that can be stacked, and
    while no callback needs to see each step. Otherwise each step is a call, as in Keras.

    Keras's own step functions cannot be used under `MultiWorkerMirroredStrategy`: they average the logs, scalars, over an
    axis 0 that those lack, and build the model from a batch of one replica's values.
    """

    #: `jit_compile` and `steps_per_execution` as given to `compile`: while `fit` runs, Keras's own attributes hold what is in
    #: force.
    _jit_setting, _steps_setting = "auto", 1

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._loop = _LoopState()

    def forget_programs(self):
        """Drops all compiled programs; to be called when what a step does has changed."""
        self._loop.programs.clear()

    def fit(self, x=None, y=None, batch_size=None, epochs=1, verbose="auto", callbacks=None, **kwargs):
        """As `keras.Model.fit`, with all its arguments; those after `callbacks` by name.

        `x`: images float `[N, H, W, C]` in [0, 1], a `tf.data.Dataset` of batches of them, or any other data that Keras
        takes. Arrays are shuffled in an order that is a function of the model's seed and of the steps it has taken. They do
        not run out: with `steps_per_epoch` an epoch goes on where the last one stopped, through the images again and again.
        """
        x, y, kwargs["sample_weight"] = checked_data(
            self, (x, y, kwargs.get("sample_weight")), batch_size, kwargs.get("steps_per_epoch")
        )
        validation_split = kwargs.pop("validation_split", 0.0) or 0.0
        if not 0.0 <= validation_split < 1.0:
            raise ValueError(f"validation_split={validation_split!r}: the share of images held out, from 0 to below 1.")
        if validation_split and kwargs.get("validation_data") is None and is_array(x):
            kept = math.floor(len(x) * (1.0 - validation_split))
            if not kept:
                raise ValueError(f"validation_split={validation_split!r} of {len(x)} images leaves none to train on.")
            parts = [x, y, kwargs.get("sample_weight")]
            kwargs["validation_data"] = tuple(part if part is None else part[kept:] for part in parts)
            x, y, kwargs["sample_weight"] = (part if part is None else part[:kept] for part in parts)
        if kwargs.get("class_weight") and is_array(x):  # of what is trained on alone
            kwargs["sample_weight"] = weights_by_class(kwargs.pop("class_weight"), y, kwargs["sample_weight"])
        validation = None
        if kwargs.get("validation_data") is not None:
            validation = checked_data(
                self,
                triple(kwargs["validation_data"], "validation_data"),
                kwargs.get("validation_batch_size"),
                kwargs.get("validation_steps"),
                "validation_data",
                ("validation_batch_size", "validation_steps"),
            )
            kwargs["validation_data"] = keras.utils.pack_x_y_sample_weight(*validation)
        if is_array(x):
            steps = kwargs.get("steps_per_epoch")
            self.check_batches(len(x), batch_size or 32, steps and steps * (epochs - kwargs.get("initial_epoch", 0)))

        # Keras takes as many steps a call for the validation as for the training.
        limit = self._steps_a_call(callbacks, STEP_HOOKS if validation is None else STEP_HOOKS + TEST_HOOKS)
        if self.distribute_strategy.num_replicas_in_sync > 1 and self._jit_setting is not False:
            strategy = type(self.distribute_strategy).__name__
            warnings.warn(
                f"under a {strategy} each step is a call of its own, as in Keras: many steps in one program need one replica.",
                stacklevel=2,
            )
        heeds_nan = any(isinstance(each, keras.callbacks.TerminateOnNaN) for each in keras.tree.flatten(callbacks or []))
        train = test = None
        data = (x, y, kwargs.get("sample_weight"))
        order = self.order if kwargs.get("shuffle", True) else None
        most = 1 if kwargs.get("class_weight") else limit  # Keras multiplies it into single batches
        prepared = self._prepared(data, batch_size, kwargs.get("steps_per_epoch"), most, order)
        if prepared:
            x, kwargs["steps_per_epoch"], train = prepared
            y = kwargs["sample_weight"] = None
        if validation is not None:
            size = kwargs.get("validation_batch_size") or batch_size
            prepared = self._prepared(validation, size, kwargs.get("validation_steps"), limit if train else 1)
            if prepared:
                kwargs["validation_data"], kwargs["validation_steps"], test = prepared
            # Keras counts its steps by those of the training: one that is fed by single batches must know where to end.
            test = test or feed.Feed(None, kwargs.get("validation_steps"), 0)
        if not train and kwargs.get("steps_per_epoch"):  # which a call of several steps may not divide
            train = feed.Feed(None, kwargs["steps_per_epoch"], 0)
        if train:
            callbacks = ExactSteps(self, callbacks, verbose, epochs=epochs, steps=train.steps)
        if isinstance(x, tf.data.Dataset):
            batch_size, kwargs["shuffle"] = None, False  # Keras warns that it ignores its own default
        with self._in_groups(self._steps_of(train, limit), train, test, heeds_nan):
            return super().fit(x, y, batch_size, epochs, verbose, callbacks, validation_split=validation_split, **kwargs)

    def evaluate(self, x=None, y=None, batch_size=None, verbose="auto", sample_weight=None, steps=None, **kwargs):
        """As `keras.Model.evaluate`, for the same kinds of `x` as `fit`."""
        if kwargs.get("_use_cached_eval_dataset"):  # called by `fit`, which has prepared the data
            if self._loop.progress["test"]:
                self._loop.progress["test"].start_epoch()
            return super().evaluate(x, y, batch_size, verbose, sample_weight, steps, **kwargs)
        data = checked_data(self, (x, y, sample_weight), batch_size, steps, names=("batch_size", "steps"))
        x, y, sample_weight = data
        limit = self._steps_a_call(kwargs.get("callbacks"), TEST_HOOKS)
        prepared, test = self._prepared(data, batch_size, steps, limit), None
        if prepared:
            x, steps, test = prepared
            y = sample_weight = batch_size = None
        if test:
            kwargs["callbacks"] = ExactSteps(self, kwargs.get("callbacks"), verbose, epochs=1, steps=steps, history=False)
        with self._in_groups(self._steps_of(test, limit), None, test or feed.Feed(None, steps, 0)):
            return super().evaluate(x, y, batch_size, verbose, sample_weight, steps, **kwargs)

    def predict(self, *args, **kwargs):
        """As `keras.Model.predict`; from a callback, too."""
        with self._in_force():
            return super().predict(*args, **kwargs)

    def predict_on_batch(self, x):
        """As `keras.Model.predict_on_batch`; from a callback, too."""
        with self._in_force():
            return super().predict_on_batch(x)

    def train_on_batch(self, x, y=None, sample_weight=None, class_weight=None, return_dict=False):
        """As `keras.Model.train_on_batch`, its arguments checked as those of `fit`; from a callback, too."""
        data = checked_data(self, (x, y, sample_weight))
        with self._in_force():
            return super().train_on_batch(*data, class_weight, return_dict)

    def test_on_batch(self, x, y=None, sample_weight=None, return_dict=False):
        """As `keras.Model.test_on_batch`, its arguments checked as those of `evaluate`; from a callback, too."""
        data = checked_data(self, (x, y, sample_weight))
        with self._in_force():
            return super().test_on_batch(*data, return_dict)

    def make_train_function(self, force=False):
        self.train_function = self._function("train", force)

    def make_test_function(self, force=False):
        self.test_function = self._function("test", force)

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Does nothing: models are built by their constructors."""

    # What is fed, and how many steps a call takes.

    def _steps_a_call(self, callbacks, hooks):
        """The most steps that a call may take: one where each must be seen."""
        if not self.loops_on_device:
            return self._steps_setting
        if isinstance(callbacks, keras.callbacks.CallbackList):
            return 1
        if any(needs_each_step(callback, hooks) for callback in keras.tree.flatten(callbacks or [])):
            return 1
        return feed.GROUP_STEPS if self._steps_setting == 1 else self._steps_setting

    def _steps_of(self, fed, limit):
        """Steps that a call takes of a feed: as many as a group has, or as the user has set where there are no groups."""
        return min(limit, fed.group_steps if fed and fed.group_steps else self._steps_setting)

    def _prepared(self, data, batch_size, steps, limit, order=None):
        """What Keras is given for `data`, a triple (x, y, sample_weight): (dataset, steps, feed of groups or None).

        Arrays come in our order also where each step is a call, so that it does not depend on who watches. None for kinds
        of data that Keras is to feed by itself.
        """
        x, alone = data[0], self.distribute_strategy.num_replicas_in_sync == 1
        most = keras.config.max_steps_per_epoch()
        if isinstance(x, types.GeneratorType):
            return feed.from_generator(x), steps, None
        if isinstance(x, tf.data.Dataset):
            steps = min(steps or most, most) if most else steps
            made = feed.from_dataset(x, steps, limit) if alone and limit > 1 else None
            if made:
                return made.dataset, made.steps, made
            if steps is None and int(x.cardinality()) > 0:
                # Of a data set that ends Keras makes two iterators an epoch: every other order of a shuffled one is left out.
                x, steps = x.repeat(), int(x.cardinality())
            return feed.without_autotuning(x), steps, None
        if not is_array(x):
            return None
        arrays = (x, feed.ABSENT if data[1] is None else data[1], data[2])
        if data[2] is None:
            arrays = x if data[1] is None else data[:2]
        made = feed.from_arrays(arrays, int(batch_size or 32), order, limit if alone else 1)
        steps = steps or made.steps
        made = made._replace(steps=min(steps, most) if most else steps)
        return (made.dataset, made.steps, made) if alone else (feed.one_by_one(made), made.steps, None)

    @contextlib.contextmanager
    def _in_groups(self, steps, train, test, heeds_nan=False):
        """While Keras's `fit` or `evaluate` runs: a call takes `steps` steps of what the feeds give."""
        progress = {"train": train and feed.Progress(train, heeds_nan), "test": test and feed.Progress(test)}
        with self._in_force(progress, steps):
            yield

    @contextlib.contextmanager
    def _in_force(self, progress=_NO_PROGRESS, steps_per_execution=None):
        """While it lasts, Keras's methods run so; without arguments as if no `fit` were under way, for what callbacks call."""
        before = self._loop.progress, self.steps_per_execution, self.train_function, self.test_function
        self._loop.progress, self.steps_per_execution = progress, steps_per_execution or self._steps_setting
        try:
            yield
        finally:
            self._loop.progress, self.steps_per_execution, self.train_function, self.test_function = before

    # The functions that Keras calls.

    def _function(self, kind, anew=False):
        if anew:
            self._loop.programs = {key: program for key, program in self._loop.programs.items() if key[0] != kind}
        progress = self._loop.progress[kind]
        steps = self.steps_per_execution

        def one_by_one(iterator):
            logs = None
            for _ in range(progress.wanted(steps) if progress else steps):
                try:
                    data = next(iterator)
                except StopIteration:
                    if logs is None:
                        raise
                    break
                logs = self._run(kind, "step", keras.tree.map_structure(_without_optional, data))
                if progress:
                    progress.taken += 1
            return logs

        def in_groups(iterator):
            logs, wanted = None, progress.wanted(steps)
            while wanted > 0:
                try:
                    group, first, count, size = progress.take(iterator, wanted if self.loops_on_device else 1)
                except StopIteration:
                    if logs is None:
                        raise
                    break
                if size is None and self.loops_on_device:
                    span = tf.constant(first), tf.constant(first + count)
                    logs, stop = self._run(kind, "group", group, *span, tf.constant(progress.heeds_nan))
                    count = int(stop) - first if progress.heeds_nan else count
                else:
                    short = keras.tree.map_structure(lambda tensor: tensor[first, :size], group)  # noqa: B023
                    logs = self._run(kind, "step", short)
                progress.taken += count
                wanted -= count
                if progress.heeds_nan and not math.isfinite(logs.get("loss", 0.0)):
                    break
            return logs

        return in_groups if progress and progress.in_groups else one_by_one

    def _run(self, kind, form, *arguments):
        with sound_passes():
            return self._program(kind, form)(*arguments)

    def _program(self, kind, form):
        """The compiled program that takes one batch ("step") or a range of a group's batches ("group")."""
        programs, progress = self._loop.programs, self._loop.progress[kind]
        # A group's odd batch runs once an epoch: plain TensorFlow spares it a compilation.
        jit = bool(self.jit_compile) and (form == "group" or not (progress and progress.in_groups))
        if (kind, form, jit) not in programs:
            step = {"train": self.train_step, "test": self.test_step}[kind]
            strategy = self.distribute_strategy

            def one_step(data):
                logs = strategy.run(step, args=(feed.as_given(data),))
                if strategy.num_replicas_in_sync == 1:
                    return logs
                return {name: strategy.reduce("MEAN", value, axis=None) for name, value in logs.items()}

            def many_steps(group, first, stop, heeds_nan):
                """Takes the steps from `first` to `stop`, or to the first after which the loss is no number."""

                def batch(index):
                    return feed.as_given(keras.tree.map_structure(lambda tensor: tensor[index], group))

                # What our own steps return is what the metrics hold at the end. What another returns must be carried along,
                # and the loop must know its structure before: traced ahead, as a function that the loop calls.
                carried = None if _is_ours(step) else tf.function(step, autograph=False).get_concrete_function(batch(first))

                def body(index, good, logs):
                    last = carried(batch(index)) if carried else step(batch(index))
                    good = tf.math.is_finite(last["loss"]) if "loss" in last else good
                    return index + 1, good, last if carried else logs

                def goes_on(index, good, _):
                    return (index < stop) & (good | ~heeds_nan)

                shapes = carried.structured_outputs if carried else {}
                logs = {name: tf.zeros(each.shape, each.dtype) for name, each in shapes.items()}
                index, _, logs = tf.while_loop(goes_on, body, [first, tf.constant(True), logs], parallel_iterations=1)
                return logs if carried else self.get_metrics_result(), index

            program = one_step if form == "step" else many_steps
            if not self.run_eagerly:
                program = tf.function(program, autograph=False, reduce_retracing=form == "step", jit_compile=jit or None)
            programs[kind, form, jit] = program
        return programs[kind, form, jit]


class _LoopState:
    """What the loop keeps on a model, out of sight of Keras's tracking of attributes.

    Attributes:
        programs: (kind, form, whether XLA compiles it) to program.
        progress: "train" and "test" to the `feed.Progress` of the `fit` or `evaluate` under way, or None.
    """

    def __init__(self):
        self.programs = {}
        self.progress = _NO_PROGRESS


def _is_ours(step):
    """Whether a step function is one of this package, which returns what its metrics hold; a user's may return other things."""
    return getattr(step, "__module__", "").startswith(f"{__package__}.")


def _without_optional(value):
    return None if isinstance(value, tf.experimental.Optional) else value
