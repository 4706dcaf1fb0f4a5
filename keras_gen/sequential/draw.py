"""DRAW, the deep recurrent attentive writer."""

import keras
import tensorflow as tf

from keras_gen.checks import check_integers
from keras_gen.model import check_seed
from keras_gen.noise import CounterNoise
from keras_gen.objectives import ELBO, NVIL
from keras_gen.objectives.likelihood_ratio import Seen
from keras_gen.sequential import attention as windows
from keras_gen.sequential.canvas import CanvasGenerator
from keras_gen.sequential.machine import SequentialMachine
from keras_gen.sequential.recurrent import LSTM, flat, linear, product
from keras_gen.sequential.steps import StepLatent, WindowPosition
from keras_gen.trace import Action

ATTENTIONS = (None, "soft", "hard")


class DrawGenerator(CanvasGenerator):
    """z_t ~ N(0, I); h_t = LSTM(z_t); canvas += write(h_t).

    Args:
        data_shape, steps, latent_dim, likelihood, levels: see `CanvasGenerator`.
        units, attention, write_size, random_windows: see `DRAW`.
    """

    def __init__(
        self, data_shape, steps, units, latent_dim, attention, write_size, random_windows, likelihood, levels, **kwargs
    ):
        super().__init__(data_shape, steps, latent_dim, likelihood, levels, **kwargs)
        self.attention, self.write_size, self.random_windows = attention, write_size, random_windows
        dtype = self.dtype_policy
        self.decoder = LSTM(latent_dim, units, name="decoder", dtype=dtype)
        height, width, depth = self.canvas_shape
        area = height * width if attention is None else write_size**2
        self.writer = linear(units, area * depth, "writer", dtype)
        self.write_window = None
        if attention == "soft":
            self.write_window = linear(units, windows.SOFT_PARAMETERS, "write_window", dtype, scale=0.01)
        elif attention == "hard":
            self.uniforms = 2
            self.places = windows.position_counts(data_shape, write_size)
            if not random_windows:
                self.write_window = linear(units, sum(self.places), "write_window", dtype, scale=0.01)

    def start(self, rows, context=None):
        return {"canvas": self.blank(rows), "decoder": self.decoder.start(rows)}

    def advance(self, state, z, uniform=None, context=None):
        decoder = self.decoder.step(z, state["decoder"])
        h = decoder[0]
        values, chosen = product(self.writer, h), {}
        if self.attention is None:
            added = tf.reshape(values, (-1, *self.canvas_shape))
        else:
            patch = tf.reshape(values, (-1, self.write_size, self.write_size, self.canvas_shape[2]))
            if self.attention == "soft":
                window = windows.soft_window(product(self.write_window, h), self.canvas_shape, self.write_size)
                added = windows.soft_write(patch, window, self.canvas_shape)
            else:
                place, chosen = choose(self.write_window, h, self.places, uniform, "write")
                added = windows.hard_write(patch, *place, self.canvas_shape, inside=True)
        return {**state, "decoder": decoder, "canvas": state["canvas"] + added}, chosen

    def windows(self, noise):
        """The borders of the window of each step that `unroll` takes, `[B, T, 4]`; None without attention."""
        if self.attention is None:
            return None
        _, states = self.unroll(noise)
        if self.attention == "hard":
            corners = tf.cast(tf.stack([state["write_place"] for state in states], axis=1), tf.float32)
            return tf.concat([corners, corners + self.write_size], axis=-1)
        borders = []
        for state in states:
            window = windows.soft_window(product(self.write_window, state["decoder"][0]), self.canvas_shape, self.write_size)
            reach = 0.5 * (self.write_size - 1) * window.stride
            y, x = window.center_y + 0.5, window.center_x + 0.5  # borders are between pixels, centres on them
            borders.append(tf.stack([y - reach, x - reach, y + reach, x + reach], axis=-1))
        return tf.stack(borders, axis=1)


def choose(layer, h, places, uniform, name):
    """A hard window's place (top, left) for each row of the state h, int32 `[R]` each, and a record of the choice.

    Without a layer all places are equally likely, and there is nothing to learn.
    """
    if layer is None:
        place = windows.choose_position(tf.zeros((1, sum(places))), places, uniform)
        return place, {f"{name}_place": tf.stack(place, axis=-1)}
    logits = product(layer, h)
    place = windows.choose_position(logits, places, uniform)
    return place, {f"{name}_logits": logits, f"{name}_place": tf.stack(place, axis=-1), f"{name}_state": h}


@keras.saving.register_keras_serializable("keras_gen")
class DRAW(SequentialMachine):
    """Draws an image in T steps on a canvas, a part at a time where there is attention.

    ```python
    model = keras_gen.DRAW(data_shape=(28, 28, 1), steps=10, attention="soft", read_size=5, write_size=5)
    model.compile(optimizer=keras.optimizers.Adam(1e-3, clipnorm=10.0))
    model.fit(images, epochs=20)
    film = model.generate_sequence([[7, 0]])                      # [1, T, 28, 28, 1]
    ```

    At step t, with the canvas c and the states h of two LSTMs: the encoder reads the image and what is still wrong with the
    canvas, h_enc = LSTM([read(x, x - mean(c)), h_dec]), and gives q(z_t) = N(mu, sigma); the decoder, h_dec = LSTM(z_t), adds
    write(h_dec) to the canvas. The generator is the decoder alone with z_t ~ N(0, I). The likelihood looks at the last canvas
    only, and the bound is log p(x given c_T) - sum over t of KL(q(z_t), N(0, I)). Cost and memory: straight lines in T.

    On a CPU it trains fastest after `tf.config.threading.set_intra_op_parallelism_threads(1)`, see `keras_gen.parts`.

    Windows. None: the whole image and canvas, at every step. "soft": grids of Gaussian filters, for reading and for writing,
    each with five parameters linear in h_dec. "hard": pixels at integer places (row and column drawn from a categorical
    distribution linear in h_dec). Places are actions, drawn from one policy in p and q; they have no gradient, and learn by
    likelihood ratios: `NVIL` (the usual one then), `ScoreFunction`, `VIMCO`. z_t keeps its gradient beside them. In the bound
    they cancel.

    Args:
        data_shape: (H, W, C).
        steps: T.
        units: of either LSTM.
        latent_dim: units of z_t.
        attention: None, "soft" or "hard".
        read_size, write_size: N of the N x N windows, which must fit into the image; at least 2 for "soft". Without attention
            not looked at.
        random_windows: with "hard", places are uniformly random in training and drawing: what a policy must beat. Nothing is
            left to likelihood ratios then, and `ELBO` fits.
        likelihood, levels: as `VAE`.
        binarization, seed: see `LikelihoodModel`.

    Raises:
        ValueError: numbers or windows that cannot be; at `compile`, objectives that do not fit.

    Gregor, Danihelka, Graves, Rezende, Wierstra: DRAW: A recurrent neural network for image generation. ICML 2015.
    """

    def __init__(
        self,
        data_shape,
        steps=10,
        units=256,
        latent_dim=100,
        attention=None,
        read_size=None,
        write_size=None,
        random_windows=False,
        likelihood="bernoulli",
        levels=256,
        binarization="auto",
        seed=None,
        **kwargs,
    ):
        (steps,) = check_integers(why="without a step nothing is drawn", steps=steps)
        units, latent_dim = check_integers(units=units, latent_dim=latent_dim)
        if attention not in ATTENTIONS:
            raise ValueError(f"attention={attention!r}: one of {', '.join(map(repr, ATTENTIONS))}.")
        if random_windows and attention != "hard":
            raise ValueError(f'random_windows=True with attention={attention!r}: only windows of attention="hard" are drawn.')
        super().__init__(data_shape=data_shape, binarization=binarization, seed=seed, **kwargs)
        sizes = {"read_size": read_size, "write_size": write_size}
        for name, size in sizes.items():
            if size is None:
                sizes[name] = min(5, *self.data_shape[:2])
            if attention is not None:
                sizes[name] = windows.check_window(name, sizes[name], self.data_shape, least=2 if attention == "soft" else 1)
        self._settings = {
            "steps": steps,
            "units": units,
            "latent_dim": latent_dim,
            "attention": attention,
            **sizes,
            "random_windows": random_windows,
            "likelihood": likelihood,
            "levels": levels,
        }
        self.attention, self.read_size, self.random_windows = attention, sizes["read_size"], random_windows
        dtype = self.dtype_policy
        self.generator = DrawGenerator(
            self.data_shape,
            steps,
            units,
            latent_dim,
            attention,
            sizes["write_size"],
            random_windows,
            likelihood,
            levels,
            name="generator",
            dtype=dtype,
        )
        height, width, channels = self.data_shape
        area = height * width if attention is None else self.read_size**2
        self.encoder = LSTM(2 * area * channels + units, units, name="encoder", dtype=dtype)
        self.infers = linear(units, 2 * latent_dim, "infers", dtype)
        self.read_window = None
        if attention == "soft":
            self.read_window = linear(units, windows.SOFT_PARAMETERS, "read_window", dtype, scale=0.01)
        elif attention == "hard":
            self.infer_uniforms = 2
            self.places = windows.position_counts(self.data_shape, self.read_size)
            if not random_windows:
                self.read_window = linear(units, sum(self.places), "read_window", dtype, scale=0.01)
        self.built = True

    def generate_windows(self, seed):
        return self.generator.windows(CounterNoise(check_seed(seed)))

    @property
    def keeps_gradients(self):
        return self.attention == "hard"

    @property
    def has_recognition(self):
        """Whether q is a network beside p for all that is drawn: hard windows have one policy in both."""
        return self.attention != "hard"

    @property
    def _learns_places(self):
        return self.attention == "hard" and not self.random_windows

    def infer_start(self, rows):
        return {"encoder": self.encoder.start(rows)}

    def infer(self, state, x, uniform=None, context=None):
        h = state["decoder"][0]
        seen, chosen = self._read(x, state["canvas"], h, uniform)
        encoder = self.encoder.step((seen, h), state["encoder"])
        parameters = tf.split(product(self.infers, encoder[0]), 2, axis=-1)
        return {**state, "encoder": encoder}, parameters, chosen

    def _read(self, x, canvas, h, uniform):
        """The image and its difference from what the canvas shows, as the window sees them: `[R, inputs]`."""
        size, chosen = self.read_size, {}
        if self.attention == "hard":
            place, chosen = choose(self.read_window, h, self.places, uniform, "read")
            x, canvas = (windows.hard_read(each, *place, size, inside=True) for each in (x, canvas))
        both = [x, x - self.generator.mean_of(canvas)]
        if self.attention == "soft":
            window = windows.soft_window(product(self.read_window, h), self.data_shape, size)
            return windows.soft_reads(both, window, size), chosen
        return flat(tf.concat(both, axis=-1)), chosen

    def actions(self, x, outputs, groups, log_likelihood):
        if not self._learns_places:
            return ()
        kl = tf.stack([group.kl() for group in groups])
        later = tf.cumsum(kl, axis=0, reverse=True)  # of this step and those after it
        pixels = tf.cast(flat(x), tf.float32)
        made = []
        for name, places, costs in (("read", self.places, later), ("write", self.generator.places, later - kl)):
            # A place that was read from has its part in this step's KL already, one that was written to in later ones.
            log_pi = windows.position_log_prob(outputs[f"{name}_logits"], places, outputs[f"{name}_place"])
            state = tf.stop_gradient(outputs[f"{name}_state"])
            image = tf.broadcast_to(pixels, tf.concat([tf.shape(state)[:-1], [pixels.shape[-1]]], 0))
            made.append(Action(log_pi, tf.concat([image, state], axis=-1), log_likelihood - costs))
        return tuple(made)

    @property
    def recognition(self):
        latent = (self._settings["latent_dim"],)
        steps = self._settings["steps"]
        reads = [self.read_window] if self.read_window is not None else []
        latents = [StepLatent("z", latent, [self.encoder, self.infers, *reads])] + [StepLatent("z", latent)] * (steps - 1)
        if self._learns_places:
            latents += [WindowPosition("read_place", (2,)), WindowPosition("write_place", (2,))]
        return latents

    @property
    def choices_seen(self):
        settings = self._settings
        if self.attention == "hard":
            height, width, channels = self.data_shape
            seen = Seen((height * width * channels + settings["units"],), (settings["steps"],))
            return [seen, seen] if self._learns_places else []
        return [Seen(self.data_shape)] + [Seen((settings["latent_dim"],))] * (settings["steps"] - 1)

    def default_objective(self):
        """`ELBO`; `NVIL` where the places of hard windows are learned."""
        return NVIL() if self._learns_places else ELBO()

    def get_config(self):
        return {**super().get_config(), **self._settings}
