"""Batch normalisation while training, as one operation forward and one backward.

Keras's own is a dozen passes over the maps, which on a CPU cost as much as the convolutions between them. TensorFlow's fused
operation has no second gradient, which a gradient penalty needs: here it is that of the formula.
"""

import tensorflow as tf


def normalized(layer, values):
    """What a `BatchNormalization` layer over the last axis gives while training; moves its moving statistics as it does.

    Args:
        layer: built, with scale and centre.
        values: `[B, ..., C]`.
    """
    channels = values.shape[-1]
    maps = tf.reshape(tf.cast(values, tf.float32), (-1, *(values.shape[1:-1] if len(values.shape) == 4 else (1, 1)), channels))
    result, mean, variance = _fused(maps, tf.convert_to_tensor(layer.gamma), tf.convert_to_tensor(layer.beta), layer.epsilon)
    count = tf.cast(tf.size(maps) // channels, tf.float32)
    # The operation tells the variance of a population of which the batch is a sample; Keras keeps the batch's own.
    statistics = [mean, variance * (count - 1.0) / count]
    replicas = tf.distribute.get_replica_context()
    if replicas is not None and replicas.num_replicas_in_sync > 1:  # each would keep a copy of its own
        statistics = replicas.all_reduce("MEAN", statistics)
    for moving, own in zip((layer.moving_mean, layer.moving_variance), statistics, strict=True):
        moving.assign(moving * layer.momentum + own * (1.0 - layer.momentum))
    return tf.cast(tf.reshape(result, tf.shape(values)), layer.compute_dtype)


def _fused(x, scale, offset, epsilon):
    """(normalised `x` `[B, H, W, C]`, mean, variance): scale, offset, mean and variance are `[C]`."""

    @tf.custom_gradient
    def forward(x, scale, offset):
        result, mean, variance, *kept = tf.raw_ops.FusedBatchNormV3(
            x=x, scale=scale, offset=offset, mean=[], variance=[], epsilon=epsilon, is_training=True
        )

        def gradient(upstream, *_):
            return backward(x, scale, upstream, *kept)

        return (result, tf.stop_gradient(mean), tf.stop_gradient(variance)), gradient

    def backward(x, scale, upstream, *kept):
        @tf.custom_gradient
        def first(x, scale, upstream):
            names = (f"reserve_space_{index}" for index in (1, 2, 3))
            options = {**dict(zip(names, kept, strict=True)), "epsilon": epsilon, "is_training": True}
            gradients = tf.raw_ops.FusedBatchNormGradV3(y_backprop=upstream, x=x, scale=scale, **options)[:3]

            def second(*upstreams):
                with tf.GradientTape() as tape:
                    tape.watch([x, scale, upstream])
                    written_out = _gradient(x, scale, upstream, epsilon)
                return tape.gradient(written_out, [x, scale, upstream], output_gradients=list(upstreams))

            return gradients, second

        return first(x, scale, upstream)

    return forward(x, scale, offset)


def _gradient(x, scale, upstream, epsilon):
    """The gradient of batch normalisation by x, scale and offset, of which TensorFlow knows the gradient."""
    mean, variance = tf.nn.moments(x, axes=[0, 1, 2])
    inverse = tf.math.rsqrt(variance + epsilon)
    standard = (x - mean) * inverse
    by_scale, by_offset = (tf.reduce_sum(each, axis=[0, 1, 2]) for each in (upstream * standard, upstream))
    count = tf.cast(tf.size(x) // x.shape[-1], x.dtype)
    return scale * inverse * (upstream - (by_offset + standard * by_scale) / count), by_scale, by_offset
