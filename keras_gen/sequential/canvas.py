"""The generator of a model that builds an image on a canvas: its chain of draws, step by step."""

import functools

import keras
import tensorflow as tf

from keras_gen import conditionals
from keras_gen.helmholtz.likelihood import LIKELIHOODS, data_conditional
from keras_gen.sequential.steps import gaussian


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
