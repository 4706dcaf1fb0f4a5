"""`train`: a recipe on a data set, recorded in a folder, resumable to the bit."""

import contextlib
import datetime
import math
import os
import sys
import tempfile
import time
from pathlib import Path

import keras
import tensorflow as tf

import training.data
from export.versions import versions
from keras_gen.callbacks import FlightRecorder
from training import builders, labels, placed, recipes, strategies
from training.callbacks import RunRecorder, StopAtNaN, remembered_interrupts
from training.evaluate_samples import FrechetCurve, shipped_features
from training.folder import RunFolder
from training.models import load_model
from training.report import write_report
from training.settings import digest, parse_overrides, resolve

_PACKAGES = ("tensorflow", "keras", "tensorflow-probability", "numpy")


class Interrupted(KeyboardInterrupt):
    """Ctrl-C while training; the message says how to go on."""


def train(
    recipe,
    out,
    data=None,
    epochs=None,
    seed=None,
    overrides=(),
    data_dir=None,
    image_size=None,
    download=False,
    resume=False,
    strategy=None,
    verbose=1,
):
    """Trains a recipe and records the run in a folder.

    A run that was killed at any moment and is resumed ends with the same weights, bit for bit, as one that was not: every epoch
    ends with a checkpoint of model, optimizer and noise, and an epoch is a function of that and of its number.

    Args:
        recipe: name of a recipe.
        out: the run's folder.
        data: see `training.data.load`; None for digits.
        epochs: int; None for the recipe's.
        seed: int from 0, of the initial weights, the order of the data and all noise; None for 0.
        overrides: texts "key=value".
        data_dir, image_size, download: see `training.data.load`.
        resume: continue the run in `out`, or begin it where there is none. What is not given is taken from the run; what is
            given must agree with it, except that there may be more epochs. A learning rate that falls to the end of
            training is then spread anew over all epochs, and the run is unfinished, without model.keras, until they are done.
        strategy: see `training.strategies.make_strategy`; None for auto, or for that of the run to be resumed.
        verbose: Keras's: 0 silent, 1 progress bar, 2 a line an epoch.

    Returns:
        dict: `run`, `epochs`, `resumed_from` (epochs done before), `metrics` (last row), `seconds`.

    Raises:
        ValueError: anything wrong with the arguments, the data or the run to resume, or another process is training into
            the folder. A new run leaves no folder behind then.
        Interrupted: Ctrl-C; the run can be resumed.
    """
    started = time.monotonic()
    recipe = recipes.get_recipe(recipe)
    overrides = parse_overrides(recipe, overrides, epochs)
    given = {"data": data and training.data.absolute(data), "image_size": image_size, "seed": seed, "strategy": strategy}
    given = {name: value for name, value in given.items() if value is not None}
    folder = RunFolder(out)
    if strategy is None and resume and folder.is_run:
        strategy = folder.read_config().get("strategy", {}).get("name")
    strategy_name, strategy = strategies.make_strategy(strategy or "auto")
    try:
        done, epochs = _train(folder, recipe, given, overrides, data_dir, download, resume, strategy_name, strategy, verbose)
    finally:
        folder.unlock()
    rows = folder.rows()
    return {
        "run": str(folder.path),
        "epochs": epochs,
        "resumed_from": done,
        "metrics": rows[-1] if rows else {},
        "seconds": round(time.monotonic() - started, 1),
    }


def _train(folder, recipe, given, overrides, data_dir, download, resume, strategy_name, strategy, verbose):
    """`train` in a folder that stays locked; returns (epochs done before, epochs)."""
    chief = strategies.is_chief(strategy)
    resuming = resume and folder.is_run
    if chief and resuming:
        folder.lock()
    elif chief:
        folder.check_free()
    config = folder.read_config() if resuming else None
    if config:
        _check_same(config, recipe, given, overrides)
        given = {**given, "data": config["data"]["spec"], "image_size": config["data"]["image_size"]}
        data_dir = data_dir or config["data"]["data_dir"]
    images = training.data.load(given.get("data", "digits"), data_dir, given.get("image_size"), download)
    if config:
        _check_same_world(config, images, strategy)
        config["settings"]["epochs"] = overrides.get("epochs", config["settings"]["epochs"])
    else:
        settings = resolve(recipe, images.name, images.kind, overrides)
        config = _config(recipe, settings, images, given, data_dir, strategy_name, strategy)
    settings, seed = _from_json(config["settings"]), config["seed"]

    keras.utils.set_random_seed(seed)
    if tf.config.list_physical_devices("GPU"):
        # On CPUs the operations used here are deterministic as they are, and this would turn XLA off.
        tf.config.experimental.enable_op_determinism()
    # Of placed images those that are placed: where, is drawn anew at each epoch.
    arrays = labels.training_arrays(images.placing.base if images.placing else images, settings, seed)
    steps = math.ceil(len(arrays[0]) / settings["batch_size"])
    model, done = None, 0
    with strategy.scope():
        if resuming:
            model, done = _newest_checkpoint(folder)
            if model is None and chief and folder.rows():
                print(f"no checkpoint of {folder.path} can be read: its training begins anew", file=sys.stderr)
        if model is None:
            model = builders.BUILDERS[recipe.family](settings, images.shape, seed, steps * settings["epochs"])
        else:
            # Where there are more epochs than when the checkpoint was written, the schedule is another.
            builders.set_learning_rates(model, settings, steps * settings["epochs"])
    if chief:
        if resuming:
            config["recipe_sha256"] = digest(recipe, settings)
            folder.go_back(done, config)
        else:
            folder.create(config)

    watches = _watches(model, images, settings, folder, done, chief)
    recorder = StopAtNaN()
    if chief:
        pictured = training.data.to_float(images.validation[:64])
        recorder = RunRecorder(folder, settings["epochs"], settings["picture_every"], pictured, game=next(iter(watches), None))
    with _left_whole(folder, recipe.name, begun_here=chief and not resuming), remembered_interrupts() as interrupt:
        validation = labels.validation_arrays(images, settings)
        feed = {"x": arrays[0], "y": arrays[1] if len(arrays) > 1 else None, "batch_size": settings["batch_size"]}
        if images.placing:
            stream = placed.stream(arrays, images.placing, settings["batch_size"], seed, done)
            feed = {"x": stream, "steps_per_epoch": steps}
        _fit(model, feed, validation, settings, done, [*watches, recorder, interrupt], verbose)
    if chief and settings["epochs"] > 0:
        if done < settings["epochs"] or not _can_be_read(folder.model):  # else an average, saved anew, would be another file
            _publish(folder, model)
        write_report(folder)
    return done, settings["epochs"]


def _watches(model, images, settings, folder, done, chief):
    """Callbacks that watch models of its kind train, and add to each epoch's figures; of a game first the flight recorder."""
    if not hasattr(model, "judged_sets"):
        return []
    held_out = labels.validation_arrays(images, settings)
    before = [row for row in folder.rows() if row["epoch"] <= done]
    log_dir = folder.tensorboard / "game" if chief else None
    watches = [FlightRecorder(*(array[:256] for array in held_out), log_dir=log_dir, before=before)]
    features = shipped_features(images)
    if features and len(held_out[0]) > 256:
        watches.append(FrechetCurve(features, held_out[0], settings["picture_every"]))
    return watches


def _fit(model, feed, validation, settings, done, callbacks, verbose):
    if done >= settings["epochs"]:
        return
    model.fit(
        **feed,
        epochs=settings["epochs"],
        initial_epoch=done,
        validation_data=validation if len(validation) > 1 else validation[0],
        callbacks=callbacks,
        verbose=verbose,
    )


def _publish(folder, model):
    """Makes the last checkpoint the run's model; where an average of a generator's weights is kept, the model by that."""
    if not getattr(model.objective, "average", 0.0):
        folder.publish_model(folder.list_checkpoints()[0][1])
        return
    with model.averaged(), tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / "model.keras"
        model.save(file)
        folder.publish_model(file)


@contextlib.contextmanager
def _left_whole(folder, recipe, begun_here):
    """After Ctrl-C says how to go on; after an error before the first checkpoint of a run that began here removes it."""
    try:
        yield
    except KeyboardInterrupt:
        done = max((epochs for epochs, _ in folder.list_checkpoints()), default=0)
        raise Interrupted(
            f"interrupted after {done} whole epochs; continue with keras-gen train {recipe} --out {folder.path} --resume"
        ) from None
    except Exception:
        if begun_here and not folder.list_checkpoints():
            folder.remove()
        raise


def _can_be_read(file):
    with contextlib.suppress(ValueError):
        return bool(load_model(file))
    return False


def _newest_checkpoint(folder):
    """(model, epochs done) of the newest checkpoint that can be read, or (None, 0)."""
    for epochs, file in folder.list_checkpoints():
        try:
            return load_model(file), epochs
        except ValueError as error:
            print(f"checkpoint: {error}; trying the one before", file=sys.stderr)
    return None, 0


def _config(recipe, settings, images, given, data_dir, strategy_name, strategy):
    return {
        "recipe": recipe.name,
        "family": recipe.family,
        "settings": settings,
        "recipe_sha256": digest(recipe, settings),
        "published": recipe.published,
        "reference": recipe.reference,
        "data": {
            "spec": images.name,
            "image_size": given.get("image_size"),
            "data_dir": data_dir and str(Path(data_dir).expanduser().resolve()),
            "sha256": images.digest,
            "labels_sha256": images.labels_digest,
            "description": images.description,
            "kind": images.kind,
            "shape": list(images.shape),
        },
        "seed": given.get("seed", 0),
        "strategy": {"name": strategy_name, "replicas": strategy.num_replicas_in_sync},
        "versions": versions(_PACKAGES),
        "machine": {"cores": os.cpu_count(), "gpus": len(tf.config.list_physical_devices("GPU"))},
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _from_json(settings):
    return {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}


def _check_same(config, recipe, given, overrides):
    """Raises ValueError if what is given for a resumed run is not what the run was begun with."""
    settings = _from_json(config["settings"])
    was = {
        "recipe": config["recipe"],
        "data": training.data.absolute(config["data"]["spec"]),
        "image_size": config["data"]["image_size"] and tuple(config["data"]["image_size"]),
        "seed": config["seed"],
        "strategy": config["strategy"]["name"],
        **settings,
    }
    now = {"recipe": recipe.name, **given, **overrides}
    differences = [
        f"{name} is {was.get(name)!r} in the run and {value!r} now"
        for name, value in now.items()
        if value != was.get(name) and name != "epochs" and not (name == "strategy" and value == "auto")
    ]
    if overrides.get("epochs", settings["epochs"]) < settings["epochs"]:
        differences.append(f"epochs is {settings['epochs']} in the run and {overrides['epochs']} now (more is allowed)")
    if differences:
        raise ValueError(
            f"cannot resume with other settings: {'; '.join(differences)}. Leave the option out, or begin another run"
        )


def _check_same_world(config, images, strategy):
    """Raises ValueError if data or number of replicas have changed since the run began; warns of other versions."""
    if what := training.data.changed(images, config["data"]):
        raise ValueError(f"cannot resume: the contents of data {images.name!r} have changed since the run began: {what}")
    replicas = config["strategy"]["replicas"]
    if strategy.num_replicas_in_sync != replicas:
        raise ValueError(f"cannot resume: the run has {replicas} replicas, this machine gives {strategy.num_replicas_in_sync}")
    changed = [f"{name} {config['versions'].get(name)} -> {now}" for name, now in versions(_PACKAGES).items()
               if config["versions"].get(name) != now]  # fmt: skip
    if changed:
        print(f"warning: resumed with other versions ({', '.join(changed)}); the last bits may differ", file=sys.stderr)
