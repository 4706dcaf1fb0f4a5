"""Images moved about before the critic sees them, so that it cannot know the training images by heart.

With few images a critic comes to recognise each of them (`real_accuracy` near 1, `held_out_real_accuracy` near 1/2), and has
nothing left to say of what is drawn. Data and drawn images are moved alike, at random, and the generator's gradient passes
through the move: it learns to draw what, moved about, looks like data moved about, not images that are moved.
"""

import tensorflow as tf

#: A shift is by up to this share of height and width.
REACH = 1 / 8


def flipped(images, noise):
    """Each of `images` `[B, H, W, C]` as it is or mirrored left to right, with equal probability.

    As both are equally likely, the generator learns to draw either: for images of which the mirror image is as good.
    """
    mirrored = tf.reshape(noise.uniform(()) < 0.5, (-1, 1, 1, 1))
    return tf.where(mirrored, tf.reverse(images, [2]), images)


def shifted(images, noise):
    """Each of `images` `[B, H, W, C]` moved by a whole number of pixels, up to `REACH` along each axis; what comes in is 0."""
    offsets = []
    for size, uniform in zip(images.shape[1:3], tf.unstack(noise.uniform((2,)), axis=-1), strict=True):
        most = int(size * REACH)
        # Rounding takes some uniforms next to 1 to the end of the range.
        offsets.append(tf.minimum(tf.cast(uniform * (2 * most + 1), tf.int32), 2 * most) - most)
    return _moved(images, *offsets)


def _moved(images, down, right):
    """Image b moved by `down[b]` rows and `right[b]` columns, int32 `[B]`."""

    @tf.custom_gradient
    def move(images):
        # Back the way it came: TensorFlow's gradient of a gather adds up pixel by pixel.
        return _along(_along(images, down, 1), right, 2), lambda upstream: _moved(upstream, -down, -right)

    return move(images)


def _along(images, offset, axis):
    size = images.shape[axis]
    source = tf.range(size)[None] - offset[:, None]
    inside = tf.cast((source >= 0) & (source < size), images.dtype)
    found = tf.gather(images, tf.clip_by_value(source, 0, size - 1), axis=axis, batch_dims=1)
    return found * tf.reshape(inside, (-1, size, 1, 1) if axis == 1 else (-1, 1, size, 1))


#: By name, in the order in which they are applied.
AUGMENTATIONS = {"flip": (flipped,), "shift": (shifted,), "shift_and_flip": (flipped, shifted)}


def augmented(name, images, noise):
    """`images` `[B, H, W, C]` moved about as `name` says, one of `AUGMENTATIONS`, or None for not at all.

    `noise`: a `Noise` of B rows, of streams that nothing else draws from.

    Zhao, Liu, Lin, Zhu, Han: Differentiable augmentation for data-efficient GAN training. NeurIPS 2020, section 3.2.
    """
    for move in AUGMENTATIONS[name] if name else ():
        images = move(images, noise)
    return images
