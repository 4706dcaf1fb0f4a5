"""What all models that build an image on a canvas share: inference step by step, and the trace."""

import math
import random

import tensorflow as tf

from keras_gen.distributions import leading_shape
from keras_gen.helmholtz.likelihood import LikelihoodModel
from keras_gen.metrics import ActiveUnits, mean_over_draws
from keras_gen.model import check_seed
from keras_gen.noise import BatchNoise, CounterNoise
from keras_gen.objectives import ELBO
from keras_gen.sequential.recurrent import scan
from keras_gen.sequential.steps import AllSteps, StepGroup, gaussian
from keras_gen.trace import LatentGroup, SequentialTrace, check_draws

_GROUP = ("z", "loc", "log_scale", "prior_loc", "prior_log_scale")  # what a step's group of latents is made of


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
        check_draws(draws)
        seed = [random.getrandbits(31), random.getrandbits(31)] if seed is None else seed
        x, context = self.context_of(tf.cast(x, tf.float32), seed)
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
        x, context = self.context_of(tf.cast(x, tf.float32), [0, 0])
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
        return (num_samples, *leading_shape(x, len(self.data_shape)))

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
        x, context = self.context_of(tf.cast(x, tf.float32), [0, 0])
        noise = CounterNoise(tf.zeros((tf.shape(x)[0], 2), tf.int32))  # whose places of windows do not depend on the batch
        state, _ = self.run(x, 1, noise, "means", context=context)
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
