"""Unknown pixels imputed by a policy that a guide has taught."""

import keras
import tensorflow as tf

from keras_gen import images
from keras_gen.checks import check_integers
from keras_gen.helmholtz.likelihood import LIKELIHOODS
from keras_gen.model import check_seed_of
from keras_gen.noise import BatchNoise, CounterNoise, fold_in
from keras_gen.sequential import masks as masks_module
from keras_gen.sequential.decision import PolicyGenerator, PolicyMachine
from keras_gen.trace import unit_log_prob

#: The stream of a step's key that draws masks, beside those of `keras_gen.helmholtz.likelihood`.
_MASK = 2


class ImputingGenerator(PolicyGenerator):
    """The same beside known pixels, which it keeps."""

    likelihoods = (*LIKELIHOODS, "cross_entropy")

    def impute(self, noise, context):
        """As `generate`, with the known pixels in their places as they were given."""
        known = context["mask"] > 0.5
        return {name: tf.where(known, context["image"], drawn) for name, drawn in self.generate(noise, context).items()}


@keras.saving.register_keras_serializable("keras_gen")
class SequentialImputer(PolicyMachine):
    """Fills in unknown pixels in T decisions of a policy that sees the known ones and its own guess of the others.

    ```python
    model = keras_gen.SequentialImputer(data_shape=(28, 28, 1), mask="mcar", drop_rate=0.8)
    model.compile(optimizer=keras.optimizers.Adam(1e-3, clipnorm=10.0))
    model.fit(images, epochs=20)                                  # a fresh mask for each image at each visit
    model.fit(images, masks, epochs=20)                           # or masks of your own
    filled = model.impute(images, masks, seed=[[7, row] for row in range(len(images))])["sample"]
    ```

    A mask is 1 where a pixel is observed and 0 where it is to be imputed, `[B, H, W, 1]`. At each step the policy p sees the
    known pixels and, in the other places, what the canvas shows; at the start that is a learned image. The guide q sees all of
    x besides. The loss is that of `SequentialGenerator` with the likelihood of the pixels to impute alone: minus a lower bound
    of log p(unknown pixels given known ones). An image that is known whole costs its KL alone; one of which nothing is known
    is generated, and `generate` is just that.

    `network="feed_forward"` is the paper's GPSI: policy, guide and decoder are two layers of rectified linear units each, and
    the canvas is all that is remembered. With "lstm" policy and guide are LSTMs of what they see and of the decoder's state.

    Args:
        data_shape: (H, W, C).
        steps: T.
        units: of each LSTM or hidden layer.
        latent_dim: units of z_t.
        network: "feed_forward" or "lstm".
        canvas: "additive" or "jump", see `SequentialGenerator`.
        mask: how masks are drawn where none are given. "mcar": each pixel is dropped with probability `drop_rate`. "mar": one
            square of `square_size` x `square_size` pixels is dropped, see `keras_gen.sequential.masks`.
        drop_rate: above 0 and below 1.
        square_size: pixels; half the shorter side where None.
        likelihood, levels: as `VAE`; or "cross_entropy": the formula of Bernoulli's likelihood at grey values as they are. That
            is the paper's protocol for grey images, and no likelihood: its figures compare with others of the same protocol
            alone.
        binarization, seed: see `LikelihoodModel`.

    Raises:
        ValueError: settings that cannot be; at `compile`, objectives that do not fit; at `fit` (of a data set by its first
            batch) and `impute`, masks of another shape, or with values besides 0 and 1.

    Bachman, Precup: Data generation as sequential decision making. NeurIPS 2015, section 4.
    """

    def __init__(
        self,
        data_shape,
        steps=6,
        units=200,
        latent_dim=100,
        network="feed_forward",
        canvas="additive",
        mask="mcar",
        drop_rate=0.8,
        square_size=None,
        likelihood="bernoulli",
        levels=256,
        binarization="auto",
        seed=None,
        **kwargs,
    ):
        super().__init__(data_shape=data_shape, binarization=binarization, seed=seed, **kwargs)
        shorter = min(self.data_shape[:2])
        square_size = max(1, shorter // 2) if square_size is None else square_size
        if mask not in masks_module.KINDS:
            raise ValueError(f"mask={mask!r}: one of {', '.join(map(repr, masks_module.KINDS))}.")
        if not 0 < drop_rate < 1:
            raise ValueError(f"drop_rate={drop_rate!r}: a pixel is dropped with a probability above 0 and below 1.")
        check_integers(square_size=square_size)
        if square_size > shorter:
            raise ValueError(f"square_size={square_size}: the square must fit into the image; its shorter side has {shorter}.")
        self.mask_kind, self.drop_rate, self.square_size = mask, drop_rate, square_size
        self._make(
            ImputingGenerator,
            looks=True,
            steps=steps,
            units=units,
            latent_dim=latent_dim,
            network=network,
            canvas=canvas,
            likelihood=likelihood,
            levels=levels,
        )

    # Masks.

    def draw_masks(self, num, seed):
        """Draws masks as `mask`, `drop_rate` and `square_size` say: float32 `[num, H, W, 1]`.

        Args:
            num: int or scalar tensor.
            seed: int32 `[2]`.
        """
        noise = BatchNoise(seed, (num,))
        if self.mask_kind == "mcar":
            return masks_module.missing_at_random(noise, self.data_shape, self.drop_rate)
        return masks_module.missing_square(noise, self.data_shape, self.square_size)

    @property
    def masked_fraction(self):
        """The share of pixels that masks drop, on average."""
        height, width = self.data_shape[:2]
        return self.drop_rate if self.mask_kind == "mcar" else self.square_size**2 / (height * width)

    @property
    def masks_drawn(self):
        """How masks are drawn, for protocols."""
        if self.mask_kind == "mcar":
            return f"MCAR-{100 * self.drop_rate:g}: each pixel dropped with probability {self.drop_rate:g}"
        return f"MAR-{self.square_size}: one square of {self.square_size} x {self.square_size} pixels dropped"

    def admit_labels(self, labels, source):
        """Beside images stand masks, or nothing."""
        if labels is not None:
            masks_module.check_mask(labels, self.data_shape, source=source.replace("labels", "masks"))

    def _given(self, label):
        return {} if label is None else {"label": label}

    def step(self, x, seed, label=None):
        return super().step(x if label is None else self.masked(x, label), seed)

    def masked(self, x, mask):
        """Images with their masks as a last channel, `[B, H, W, C + 1]`: as objectives and `trace` take both."""
        return tf.concat([tf.cast(x, tf.float32), tf.cast(mask, tf.float32)], axis=-1)

    @property
    def given_shape(self):
        height, width, channels = self.data_shape
        return (height, width, channels + 1)

    def _split(self, x, seed):
        """Images and masks of what may have its masks as a last channel; they are drawn where it does not."""
        channels = self.data_shape[2]
        if x.shape[-1] == channels:
            return x, self.draw_masks(x.shape[0] or tf.shape(x)[0], fold_in(seed, _MASK))
        return x[..., :channels], x[..., channels:]

    def binarize(self, x, seed):
        """Images, with masks or without, as they are scored: with masks, and binarised as `binarization_in_force` says."""
        x, mask = self._split(tf.convert_to_tensor(x), seed)
        return self.masked(super().binarize(x, seed), mask)

    def context_of(self, x, seed):
        x, mask = self._split(x, seed)
        return x, {"image": x, "mask": mask}

    def log_likelihood(self, x, canvas, context):
        """log p(unknown pixels given the last canvas), `[K, B]`."""
        pixels = unit_log_prob(self.generator.likelihood(canvas), x)
        return tf.reduce_sum(pixels * (1.0 - tf.cast(context["mask"], tf.float32)), axis=(-3, -2, -1))

    # Drawing.

    def dream(self, num, seed):
        """Draws `num` = B images of which nothing is known, as `SequentialMachine.dream`."""
        height, width, channels = self.data_shape
        return self.dream_like(tf.zeros((num, height, width, channels + 1)), seed)

    def dream_like(self, x, seed):
        """Imputes the unknown pixels of `x`, as `binarize` gives it, and evaluates p and q there: a trace `[1, B]`, its draws
        fixed."""
        image, context = self.context_of(tf.cast(x, tf.float32), seed)
        *draws, (_, drawn) = self.generator.call(BatchNoise(seed, (self._shape(image, 1)[1],)), context)
        completed = tf.where(context["mask"] > 0.5, image, tf.stop_gradient(drawn))
        return self.score(self.masked(completed, context["mask"]), [tf.stop_gradient(draw)[None] for _, draw in draws])

    def impute(self, image, mask, seed):
        """Fills in unknown pixels; row i depends on its own image, mask and seed alone.

        Args:
            image: float `[B, H, W, C]` in [0, 1], at unknown pixels too, though what stands there is not looked at. The policy
                sees known pixels as they are, grey ones too.
            mask: `[B, H, W, 1]`: 1 observed, 0 to impute. Where all of an image is observed it comes back as it is; where
                nothing is, it is generated.
            seed: int32 `[B, 2]`.

        Returns:
            dict of float32 tensors `[B, H, W, C]`: `sample`, one draw, and `mean`, the mean of each pixel given the latents
            that were drawn (both the same with `likelihood="cross_entropy"`). Observed pixels are as given.

        Raises:
            ValueError: images, masks or seeds of another shape or dtype, or not as many of the one as of the other; values
                outside [0, 1]; mask values besides 0 and 1.
        """
        image = tf.convert_to_tensor(image)
        images.check_shape_and_dtype(image.shape, image.dtype, self.data_shape)
        seed = check_seed_of(image, seed)
        if tf.executing_eagerly():
            mask = tf.constant(masks_module.check_mask(mask, self.data_shape, len(image)))
            if len(image):
                images.check_values(image.numpy())
        known = {"image": tf.cast(image, tf.float32), "mask": tf.cast(mask, tf.float32)}
        return self.generator.impute(CounterNoise(seed), known)

    def signatures(self):
        """`impute`."""
        height, width, _ = self.data_shape
        inputs = {
            "image": ("float32", self.data_shape, "unit"),
            "mask": ("float32", (height, width, 1), "binary"),
            "seed": ("int32", (2,), "integer"),
        }
        return {"impute": (self.impute, inputs)}

    def get_config(self):
        own = {"mask": self.mask_kind, "drop_rate": self.drop_rate, "square_size": self.square_size}
        return {**super().get_config(), **own}
