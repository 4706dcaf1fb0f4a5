"""The ancestral generator: a chain of conditionals from the prior down to the data. The only thing that is shipped."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("keras_gen")
class AncestralGenerator(keras.layers.Layer):
    """Draws z_L ~ p(z_L), then z_{L-1} ~ p(z_{L-1} given z_L), ..., x ~ p(x given z_1), one stream of noise a factor.

    Args:
        conditionals: `Conditional` layers from the prior down to the data; the first is called without a parent.
    """

    def __init__(self, conditionals, **kwargs):
        super().__init__(**kwargs)
        self.conditionals = list(conditionals)
        parent = None
        for conditional in self.conditionals:
            conditional.build(parent)
            parent = (None, *conditional.event_shape)
        self.built = True

    def call(self, noise):
        """Returns the pairs (distribution, draw) `[*noise.batch_shape, *event]`, from the prior down to the data."""
        draws, parent = [], None
        for conditional in self.conditionals:
            distribution = conditional(parent) if draws else conditional()
            parent = conditional.draw(distribution, noise)
            draws.append((distribution, parent))
        return draws

    def generate(self, noise):
        """Dreams images: `{"sample": [*batch, H, W, C], "mean": same}`, both clipped to the visible range [0, 1].

        `sample` is one draw from the model, `mean` the mean of the last factor given its parent (where that is
        autoregressive, of each element given those drawn before it, too).
        """
        distribution, sample = self.call(noise)[-1]
        given = getattr(distribution, "mean_given", None)
        mean = tf.broadcast_to(given(sample) if given else distribution.mean(), tf.shape(sample))
        return {"sample": tf.clip_by_value(sample, 0.0, 1.0), "mean": tf.clip_by_value(mean, 0.0, 1.0)}

    def get_config(self):
        conditionals = [keras.saving.serialize_keras_object(conditional) for conditional in self.conditionals]
        return {**super().get_config(), "conditionals": conditionals}

    @classmethod
    def from_config(cls, config):
        conditionals = [keras.saving.deserialize_keras_object(conditional) for conditional in config["conditionals"]]
        return cls(**{**config, "conditionals": conditionals})
