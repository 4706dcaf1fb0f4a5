"""Log-likelihood by annealed importance sampling, and both sides of it on the model's own images."""

import dataclasses
import math

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from keras_gen import conditionals
from keras_gen.checks import check_integers, check_key, check_kind
from keras_gen.evaluation.likelihood import LogLikelihood, admitted, binarization_of, binarized_batches
from keras_gen.evaluation.programs import compiled
from keras_gen.evaluation.score import standard_error
from keras_gen.helmholtz.machine import HelmholtzMachine
from keras_gen.noise import BatchNoise, fold_in

# Streams of a batch's key.
_SIMULATE, _PILOT, _FORWARD, _REVERSE = 0, 1, 2, 3
_PILOT_STEPS = 100
_TARGET_ACCEPTANCE = 0.75
_GAUSSIAN = (conditionals.Normal, conditionals.StandardNormal)


@dataclasses.dataclass(frozen=True)
class AnnealedLogLikelihood(LogLikelihood):
    """An estimate of log p(x) by annealed importance sampling: as `LogLikelihood`, with K the number of chains.

    Attributes:
        num_steps: intermediate distributions of a chain.
        leapfrog_steps: of each Hamiltonian transition.
        acceptance_rate: mean over transitions, chains and images; far from 0.75, the chains move badly.
    """

    num_steps: int
    leapfrog_steps: int
    acceptance_rate: float


@dataclasses.dataclass(frozen=True)
class Sandwich:
    """Bounds of log p(x) from below and from above for images that the model itself has drawn.

    Attributes:
        images: the images, float32 `[N, H, W, C]`.
        lower, upper: float64 `[N]`, nats. In expectation lower <= log p(x) <= upper; both go to it with more steps.
        num_chains, num_steps, leapfrog_steps, seed: how they were made.
    """

    images: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    num_chains: int
    num_steps: int
    leapfrog_steps: int
    seed: int

    @property
    def gap(self):
        """Mean of upper - lower over images, nats: the most by which either is off, in expectation."""
        return float(np.mean(self.upper - self.lower))

    @property
    def gap_standard_error(self):
        """Standard error of `gap` over images, nats."""
        return standard_error(self.upper - self.lower)


def annealed_importance_sampling(
    model, images, num_chains=16, num_steps=500, leapfrog_steps=10, batch_size=100, seed=0, progress=True
):
    """Estimates log p(x) of each image from chains that are led from the prior to the posterior by Hamiltonian Monte Carlo.

    It does not use the recognition network, so that it holds where importance sampling from that fails. A chain passes through
    the distributions p(z) p(x given z)^beta, beta from 0 to 1 evenly spaced in its logit; the log mean of the chains' weights
    is at most log p(x) in expectation. Chains run in the standard normal noise of which the latents are made, a change of
    variables that leaves p(x) as it is. The step size of each temperature and image comes from a pilot run of 100
    temperatures that aims at an acceptance rate of 0.75; it is kept fixed in the chains that are counted.

    Cost: num_steps * (leapfrog_steps + 2) evaluations of the decoder an image and chain, most of them with gradients.

    Args:
        model: `HelmholtzMachine` with Gaussian latents, in one or several layers.
        images: float `[N, H, W, C]` in [0, 1]. Grey ones under a Bernoulli likelihood are binarised as the model says; for
            equal `seed` and `batch_size` to the same images as in `log_likelihood`.
        num_chains: K, chains an image.
        num_steps: steps from the prior to the posterior.
        leapfrog_steps: leapfrog steps of each Hamiltonian transition.
        batch_size: images at a time.
        seed: int32, keys all draws.
        progress: whether to warn of how images are binarised.

    Returns:
        `AnnealedLogLikelihood`.

    Raises:
        ValueError: latents that are not Gaussian; images that the model cannot score; numbers below 1.

    Neal: Annealed importance sampling. Statistics and Computing 11, 2001. Wu, Burda, Salakhutdinov, Grosse: On the
    quantitative analysis of decoder-based generative models. ICLR 2017, section 3.
    """
    num_chains, num_steps, leapfrog_steps, batch_size = check_integers(
        num_chains=num_chains, num_steps=num_steps, leapfrog_steps=leapfrog_steps, batch_size=batch_size
    )
    seed = check_key(seed)
    _check(model)
    images = admitted(model, images, progress)
    batch = min(batch_size, len(images))

    run = compiled(model, _forward, num_chains, batch, num_steps, leapfrog_steps, runs_long=True)
    per_image, effective, accepted = [], [], []
    for x, count, key in binarized_batches(model, images, batch, seed):
        log_weight, acceptance = run(x, key)
        log_weight = log_weight.numpy()[:, :count].astype(np.float64)
        log_sum = np.logaddexp.reduce(log_weight)
        per_image.append(log_sum - math.log(num_chains))
        effective.append(np.exp(2.0 * log_sum - np.logaddexp.reduce(2.0 * log_weight)))
        accepted.append(acceptance.numpy()[:count])
    return AnnealedLogLikelihood(
        np.concatenate(per_image),
        np.concatenate(effective),
        num_chains,
        seed,
        binarization_of(model, images),
        num_steps,
        leapfrog_steps,
        float(np.mean(np.concatenate(accepted))),
    )


def simulated_sandwich(model, num_images=100, num_chains=16, num_steps=500, leapfrog_steps=10, batch_size=100, seed=0):
    """Bounds log p(x) from below and above for images drawn by the model: how far `annealed_importance_sampling` may be off.

    With x the latents are drawn that it came from, an exact draw from the posterior. Chains from the prior to the posterior
    give a lower bound; chains from that draw back to the prior estimate 1/p(x), and minus the log mean of their weights is an
    upper bound. Both hold in expectation, and meet as the number of steps grows.

    Args:
        model, num_chains, num_steps, leapfrog_steps, batch_size, seed: as `annealed_importance_sampling`.
        num_images: N, images to draw.

    Returns:
        `Sandwich`.

    Raises:
        ValueError: latents that are not Gaussian; numbers below 1.

    Grosse, Ghahramani, Adams: Sandwiching the marginal likelihood using bidirectional Monte Carlo. arXiv 1511.02543, 2015.
    """
    num_images, num_chains, num_steps, leapfrog_steps, batch_size = check_integers(
        num_images=num_images, num_chains=num_chains, num_steps=num_steps, leapfrog_steps=leapfrog_steps, batch_size=batch_size
    )
    seed = check_key(seed)
    _check(model)
    batch = min(batch_size, num_images)

    run = compiled(model, _both_ways, num_chains, batch, num_steps, leapfrog_steps, runs_long=True)
    images, lower, upper = [], [], []
    for start in range(0, num_images, batch):
        x, up, down = (value.numpy() for value in run(fold_in([seed, 0], start)))
        count = min(batch, num_images - start)
        images.append(x[:count])
        lower.append(np.logaddexp.reduce(up.astype(np.float64))[:count] - math.log(num_chains))
        upper.append(math.log(num_chains) - np.logaddexp.reduce(down.astype(np.float64))[:count])
    bounds = (np.concatenate(each) for each in (images, lower, upper))
    return Sandwich(*bounds, num_chains, num_steps, leapfrog_steps, seed)


def _check(model):
    check_kind(model, HelmholtzMachine, "a chain of latents of which chains can be led from the prior to the posterior")
    for conditional in model.generator.conditionals[:-1]:
        if not isinstance(conditional, _GAUSSIAN):
            raise ValueError(
                f"the latents of {conditional.name!r} are {type(conditional).__name__}; annealed importance sampling moves "
                "them along gradients by Hamiltonian Monte Carlo, and is here for Gaussian latents (Normal, StandardNormal) "
                "alone. For others there is log_likelihood, importance sampling from the recognition network."
            )


def _forward(alive, num_chains, batch, num_steps, leapfrog_steps):
    """From images and a key to the log weights of chains from the prior to the posterior, and their acceptance rates."""

    def run(x, key):
        model = alive()
        log_likelihood, size = _log_likelihood_of_noise(model, x), _noise_size(model)
        steps = _pilot(log_likelihood, (num_chains, batch, size), leapfrog_steps, fold_in(key, _PILOT))
        key = fold_in(key, _FORWARD)
        start = BatchNoise(fold_in(key, 0), (num_chains, batch)).normal((size,))
        return _anneal(log_likelihood, start, _schedule(num_steps), steps, leapfrog_steps, fold_in(key, 1))[:2]

    return run


def _both_ways(alive, num_chains, batch, num_steps, leapfrog_steps):
    """From a key to images that the model draws, and the log weights of chains to and from the draws of their latents."""

    def run(key):
        model, noise = alive(), BatchNoise(fold_in(key, _SIMULATE), (batch,))
        size, data = _noise_size(model), model.data_conditional
        exact = noise.normal((size,))
        x = data.draw(data(_lowest_latent(model, exact)), noise)
        log_likelihood = _log_likelihood_of_noise(model, x)
        # From a start of its own: step sizes that depended on the exact draw would spoil the upper bound.
        steps = _pilot(log_likelihood, (num_chains, batch, size), leapfrog_steps, fold_in(key, _PILOT))
        betas, forward, reverse = _schedule(num_steps), fold_in(key, _FORWARD), fold_in(key, _REVERSE)
        start = BatchNoise(fold_in(forward, 0), (num_chains, batch)).normal((size,))
        up = _anneal(log_likelihood, start, betas, steps, leapfrog_steps, fold_in(forward, 1))[0]
        back = tf.tile(exact[None], (num_chains, 1, 1))
        down = _anneal(log_likelihood, back, betas[::-1], steps[::-1], leapfrog_steps, reverse)[0]
        return x, up, down

    return run


def _schedule(num_steps):
    """beta of each intermediate distribution, float32 `[num_steps + 1]` from 0 to 1: a sigmoid, as Wu et al. use."""
    logistic = 1.0 / (1.0 + np.exp(-np.linspace(-4.0, 4.0, num_steps + 1)))
    return ((logistic - logistic[0]) / (logistic[-1] - logistic[0])).astype(np.float32)


def _noise_size(model):
    return sum(math.prod(conditional.event_shape) for conditional in model.generator.conditionals[:-1])


def _lowest_latent(model, noise):
    """z_1 `[..., *event]` made of standard normal `noise` `[..., D]`, which holds that of all layers from the prior down."""
    factors = model.generator.conditionals[:-1]
    parts = tf.split(noise, [math.prod(factor.event_shape) for factor in factors], axis=-1)
    latent = None
    for factor, part in zip(factors, parts, strict=True):
        normal = (factor() if latent is None else factor(latent)).distribution
        latent = normal.loc + normal.scale * tf.reshape(part, (*part.shape[:-1], *factor.event_shape))
    return latent


def _log_likelihood_of_noise(model, x):
    """log p(x given the latents) as a function of their noise, `[K, B, D]` to `[K, B]`."""
    return lambda noise: model.data_conditional(_lowest_latent(model, noise)).log_prob(x)


def _transition(log_likelihood, beta, state, step_size, leapfrog_steps, key):
    """One Hamiltonian transition that leaves N(noise; 0, I) p(x given noise)^beta as it is: (state, acceptance `[K, B]`)."""
    kernel = tfp.mcmc.HamiltonianMonteCarlo(
        lambda noise: beta * log_likelihood(noise) - 0.5 * tf.reduce_sum(tf.square(noise), axis=-1),
        step_size=step_size[:, None],
        num_leapfrog_steps=leapfrog_steps,
    )
    # Results of the transition before belong to another temperature: densities are computed anew.
    state, results = kernel.one_step(state, kernel.bootstrap_results(state), seed=key)
    return state, tf.exp(tf.minimum(results.log_accept_ratio, 0.0))


def _pilot(log_likelihood, shape, leapfrog_steps, key):
    """Step sizes for each temperature and image, `[_PILOT_STEPS, B]`, adapted along a short chain from the prior."""
    betas = tf.constant(_schedule(_PILOT_STEPS))

    def body(index, state, log_step, steps):
        step_key = fold_in(key, index + 1)
        state, acceptance = _transition(log_likelihood, betas[index + 1], state, tf.exp(log_step), leapfrog_steps, step_key)
        log_step += 0.3 * (tf.reduce_mean(acceptance, axis=0) - _TARGET_ACCEPTANCE)
        return index + 1, state, log_step, steps.write(index, tf.exp(log_step))

    start = BatchNoise(fold_in(key, 0), shape[:2]).normal(shape[2:])
    log_step = tf.fill(shape[1:2], math.log(0.5 * shape[2] ** -0.25))
    steps = tf.TensorArray(tf.float32, _PILOT_STEPS, element_shape=shape[1:2])
    steps = tf.while_loop(lambda index, *_: index < _PILOT_STEPS, body, (0, start, log_step, steps))[-1]
    return steps.stack()


def _anneal(log_likelihood, state, betas, step_sizes, leapfrog_steps, key):
    """Annealed importance sampling along `betas` `[T + 1]` from `state` `[K, B, D]`, a draw at the first of them.

    `step_sizes` `[S, B]` are spread evenly over the T transitions.

    Returns:
        (log weights `[K, B]`, acceptance rate `[B]`, final state).
    """
    num_steps = len(betas) - 1
    betas = tf.constant(betas)

    def body(index, state, log_weight, accepted):
        log_weight += (betas[index + 1] - betas[index]) * log_likelihood(state)
        step_size = step_sizes[index * step_sizes.shape[0] // num_steps]
        state, acceptance = _transition(
            log_likelihood, betas[index + 1], state, step_size, leapfrog_steps, fold_in(key, index)
        )
        return index + 1, state, log_weight, accepted + tf.reduce_mean(acceptance, axis=0) / num_steps

    zeros = tf.zeros(state.shape[:2])
    loop = (0, state, zeros, zeros[0])
    _, state, log_weight, accepted = tf.while_loop(lambda index, *_: index < num_steps, body, loop)
    return log_weight, accepted, state
