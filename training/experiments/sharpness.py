"""Why likelihoods of pixels blur: a shift and a blur of the same image, scored by a Gaussian likelihood and by a critic.

Digits lie at any place of a larger frame, so that a digit moved by one pixel is as good a datum as before, though far off in
pixels; a digit slightly blurred is none, though near in pixels. A Gaussian around an image knows distances alone and prefers
the blur. A critic, which has learned what data look like, must prefer the shift. So a VAE hedges by blurring and a GAN does
not: the mean gradient magnitude of what each draws is held against that of the data.

A critic forgets what the generator no longer does, and has another opinion of the same image an epoch later. What is asked here
is therefore the mean logit of the critics that there were after each epoch.
"""

import keras
import numpy as np
from scipy.ndimage import gaussian_filter

import keras_gen as kg
import training.data
from keras_gen import evaluation
from training import pictures
from training.experiments import SEEDS, over_seeds, shown

FRAME = 12  # pixels; the digits have 8
BLUR = 0.5  # pixels, standard deviation
LATENT_DIM = 16
FILTERS = (16, 32)
EPOCHS = 8
PICTURE_COLUMNS = 12
SCORES = (
    "log N(x; the image, scale of the VAE)",
    "log p(x given the image's z), VAE",
    "log p(x), VAE",
    "mean logit of the GAN's critics after each epoch",
)
DRAWN = ("VAE, means", "GAN")


def run(say=print, seeds=SEEDS, epochs=EPOCHS):
    """(JSON values, {"sharpness.png": picture of the first seed})."""
    data = training.data.load("digits")
    train = everywhere(training.data.to_float(data.train))
    random = np.random.default_rng(0)
    test, shifted = shifted_pairs(training.data.to_float(data.test), random)
    blurred = blur(test)
    found, picture = [], None
    for seed in seeds:
        keras.utils.set_random_seed(seed)
        vae = kg.VAE(
            test.shape[1:], LATENT_DIM, FILTERS, "gaussian", encoder="convolutional", decoder="convolutional", seed=seed
        )
        gan = kg.DCGAN(test.shape[1:], LATENT_DIM, FILTERS, seed=seed)
        steps = epochs * (len(train) // 100)
        vae.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-3, steps)))
        gan.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(5e-4, steps), beta_1=0.5))
        critics = Critics()
        for model, watches in ((vae, []), (gan, [critics])):
            model.fit(train, batch_size=100, epochs=epochs, callbacks=watches, verbose=0)
        drawn = dict(zip(DRAWN, (vae.generate(_rows(1000))["mean"].numpy(), gan.sample(1000).numpy()), strict=True))
        noisy = vae.sample(PICTURE_COLUMNS).numpy()
        figures = compared(vae, critics, test, shifted, blurred)
        figures |= {f"sharpness, {name}": evaluation.sharpness(images).value for name, images in drawn.items()}
        say(f"seed {seed}: " + ", ".join(f"{name} {value:.4g}" for name, value in figures.items()))
        found.append(figures)
        if picture is None:
            rows = [test, shifted, blurred, drawn[DRAWN[0]], noisy, drawn[DRAWN[1]]]
            picture = pictures.png(np.concatenate([images[:PICTURE_COLUMNS] for images in rows]), columns=PICTURE_COLUMNS)
    protocol = (
        f"digits at every place of a {FRAME} x {FRAME} frame, {len(train):,} images, {epochs} epochs of batches of 100; shift "
        f"by 1 pixel, Gaussian blur of {BLUR:g} pixels, {len(test)} test images; convolutional VAE with Gaussian likelihood "
        f"and DCGAN, filters {FILTERS}, latent {LATENT_DIM}"
    )
    fixed = {
        "distance of the shift": distance(test, shifted),
        "distance of the blur": distance(test, blurred),
        "sharpness, data": evaluation.sharpness(test).value,
        "sharpness, data blurred": evaluation.sharpness(blurred).value,
    }
    results = {name: over_seeds([figures[name] for figures in found]) for name in found[0]}
    return {"protocol": protocol, "seeds": list(seeds), "fixed": fixed, "results": results}, {"sharpness.png": picture}


class Critics(keras.callbacks.Callback):
    """The critics that there were after each epoch; called with images `[N, H, W, C]`, their mean logit `[N]`."""

    def __init__(self):
        super().__init__()
        self._weights = []

    def on_epoch_end(self, epoch, logs=None):
        self._weights.append(self.model.critic.get_weights())

    def __call__(self, images):
        critic, logits = self.model.critic, []
        last = critic.get_weights()
        for weights in self._weights:
            critic.set_weights(weights)
            logits.append(self.model.judge(images))
        critic.set_weights(last)
        return np.mean(logits, axis=0)


def everywhere(images):
    """Each image `[N, H, W, C]` at every place of the frame."""
    height, width = images.shape[1:3]
    places = [(top, left) for top in range(FRAME - height + 1) for left in range(FRAME - width + 1)]
    return np.concatenate([_placed(images, top, left) for top, left in places])


def shifted_pairs(images, random):
    """(each image somewhere in the frame, the same moved by one pixel up, down, left or right)."""
    room = FRAME - images.shape[1] + 1, FRAME - images.shape[2] + 1
    pairs = []
    for image in images:
        axis, step = random.integers(2), random.choice((-1, 1))
        place = [random.integers(1, size - 1) for size in room]  # one pixel off the edge
        moved = [at + step * (axis == index) for index, at in enumerate(place)]
        pairs.append([_placed(image[None], *at)[0] for at in (place, moved)])
    return tuple(np.stack(each) for each in zip(*pairs, strict=True))


def _placed(images, top, left):
    count, height, width, channels = images.shape
    frame = np.zeros((count, FRAME, FRAME, channels), np.float32)
    frame[:, top : top + height, left : left + width] = images
    return frame


def blur(images):
    """Gaussian blur along height and width, `[N, H, W, C]`."""
    return gaussian_filter(images, (0, BLUR, BLUR, 0), mode="constant")


def distance(images, others):
    """Mean Euclidean distance of an image from its other."""
    return float(np.mean(np.linalg.norm((images - others).reshape(len(images), -1), axis=1)))


def compared(vae, critics, test, shifted, blurred):
    """Shares of the images of which the shift is preferred to the blur, and the mean scores that this comes from."""
    latent = vae.recognition[0](test).mean()
    given = vae.data_conditional(latent)
    scores = (
        lambda x: given.log_prob(x - test + given.mean()),
        given.log_prob,
        lambda x: evaluation.log_likelihood(vae, x, num_samples=500, progress=False).per_image,
        critics,
    )
    figures = {}
    for name, score in zip(SCORES, scores, strict=True):
        own, shift, blurry = (np.asarray(score(images)) for images in (test, shifted, blurred))
        figures[f"{name}: shift preferred"] = float(np.mean(shift > blurry))
        figures[f"{name}: shift"] = float(np.mean(shift - own))
        figures[f"{name}: blur"] = float(np.mean(blurry - own))
    return figures


def _rows(count):
    return np.stack([np.zeros(count), np.arange(count)], axis=1).astype(np.int32)


def markdown(results):
    """Two tables: who prefers the shift, and how sharp what is drawn is."""
    found, fixed = results["results"], results["fixed"]
    lines = ["| score | shift, against the image | blur, against the image | images whose shift is preferred to the blur |"]
    lines.append("| --- | --- | --- | --- |")
    lines.append(f"| Euclidean distance | {fixed['distance of the shift']:.2f} | {fixed['distance of the blur']:.2f} | |")
    for name in SCORES:
        shift, blurred, preferred = (found[f"{name}: {what}"] for what in ("shift", "blur", "shift preferred"))
        percent = over_seeds([100.0 * value for value in preferred["values"]])
        lines.append(f"| {name} | {shown(shift, '.2f')} | {shown(blurred, '.2f')} | **{shown(percent, '.1f')} %** |")
    lines += ["", "| images | mean gradient magnitude |", "| --- | --- |"]
    lines.append(f"| data | {fixed['sharpness, data']:.3f} |")
    lines.append(f"| data, blurred | {fixed['sharpness, data blurred']:.3f} |")
    lines += [f"| {name} | **{shown(found[f'sharpness, {name}'])}** |" for name in DRAWN]
    return "\n".join([*lines, "", f"{results['protocol']}; {len(results['seeds'])} seeds.", ""])
