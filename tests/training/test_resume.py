"""A run that was stopped at any moment and resumed ends as one that was not."""

import contextlib
import random
import shutil
import signal
import time

import keras
import pytest

import training.run
from tests.training.helpers import USUAL, Killed, assert_same_run, dies_at, options, rows, start
from training.folder import RunFolder
from training.models import load_model
from training.run import train

EPOCHS = 100


def arguments(out, *more):
    settings = [word for setting in USUAL for word in ("--set", setting)]
    return ["train", "vae", "--out", out, "--epochs", EPOCHS, "--seed", 5, *settings, *more]


def wait_until(condition, process):
    """Waits until `condition()` holds while the process runs."""
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "two minutes have passed"
        time.sleep(0.002)


def test_kill_at_random_moments(tmp_path):
    out, reference = tmp_path / "killed", tmp_path / "reference"
    uninterrupted = start(*arguments(reference))
    folder = RunFolder(out)
    # The first time before there is any checkpoint, then by Ctrl-C, then twice by SIGKILL at random moments.
    for number, kill in enumerate((signal.SIGKILL, signal.SIGINT, signal.SIGKILL, signal.SIGKILL)):
        process = start(*arguments(out, "--resume"))
        if number == 0:
            wait_until(lambda: folder.is_run, process)
            time.sleep(random.uniform(0, 0.5))
        else:
            done = max((epochs for epochs, _ in folder.list_checkpoints()), default=0)
            wait_until(lambda done=done: any(epochs > done for epochs, _ in folder.list_checkpoints()), process)
            time.sleep(random.uniform(0, 0.3))
        process.send_signal(kill)
        _, errors = process.communicate()
        assert process.returncode == (130 if kill == signal.SIGINT else -signal.SIGKILL), errors
        if kill == signal.SIGINT:
            (message,) = errors.splitlines()
            assert "whole epochs; continue with keras-gen train vae --out" in message
    last = start(*arguments(out, "--resume"))
    assert last.wait() == 0, last.stderr.read()
    assert uninterrupted.wait() == 0, uninterrupted.stderr.read()
    assert_same_run(out, reference)
    assert [row["epoch"] for row in rows(out)] == list(range(1, EPOCHS + 1))


@pytest.mark.parametrize("place", ["append_row", "save_checkpoint", "publish_model"])
def test_death_around_each_write(tmp_path, reference, monkeypatch, place):
    with monkeypatch.context() as patch:
        dies_at(patch, place, 1 if place == "publish_model" else 2)
        with pytest.raises(Killed):
            train("vae", tmp_path / "run", **options())
    train("vae", tmp_path / "run", **options(resume=True))
    assert_same_run(tmp_path / "run", reference)


def test_a_torn_row_and_a_torn_checkpoint(tmp_path, reference, monkeypatch, capsys):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "publish_model", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            train("vae", out, **options())
    with open(out / "metrics.jsonl", "a") as file:
        file.write('{"epoch": 5, "lo')
    newest = RunFolder(out).list_checkpoints()[0][1]
    newest.write_bytes(newest.read_bytes()[:1000])
    train("vae", out, **options(resume=True))
    assert "cannot be loaded as a model" in capsys.readouterr().err
    assert_same_run(out, reference)


def test_a_finished_run_has_nothing_to_do(reference, monkeypatch):
    # Its own strategy is taken, whatever the machine now calls for.
    monkeypatch.setattr(training.run.strategies, "_from_environment", lambda: "tpu")
    result = train("vae", reference, resume=True, verbose=0)
    assert result["resumed_from"] == result["epochs"] == 4


def test_a_finished_run_whose_model_is_cut_off_gets_it_back(tmp_path, reference):
    out = shutil.copytree(reference, tmp_path / "run")
    whole = (out / "model.keras").read_bytes()
    (out / "model.keras").write_bytes(whole[:1000])
    with pytest.raises(ValueError, match="missing, cut off, or no .keras file"):
        load_model(out / "model.keras")
    train("vae", out, resume=True, verbose=0)
    assert_same_run(out, reference)


def test_more_epochs(tmp_path):
    train("vae", tmp_path / "run", **options(epochs=2))
    result = train("vae", tmp_path / "run", **options(epochs=4, resume=True))
    assert result["resumed_from"] == 2 and result["metrics"]["epoch"] == 4
    assert RunFolder(tmp_path / "run").read_config()["settings"]["epochs"] == 4
    # The learning rate fell to 0 at the old end, and falls to 0 at the new one.
    _, old_end, between, new_end = [row["learning_rate"] for row in rows(tmp_path / "run")]
    assert old_end == new_end == 0.0 and between > 1e-4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"overrides": ["latent_dim=5"]}, "latent_dim is 4 in the run and 5 now"),
        ({"seed": 1}, "seed is 0 in the run and 1 now"),
        ({"data": "mnist"}, "data is 'digits' in the run and 'mnist' now"),
        ({"epochs": 3}, "epochs is 4 in the run and 3 now"),
        ({"strategy": "mirrored"}, "strategy is 'none' in the run and 'mirrored' now"),
    ],
)
def test_other_settings_are_refused(reference, changes, message):
    before = (reference / "config.json").read_bytes()
    with pytest.raises(ValueError, match=message):
        train("vae", reference, **{"resume": True, "verbose": 0, **changes})
    with pytest.raises(ValueError, match="recipe is 'vae' in the run and 'iwae' now"):
        train("iwae", reference, resume=True)
    assert (reference / "config.json").read_bytes() == before


class SwallowsAnInterrupt(keras.callbacks.Callback):
    """Ctrl-C at a moment when Python is inside code that drops the exception, as a destructor does."""

    def on_epoch_begin(self, epoch, logs=None):
        super().on_epoch_begin(epoch, logs)
        if epoch == 1:
            with contextlib.suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)


def test_a_swallowed_interrupt_is_honoured_at_the_end_of_the_epoch(tmp_path, reference, monkeypatch):
    recorder = training.run.RunRecorder
    monkeypatch.setattr(training.run, "RunRecorder", type("Recorder", (SwallowsAnInterrupt, recorder), {}))
    with pytest.raises(training.run.Interrupted, match="after 2 whole epochs"):
        train("vae", tmp_path / "run", **options())
    monkeypatch.undo()
    train("vae", tmp_path / "run", resume=True, **options())
    assert_same_run(tmp_path / "run", reference)
