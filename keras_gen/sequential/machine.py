"""What all models that build an image on a canvas share: the generator's chain, inference step by step, and the trace."""

import dataclasses
import functools
import math
import random
from typing import Any

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from keras_gen import conditionals
from keras_gen.helmholtz.likelihood import LIKELIHOODS, LikelihoodModel, data_conditional
from keras_gen.metrics import ActiveUnits, mean_over_draws
from keras_gen.model import check_seed
from keras_gen.noise import BatchNoise, CounterNoise
from keras_gen.objectives import ELBO
from keras_gen.sequential.recurrent import scan
from keras_gen.trace import LatentGroup, SequentialTrace

tfd = tfp.distributions


def gaussian(loc, log_scale):
    """The diagonal Gaussian with these parameters, `[..., units]`; one draw is one event."""
    return tfd.Independent(tfd.Normal(loc, tf.exp(log_scale)), reinterpreted_batch_ndims=1)


class AllSteps:
    """Scores the latents of all steps at once, for `StepGroup`s to take their own: one pass instead of T small ones.

    Args:
        group: `LatentGroup` of the stacked draws, `[T, K, B, units]`.
    """

    def __init__(self, group):
        self._group, self._kl = group, {}

    @functools.cached_property
    def log_p(self):
        return tf.unstack(self._group.log_p)

    @functools.cached_property
    def log_q(self):
        return tf.unstack(self._group.log_q)

    def kl(self, analytic):
        if analytic not in self._kl:
            self._kl[analytic] = tf.unstack(self._group.kl(analytic))
        return self._kl[analytic]


@dataclasses.dataclass(frozen=True)
class StepGroup(LatentGroup):
    """The group of one step.

    Attributes:
        all_steps: `AllSteps`.
        step: int, from 0.
    """

    all_steps: Any = None
    step: int = 0

    @functools.cached_property
    def log_p(self):
        return self.all_steps.log_p[self.step]

    @functools.cached_property
    def log_q(self):
        return self.all_steps.log_q[self.step]

    def kl(self, analytic=True):
        return self.all_steps.kl(analytic)[self.step]


class StepLatent:
    """What objectives ask of the latents of all steps together: the Gaussian z_t of a sequential machine.

    Attributes:
        event_shape: of one step.
        reparameterized: whether a draw is a differentiable function of the parameters of q.
        has_mean_field: whether a pass of means may stand for draws: here not, since the canvas depends on all of them.
    """

    reparameterized = True
    has_mean_field = False

    def __init__(self, name, event_shape, layers=()):
        self.name, self.event_shape, self._layers = name, event_shape, layers

    @property
    def trainable_variables(self):
        """The weights of q."""
        return [variable for layer in self._layers for variable in layer.trainable_variables]


class WindowPosition(StepLatent):
    """The place of a hard window, a categorical draw at each step."""

    reparameterized = False


class CanvasGenerator(keras.layers.Layer):
    """Draws z_t ~ p(z_t given all before) for t = 1 ... T, each of which changes a canvas; then x given the last canvas.

    Its noise: stream 0 has the normals of all z, `[T, latent_dim]`; the next one the uniforms of window positions where there
    are such, `[T, 2]`; the last one draws the pixels.

    A subclass says how it starts, what its prior is, and how it advances. The state is a dict with the entry "canvas",
    `[R, H, W, P]`, the parameters of the last factor.

    Args:
        likelihood, data_shape, levels: of the last factor, see `VAE`.
        steps: T.
        latent_dim: int.
    """

    #: Uniforms that a step draws.
    uniforms = 0
    #: Whether its prior looks at the state, the first one too, before anything is drawn.
    has_policy = False
    #: Names of the last factors that it may have.
    likelihoods = LIKELIHOODS

    def __init__(self, data_shape, steps, latent_dim, likelihood, levels, **kwargs):
        super().__init__(**kwargs)
        self.steps, self.latent_dim = steps, latent_dim
        conditional = data_conditional(likelihood, data_shape, None, levels, {"dtype": self.dtype_policy}, self.likelihoods)
        conditional.build_headless()
        self.conditionals = [conditional]
        self.canvas_shape = (*data_shape[:2], data_shape[2] * conditional.parameters_per_element)
        self.first_canvas = self.add_weight(self.canvas_shape, initializer="zeros", name="first_canvas")
        self.built = True

    def start(self, rows, context=None):
        """The state before the first step, for a number of rows."""
        raise NotImplementedError

    def prior(self, state, context=None):
        """The state once p has looked at what was drawn before, and (loc, log scale) of p(z_t), None where that is N(0, I)."""
        return state, None

    def advance(self, state, z, uniform=None, context=None):
        """The state after a step's z `[R, latent_dim]`, and what was chosen on the way: a dict of tensors."""
        raise NotImplementedError

    def blank(self, rows):
        """The learned first canvas, `[rows, H, W, P]`."""
        canvas = tf.cast(tf.convert_to_tensor(self.first_canvas), tf.float32)
        return tf.tile(canvas[None], (rows, 1, 1, 1))

    def likelihood(self, canvas):
        """p(x given a canvas `[..., H, W, P]`)."""
        conditional = self.conditionals[-1]
        return conditional.distribution(*tf.split(canvas, conditional.parameters_per_element, axis=-1))

    def mean_of(self, canvas):
        """The mean of `likelihood`: the image that a canvas or a patch of it shows, `[..., C]`."""
        if isinstance(self.conditionals[-1], conditionals.Bernoulli):
            return tf.sigmoid(canvas)
        return self.likelihood(canvas).mean()

    def unroll(self, noise, context=None):
        """Draws every step, the loop written out: a chain of plain operators, as every runtime has them.

        Returns:
            A pair for each step of (parameters of the prior, z), and for each step the state after it, with what was chosen in
            it.
        """
        (rows,) = noise.batch_shape
        normals = tf.unstack(noise.normal((self.steps, self.latent_dim)), self.steps, axis=1)
        uniforms = [None] * self.steps
        if self.uniforms:
            uniforms = tf.unstack(noise.uniform((self.steps, self.uniforms)), self.steps, axis=1)
        state, draws, states = self.start(rows, context), [], []
        if self.has_policy:
            # Dependent on the noise by nothing: of what begins as a constant, LiteRT's converter computes a part in advance for
            # a batch of one, with weights that are not yet quantised.
            nothing = 0.0 * tf.reduce_sum(normals[0])  # of all rows: there may be none
            state = tf.nest.map_structure(lambda each: each + nothing, state)
        step = self._step if tf.executing_eagerly() else self._step_as_function
        for normal, uniform in zip(normals, uniforms, strict=True):
            state, chosen, parameters, z = step(state, normal, uniform, context)
            draws.append((parameters, z))
            states.append({**state, **chosen})
        return draws, states

    def _step(self, state, normal, uniform, context):
        """The state after a step and what was chosen in it, the parameters of its prior and z."""
        state, parameters = self.prior(state, context)
        z = normal if parameters is None else parameters[0] + tf.exp(parameters[1]) * normal
        state, chosen = self.advance(state, z, uniform, context)
        return state, chosen, parameters, z

    @functools.cached_property
    def _step_as_function(self):
        """A function of its own, so that a SavedModel has the step once, and not T times in each signature."""
        return tf.function(self._step, autograph=False)

    def prior_distribution(self, parameters):
        """p(z_t) with the parameters that `prior` gave."""
        if parameters is None:
            return gaussian(tf.zeros(self.latent_dim), tf.zeros(self.latent_dim))
        return gaussian(*parameters)

    def call(self, noise, context=None):
        """Returns the pairs (distribution, draw) of every step and last of the image, `[B, *event]`."""
        draws, states = self.unroll(noise, context)
        return [*((self.prior_distribution(parameters), z) for parameters, z in draws), self._image(states, noise)]

    def generate(self, noise, context=None):
        """Dreams images: `{"sample": [B, H, W, C], "mean": same}`, both clipped to the visible range [0, 1]."""
        likelihood, sample = self._image(self.unroll(noise, context)[1], noise)
        return {"sample": tf.clip_by_value(sample, 0.0, 1.0), "mean": tf.clip_by_value(likelihood.mean(), 0.0, 1.0)}

    def _image(self, states, noise):
        likelihood = self.likelihood(states[-1]["canvas"])
        return likelihood, self.conditionals[-1].draw(likelihood, noise)

    def sequence(self, noise, context=None):
        """The image that the canvas shows after each step, `[B, T, H, W, C]` in [0, 1]; the last one is `generate`'s mean."""
        _, states = self.unroll(noise, context)
        canvases = tf.stack([state["canvas"] for state in states], axis=1)
        return tf.clip_by_value(self.likelihood(canvases).mean(), 0.0, 1.0)


class SequentialMachine(LikelihoodModel):
    """A Helmholtz machine with T groups of latents, p and q of each conditioned on all that was drawn before it.

    A subclass sets `generator`, a `CanvasGenerator`, and says in `infer_start` and `infer` how q goes along.
    """

    #: On a CPU oneDNN's matrix products, a few for each step, are faster than XLA's, and a loop compiles in less time.
    prefers_xla_on_cpu = False
    #: Whether objectives by likelihood ratios leave the draws that have a gradient to it, and take actions alone.
    keeps_gradients = False

    #: How far images may be apart between runtimes: the rounding of all steps adds up.
    export_tolerance = 1e-4

    def context_of(self, x, seed):
        """(images, context): what is scored, `[B, H, W, C]`, and what p is given beside its latents: a dict of `[B, ...]`, or
        None."""
        return x, None

    def infer_start(self, rows):
        """What q remembers before the first step: a dict that is added to the generator's state."""
        raise NotImplementedError

    def infer(self, state, x, uniform=None, context=None):
        """Goes one step with q.

        Args:
            state: dict.
            x: `[R, H, W, C]`.
            uniform: `[R, infer_uniforms]`, where q chooses.

        Returns:
            (state, (loc, log scale) of q(z_t), what was chosen: a dict of tensors).
        """
        raise NotImplementedError

    infer_uniforms = 0

    def trace(self, x, num_samples=1, seed=None, draws="pathwise"):
        """Infers and scores: draws `num_samples` = K sequences for each of B images from q and evaluates p and q.

        Args:
            x: what `binarize` gives: float `[B, H, W, C]`, binary where the likelihood is Bernoulli.
            num_samples: K.
            seed: int32 `[2]`, the key of the draws; a fresh one where None.
            draws: "pathwise": gradients flow through draws that have one. "fixed": through none. "choices": as "fixed"; but as
                "pathwise" in a model with actions, so that those alone are left to likelihood ratios.

        Returns:
            `SequentialTrace` of shape `[K, B]`: a group for each step, the first step first; its `kl` is that step's, in closed
            form given what was drawn before.
        """
        seed = [random.getrandbits(31), random.getrandbits(31)] if seed is None else seed
        x, context = self.context_of(tf.convert_to_tensor(x), seed)
        return self._scored(x, num_samples, BatchNoise(seed, self._shape(x, num_samples)), draws, context=context)

    def score(self, x, values):
        """Evaluates p and q at given latents.

        Args:
            x: float `[B, H, W, C]`.
            values: the latents of each step, T tensors `[K, B, latent_dim]`.

        Returns:
            `SequentialTrace` of shape `[K, B]`.

        Raises:
            ValueError: the model draws places of windows besides.
        """
        if self.generator.uniforms:
            raise ValueError(
                f"a {type(self).__name__} with hard windows scores no given latents and no dreams: the places written to are "
                "not among them, and without these what is on the canvas is not known. `trace` draws and scores both."
            )
        x, context = self.context_of(tf.convert_to_tensor(x), [0, 0])
        values = tf.stack(list(values))
        num_samples = values.shape[1]
        return self._scored(x, num_samples, BatchNoise([0, 0], self._shape(x, num_samples)), "fixed", values, context)

    def dream(self, num, seed):
        """Draws `num` = B images with their latents from p and evaluates p and q: a trace `[1, B]`, its draws fixed.

        Args:
            num: int or scalar tensor.
            seed: int32 `[2]`, the key of the draws.

        Raises:
            ValueError: see `score`.
        """
        draws = [tf.stop_gradient(draw) for _, draw in self.generator.call(BatchNoise(seed, (num,)))]
        return self.score(draws[-1], [draw[None] for draw in draws[:-1]])

    def _shape(self, x, num_samples):
        return (num_samples, *conditionals.leading_shape(x, len(self.data_shape)))

    def run(self, x, num_samples, noise, draws, given=None, context=None):
        """Goes all steps with q: (last state, outputs of every step `[T, R, ...]`), R = K B rows, samples first."""
        generator, steps = self.generator, self.generator.steps
        shape = noise.batch_shape
        rows = math.prod(shape)

        def by_row(values):  # the same for each sample
            values = tf.cast(values, tf.float32)
            return tf.tile(values, (num_samples, *[1] * (len(values.shape) - 1))) if num_samples > 1 else values

        x = by_row(x)
        context = context and {name: by_row(values) for name, values in context.items()}
        pathwise = draws in ("pathwise", "means") or (draws == "choices" and self.keeps_gradients)

        def by_step(values):
            return tf.transpose(tf.reshape(values, (rows, steps, values.shape[-1])), (1, 0, 2))

        if given is None:
            inputs = {"noise": by_step(noise.normal((steps, generator.latent_dim)))}
            inputs["noise"] *= 0.0 if draws == "means" else 1.0
        else:
            inputs = {"given": tf.reshape(given, (steps, rows, generator.latent_dim))}
        uniforms = self.infer_uniforms + generator.uniforms
        if uniforms:
            inputs["uniform"] = by_step(noise.uniform((steps, uniforms)))

        def step(state, inputs, every):
            x, context = every["x"], every.get("context")
            mine = theirs = None
            if uniforms:
                mine, theirs = tf.split(inputs["uniform"], (self.infer_uniforms, generator.uniforms), -1)
            state, prior = generator.prior(state, context)
            state, (loc, log_scale), looked = self.infer(state, x, mine, context)
            output = {"loc": loc, "log_scale": log_scale}
            if prior is not None:
                output["prior_loc"], output["prior_log_scale"] = prior
            state, wrote = generator.advance(state, drawn(inputs, output), theirs, context)
            return state, {**output, **looked, **wrote}

        def drawn(inputs, output):
            z = inputs["given"] if given is not None else output["loc"] + tf.exp(output["log_scale"]) * inputs["noise"]
            return z if pathwise else tf.stop_gradient(z)

        start = {**generator.start(rows, context), **self.infer_start(rows)}
        every = {"x": x, "context": context} if context else {"x": x}
        state, outputs = scan(step, start, inputs, steps, every)
        # Once more, for all steps: were it an output of the loop, its gradient would go through each, zero where none comes.
        return state, {**outputs, "z": drawn(inputs, outputs)}

    def _scored(self, x, num_samples, noise, draws, given=None, context=None):
        state, outputs = self.run(x, num_samples, noise, draws, given, context)
        shape = noise.batch_shape
        canvas = tf.reshape(state["canvas"], (*shape, *self.generator.canvas_shape))
        outputs = {
            name: tf.reshape(values, (self.generator.steps, *shape, *values.shape[2:])) for name, values in outputs.items()
        }
        all_steps = AllSteps(self._group(outputs))
        pathwise = given is None and (draws == "pathwise" or (draws == "choices" and self.keeps_gradients))
        parts = {name: tf.unstack(values) for name, values in outputs.items() if name in _GROUP}
        groups = [
            StepGroup(
                **vars(self._group({name: values[step] for name, values in parts.items()}, pathwise)),
                all_steps=all_steps,
                step=step,
            )
            for step in range(self.generator.steps)
        ]
        log_likelihood = self.log_likelihood(x, canvas, context)
        return SequentialTrace(tuple(groups), log_likelihood, self.actions(x, outputs, groups, log_likelihood))

    def _group(self, outputs, pathwise=False):
        """The latents of a step, or of all steps stacked, with the distributions that score them."""
        prior = (outputs["prior_loc"], outputs["prior_log_scale"]) if "prior_loc" in outputs else None
        return LatentGroup(
            outputs["z"],
            prior=self.generator.prior_distribution(prior),
            posterior=gaussian(outputs["loc"], outputs["log_scale"]),
            has_analytic_kl=True,
            pathwise=pathwise,
        )

    def log_likelihood(self, x, canvas, context):
        """log p(x given the last canvas `[K, B, H, W, P]`), `[K, B]`."""
        return self.generator.likelihood(canvas).log_prob(x)

    def actions(self, x, outputs, groups, log_likelihood):
        """The `Action`s among the outputs of all steps, `[T, K, B, ...]` each."""
        return ()

    def call(self, x):
        """Reconstructs: the mean of p(x given the canvas) that the means of q draw, `[B, H, W, C]`."""
        x, context = self.context_of(tf.convert_to_tensor(x), [0, 0])
        state, _ = self.run(x, 1, BatchNoise([0, 0], self._shape(x, 1)), "means", context=context)
        return self.generator.likelihood(state["canvas"]).mean()

    def generate_sequence(self, seed):
        """The image on the canvas after each step of `generate`, `[B, T, H, W, C]` in [0, 1].

        Args:
            seed: int32 `[B, 2]`; the last image is the `mean` that `generate` gives for it.
        """
        return self.generator.sequence(CounterNoise(check_seed(seed)))

    def generate_windows(self, seed):
        """Where each step of `generate` writes: float `[B, T, 4]`, or None where every step writes everywhere.

        Top, left, bottom and right border of a window in pixels, which may lie outside the image.

        Args:
            seed: int32 `[B, 2]`.
        """
        return None

    def signatures(self):
        """`sequence`, the canvas after each step."""
        return {"sequence": (lambda seed: {"sequence": self.generate_sequence(seed)}, {"seed": ("int32", (2,), "integer")})}

    @property
    def recognition(self):
        """What objectives ask the latents for; all steps have the same kind."""
        raise NotImplementedError

    @property
    def choices_seen(self):
        raise NotImplementedError

    def default_objective(self):
        return ELBO()

    def step_metrics(self):
        return [ActiveUnits(self.generator.steps * self.generator.latent_dim)]

    def update_step_metrics(self, estimate):
        means, noise = zip(*map(mean_over_draws, estimate.trace.groups), strict=True)
        self._step_metrics[0].update_state(tf.concat(means, axis=-1), tf.concat(noise, axis=-1))

    @classmethod
    def from_config(cls, config):
        return cls(**config)


_GROUP = ("z", "loc", "log_scale", "prior_loc", "prior_log_scale")
