"""Eight narrow Gaussians on a ring: the smallest data on which a generator collapses, or draws what lies between its modes.

Metz, Poole, Pfau, Sohl-Dickstein: Unrolled generative adversarial networks. ICLR 2017, section 3.1.
"""

import keras
import numpy as np

import keras_gen as kg
from training.experiments import SEEDS, over_seeds, shown

MODES, RADIUS, SCALE = 8, 0.4, 0.004  # the ring lies within [0, 1]^2; radius and scale as published but for that factor
SAMPLES = 10_000
LEAST_SHARE = 0.01  # of the samples, near a mode that counts as found
UNITS = (128, 128)
LATENT_DIM = 2
BATCH_SIZE = 256
STEPS = 10_000
GAME = {"loss": "wasserstein", "gradient_penalty": 0.1}


def run(say=print, seeds=SEEDS, steps=STEPS):
    """(JSON values, {})."""
    found = []
    for seed in seeds:
        keras.utils.set_random_seed(seed)
        model = made(seed)
        train(model, seed, steps)
        found.append(figures(model.sample(SAMPLES, seed=1).numpy()))
        say(f"seed {seed}: " + ", ".join(f"{name} {value:.4g}" for name, value in found[-1].items()))
    protocol = (
        f"{MODES} Gaussians of scale {SCALE:g} on a ring of radius {RADIUS:g}; {steps:,} batches of {BATCH_SIZE}, dense "
        f"networks {'-'.join(map(str, UNITS))}, latent {LATENT_DIM}, {GAME['loss']}, gradient penalty "
        f"{GAME['gradient_penalty']:g}; {SAMPLES:,} samples; a mode is found where {LEAST_SHARE:.0%} of them lie within 3 sigma"
    )
    results = {name: over_seeds([each[name] for each in found]) for name in found[0]}
    return {"protocol": protocol, "seeds": list(seeds), "results": results}, {}


def centres():
    """The modes, `[8, 2]`."""
    angles = 2.0 * np.pi * np.arange(MODES) / MODES
    return 0.5 + RADIUS * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def data(count, seed):
    """Draws from the mixture as images of two pixels, float32 `[count, 1, 2, 1]`."""
    random = np.random.default_rng(seed)
    points = centres()[random.integers(MODES, size=count)] + SCALE * random.standard_normal((count, 2))
    return points.reshape(count, 1, 2, 1).astype(np.float32)


def figures(samples):
    """How many modes samples `[N, 1, 2, 1]` find, and the share of them within 3 sigma of one."""
    distances = np.linalg.norm(samples.reshape(-1, 1, 2) - centres(), axis=2)
    near = distances.min(axis=1) < 3.0 * SCALE
    counts = np.bincount(distances.argmin(axis=1)[near], minlength=MODES)
    return {"modes": int(np.sum(counts >= LEAST_SHARE * len(samples))), "within 3 sigma": float(np.mean(near))}


def made(seed):
    """A GAN of dense networks for points of the plane."""
    dense = keras.layers.Dense
    generator = keras.Sequential([
        keras.Input((LATENT_DIM,)),
        *[dense(units, "relu") for units in UNITS],
        dense(2, "sigmoid"),
        keras.layers.Reshape((1, 2, 1)),
    ])
    critic = keras.Sequential([
        keras.Input((1, 2, 1)),
        keras.layers.Flatten(),
        keras.layers.Rescaling(4.0, -2.0),
        *[dense(units, "relu") for units in UNITS],
        dense(1),
    ])
    return kg.GAN((1, 2, 1), LATENT_DIM, generator_network=generator, critic_network=critic, seed=seed)


def train(model, seed, steps):
    """Both sides by Adam, its rate falling to 0."""

    def adam():
        return keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(2e-3, steps), beta_1=0.5, beta_2=0.9)

    model.compile(adam(), kg.Game(**GAME), critic_optimizer=adam())
    epochs = -(-steps // 500)
    model.fit(data(BATCH_SIZE * (steps // epochs), seed), batch_size=BATCH_SIZE, epochs=epochs, verbose=0)


def markdown(results):
    """A line."""
    found = results["results"]
    modes = ", ".join(f"{value:g}" for value in found["modes"]["values"])
    return (
        f"GAN on a ring: modes found {modes} of {MODES}; **{shown(found['within 3 sigma'])}** of the samples within 3 sigma, "
        f"of the data {1.0 - np.exp(-4.5):.3f}.\n\n{results['protocol']}; {len(results['seeds'])} seeds.\n"
    )
