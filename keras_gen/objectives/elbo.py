"""The evidence lower bound with reparameterised draws (stochastic gradient variational Bayes)."""

import math
import warnings

import tensorflow as tf

from keras_gen.objectives.objective import Estimate, Objective, register


@register
class ELBO(Objective):
    """E_q[log p(x, z) - log q(z given x)], averaged over K draws: a lower bound of log p(x) for every K.

    The KL part is in closed form where TFP has one and the model allows it, else log q - log p of the draw: the same
    expectation. Cost a datum: 1 encoder and K decoder evaluations.

    Against posterior collapse two terms can be eased while training; the reported figures stay those of the bound, and
    `evaluate` gives minus the bound as the loss.

    Args:
        num_samples: K, draws a datum; more lower the gradient's variance and leave the bound as it is.
        analytic_kl: False to use the draws' log q - log p always.
        warmup_steps: the model's first training steps, over which the weight of the KL rises linearly from 0 to 1; 0 for none.
        free_bits: nats of KL, averaged over the batch, that each latent unit has for free; less than that is no better.

    Raises:
        ValueError: at `compile`, for latents without reparameterised draws.

    Kingma, Welling: Auto-encoding variational Bayes. ICLR 2014, equations 7 and 10. Warm-up: Sonderby, Raiko, Maaloe, Sonderby,
    Winther: Ladder variational autoencoders. NeurIPS 2016, section 2.3. Free bits: Kingma, Salimans, Jozefowicz, Chen,
    Sutskever, Welling: Improved variational inference with inverse autoregressive flow. NeurIPS 2016, appendix C.8.
    """

    requires = ("reparameterized",)

    def __init__(self, num_samples=1, analytic_kl=True, warmup_steps=0, free_bits=0.0):
        super().__init__(num_samples)
        for name, value in (("warmup_steps", warmup_steps), ("free_bits", free_bits)):
            if not 0 <= value < math.inf:
                raise ValueError(f"ELBO({name}={value!r}): must be 0, for none, or positive and finite.")
        self.analytic_kl, self.warmup_steps, self.free_bits = analytic_kl, warmup_steps, free_bits

    def check(self, model):
        super().check(model)
        taken = int(model.steps_taken)
        if taken and self.warmup_steps:
            warnings.warn(
                f"ELBO(warmup_steps={self.warmup_steps}): the warm-up is over a model's first steps, and this one has taken "
                f"{taken} already. Count them in, or begin with a new model.",
                stacklevel=3,
            )

    def __call__(self, model, x, seed, **given):
        trace = model.trace(x, self.num_samples, seed, **given)
        kl = sum(_sample_mean(group.kl(self.analytic_kl)) for group in trace.groups)
        reconstruction = _sample_mean(trace.log_likelihood)
        bound = reconstruction - kl
        price = kl
        if self.free_bits:
            price = sum(self._price_beyond_free_bits(group) for group in trace.groups)
        if self.warmup_steps:
            price *= tf.minimum(1.0, tf.cast(model.steps_taken, tf.float32) / self.warmup_steps)
        return Estimate(price - reconstruction, {"bound": bound, "reconstruction": reconstruction, "kl": kl}, trace)

    def _price_beyond_free_bits(self, group):
        """The sum over units of max(free_bits, mean over the batch of the unit's KL): a scalar."""
        unit_kl = group.unit_kl(self.analytic_kl)
        batch_axes = list(range(len(unit_kl.shape) - len(group.value.shape) + 2))
        return tf.reduce_sum(tf.maximum(self.free_bits, tf.reduce_mean(unit_kl, axis=batch_axes)))

    def get_config(self):
        own = {"analytic_kl": self.analytic_kl, "warmup_steps": self.warmup_steps, "free_bits": self.free_bits}
        return {**super().get_config(), **own}


def _sample_mean(values):
    """The mean over K of `[K, B]`; a closed form `[B]` is its own mean."""
    return tf.reduce_mean(values, axis=0) if len(values.shape) == 2 else values
