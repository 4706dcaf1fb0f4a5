"""`evaluate`: the figures of a trained run, with the protocol that they depend on."""

import numpy as np
import tensorflow as tf

import keras_gen as kg
import training.data
from keras_gen.checks import check_key
from keras_gen.evaluation.programs import compiled
from keras_gen.evaluation.score import standard_error
from keras_gen.helmholtz.likelihood import LikelihoodModel
from keras_gen.noise import fold_in
from training import baselines
from training.evaluate_classifier import evaluate_classifier
from training.evaluate_samples import evaluate_look, evaluate_samples, known
from training.folder import RunFolder, write_json
from training.models import load_model
from training.report import write_report

_ELBO_SAMPLES = 10


def evaluate(run, split="test", num_samples=1000, num_images=None, batch_size=100, seed=0, data_dir=None, progress=True):
    """Estimates the log-likelihood of a run's model by importance sampling and writes the run's evaluation.json.

    Models without a likelihood are scored by their samples, imputers by the bound over the pixels that they are not shown,
    classifiers by their errors.

    Args:
        run: the run's folder.
        split: "train", "validation" or "test".
        num_samples: K, importance samples an image.
        num_images: only the first so many images; None for all.
        batch_size: images at a time.
        seed: int, of the importance samples. A dynamic binarisation of the images is drawn once, by seed 0 always, so that
            figures of different runs are of the same images.
        data_dir: where TensorFlow Datasets finds prepared data; None for where the run found them.
        progress: whether to show a progress bar.

    Returns:
        dict with `protocol`, `figures` and `baselines`, as written; nats an image throughout.

    Raises:
        ValueError: not a finished run, another data set than the run's, a split or number that does not exist.
    """
    folder = RunFolder(run)
    config = folder.read_config()
    settings = config["settings"]
    check_key(seed)
    if num_samples < 1:
        raise ValueError(f"num_samples {num_samples}: at least one importance sample an image is needed")
    if num_images is not None and num_images < 1:
        raise ValueError(f"num_images {num_images}: at least one image is needed")
    file = folder.finished_model()
    data = training.data.of_run(config, data_dir)
    raw = data.split(split)[:num_images]
    images = training.data.fixed_images(raw, settings.get("binarization", "none"))
    model_digest = folder.model_digest()
    model = load_model(file)
    if isinstance(model, kg.SequentialImputer):
        result = _evaluate_imputer(model, data, images, settings, min(num_samples, _ELBO_SAMPLES), batch_size, seed)
    elif isinstance(model, LikelihoodModel):
        result = _evaluate_likelihood(model, data, images, settings, num_samples, batch_size, seed, progress)
        if settings.get("likelihood") in ("gaussian", "discretized_logistic"):
            for part, more in evaluate_look(model, data, raw, seed).items():
                result[part] |= more
    elif isinstance(model, kg.RecurrentAttentionClassifier):
        result = evaluate_classifier(model, data, raw, split, settings, seed)
    else:
        result = evaluate_samples(model, data, raw, split, settings, seed)
    result["model_sha256"] = model_digest  # whose figures these are: training may go on
    result["training"] = folder.time()
    curve = [row for row in folder.rows() if "frechet_distance" in row]
    if curve:
        result["training"]["frechet_distance"] = {
            name: [row.get(key) for row in curve]
            for name, key in (("epochs", "epoch"), ("values", "frechet_distance"), ("errors", "frechet_distance_error"))
        }
    result["protocol"] = {
        **result["protocol"],
        "data": training.data.shown(data.name),
        "data_sha256": data.digest,
        "split": split,
        "images": len(images),
        "seed": seed,
        "recipe": config["recipe"],
        "recipe_sha256": config["recipe_sha256"],
    }
    write_json(folder.evaluation, result)
    write_report(folder)
    return result


def _evaluate_likelihood(model, data, images, settings, num_samples, batch_size, seed, progress):
    """The log-likelihood by importance sampling and the ELBO, beside independent pixels."""
    estimate = kg.evaluation.log_likelihood(
        model, images, num_samples=num_samples, batch_size=batch_size, seed=seed, progress=progress
    )
    result = {
        "model": _describe(model, settings),
        "protocol": {
            "estimator": "log mean of K importance weights p(x, z) / q(z given x), z from q(z given x); nats an image",
            "num_samples": num_samples,
            **_binarization(settings),
        },
        "figures": {
            "log_likelihood": _figure(estimate.per_image),
            "negative_log_likelihood": _figure(-estimate.per_image),
            "elbo": {**_figure(elbo(model, images, batch_size, seed)), "num_samples": _ELBO_SAMPLES},
            "effective_sample_size": {
                "mean": float(np.mean(estimate.effective_sample_size)),
                "median": float(np.median(estimate.effective_sample_size)),
                "min": float(np.min(estimate.effective_sample_size)),
            },
        },
        "baselines": {},
    }
    levels = {"bernoulli": 2, "discretized_logistic": settings.get("levels")}.get(settings.get("likelihood", "bernoulli"))
    if levels:
        scored = getattr(model, "target_rows", slice(None))  # a predictor scores a part of the image
        pixels = baselines.independent_pixels(data.train[:, scored], images[:, scored], settings["binarization"], levels)
        result["baselines"]["independent_pixels"] = {"negative_log_likelihood": _figure(-pixels)}
        gain = estimate.per_image - pixels
        result["baselines"]["independent_pixels"]["gain"] = _figure(gain)
    if levels and levels > 2:
        dimensions = np.log(2) * np.prod(data.shape)
        result["figures"]["bits_per_dimension"] = _figure(-estimate.per_image / dimensions)
    return result


def _evaluate_imputer(model, data, images, settings, num_samples, batch_size, seed):
    """The bound over missing pixels, divided by their share, beside the same of the training images' mean."""
    masks = model.draw_masks(len(images), fold_in([seed, 0], 1)).numpy()
    score = kg.evaluation.imputation_score(model, images, masks, num_samples, batch_size, seed)
    fraction = score.masked_fraction
    train = training.data.fixed_images(data.train, settings["binarization"])
    result = {
        "model": _describe(model, settings),
        "protocol": {
            "estimator": "-log p(missing pixels given the canvas) + KL(guide, policy) of all steps, a mean over K draws; "
            "normalized: divided by the share of missing pixels; nats an image",
            "likelihood": settings["likelihood"]
            + (" of grey values: no likelihood" if settings["likelihood"] == "cross_entropy" else ""),
            "masks": f"{model.masks_drawn}; one for each image, by seed",
            "masked_fraction": fraction,
            "num_samples": num_samples,
            **_binarization(settings),
        },
        "figures": {
            "normalized_bound": _figure(score.per_image / fraction),
            "bound": _figure(score.per_image),
            "reconstruction": {"mean": score.reconstruction, "standard_error": None},
            "kl": {"mean": score.kl, "standard_error": None},
        },
        "baselines": {},
    }
    if settings["likelihood"] in ("bernoulli", "cross_entropy"):
        mean = (train.sum(axis=0, dtype=np.float64) + 1) / (len(train) + 2)
        pixels = -(images * np.log(mean) + (1 - images) * np.log1p(-mean)) * (1 - masks)
        result["baselines"]["mean image"] = {"normalized_bound": _figure(pixels.sum(axis=(1, 2, 3)) / fraction)}
    return result


def _binarization(settings):
    """How the images were binarised, for protocols."""
    kind = settings["binarization"]
    return {"binarization": kind, "binarization_seed": 0 if kind == "dynamic" else None}


def _describe(model, settings):
    """One line: the family, the units from the data to the latents, the objective."""
    hidden = settings.get("units", ())
    sizes = [np.prod(model.data_shape), *settings.get("hidden_units", ()), *((hidden,) if isinstance(hidden, int) else hidden)]
    units = "-".join(map(str, [*sizes, *([settings["latent_dim"]] if "latent_dim" in settings else [])]))
    kinds = [settings[name] for name in ("encoder", "activation") if settings.get(name, "mlp") != "mlp"]
    kinds += [f"autoregressive {name[0]}" for name in ("generative", "recognition") if settings.get(name) == "autoregressive"]
    if "steps" in settings:
        kinds += [settings[name] for name in ("attention", "network", "canvas") if settings.get(name, "none") != "none"]
        kinds += ["random places"] if settings.get("places") == "random" else []
        kinds.append(f"T = {settings['steps']}")
    samples = settings.get("num_samples", 1)
    objective = type(model.objective).__name__ + (f"({samples})" if samples > 1 else "")
    return ", ".join([f"{type(model).__name__} {units}", *kinds, objective])


def elbo(model, images, batch_size, seed):
    """The ELBO of each image, float64 `[N]`, nats, averaged over a few draws."""
    bound = compiled(model, _bound)
    key = tf.constant([seed, 1])
    starts = range(0, len(images), batch_size)
    return np.concatenate([bound(tf.constant(images[i : i + batch_size]), fold_in(key, i)) for i in starts]).astype(np.float64)


def _bound(alive):
    objective = kg.objectives.ELBO(num_samples=_ELBO_SAMPLES)
    return lambda x, key: objective(alive(), x, key).figures["bound"]


def _figure(per_image):
    """Mean over images and its standard error."""
    return {"mean": float(np.mean(per_image)), "standard_error": known(standard_error(per_image))}
