"""A run's folder: what lies where, and writes that are whole or not there. Imports no TensorFlow.

config.json      recipe, resolved settings, data digest, seed, versions
metrics.jsonl    a row an epoch
model.keras      the trained model, once training is done
checkpoints/     epoch-NNNN.keras of the last two epochs
samples/         epoch-NNN.png
tensorboard/     event files
logits.json      of a game: histograms of the critic's logits after the last epoch
evaluation.json  figures with their protocol
report.html      all of it on one page
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

_KEPT_CHECKPOINTS = 2
# Of a run's config.json.
_OF_A_RUN = ("recipe", "settings")


class RunFolder:
    """The files of a run.

    Args:
        path: the folder, which need not exist yet.
    """

    def __init__(self, path):
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.metrics = self.path / "metrics.jsonl"
        self.model = self.path / "model.keras"
        self.checkpoints = self.path / "checkpoints"
        self.samples = self.path / "samples"
        self.tensorboard = self.path / "tensorboard"
        self.logits = self.path / "logits.json"
        self.evaluation = self.path / "evaluation.json"
        self.report = self.path / "report.html"
        self._lock, self._made = None, []

    @property
    def is_run(self):
        return self.config.is_file()

    def create(self, config):
        """Makes the folder, locked, beginning with its configuration; ValueError where the path is taken."""
        self._made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        self.path.mkdir(parents=True, exist_ok=True)
        self.lock()
        self.check_free()
        self.write_config(config)

    def lock(self):
        """Keeps other processes from training into the folder until `unlock`, or until this process dies, however it dies.

        The lock is on the folder itself and leaves no file.

        Raises:
            ValueError: another process is training into the folder.
        """
        self._lock = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.unlock()
            raise ValueError(
                f"another process is training into {self.path}, and two at a time would spoil the run; wait until it has "
                "ended, or choose another folder with --out"
            ) from None
        except OSError as error:  # some network file systems have no such locks
            print(f"warning: {self.path} cannot be locked ({error}); do not train into it twice at a time", file=sys.stderr)

    def unlock(self):
        """Gives back what `lock` took, if it did."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def check_free(self):
        """Raises ValueError where there is something at the path already."""
        if self.path.exists() and not self._is_stillborn():
            what = "continue its run with --resume" if self.is_run else "it is not a run"
            raise ValueError(f"output folder {self.path} exists; choose another with --out ({what})")

    def remove(self):
        """Removes all that is in the folder, and what of it and its parents `create` had to make."""
        for entry in self.path.iterdir():
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        for folder in self._made:
            with contextlib.suppress(OSError):  # others may lie there by now
                folder.rmdir()

    def _is_stillborn(self):
        """Whether it is what a process leaves that was killed while making its run: nothing but a temporary file."""
        return self.path.is_dir() and all(file.name == ".config.json" for file in self.path.iterdir())

    def write_config(self, config):
        write_json(self.config, config)

    def read_config(self):
        """The run's configuration, a dict; ValueError where the folder is not a run."""
        config = self._read_json(self.config, f"{self.path} is not a run: it has no config.json")
        missing = [name for name in _OF_A_RUN if not isinstance(config, dict) or name not in config]
        if missing:
            raise ValueError(f"{self.path} is not a run: its config.json has no {', '.join(missing)}")
        return config

    def read_evaluation(self):
        """What `evaluate` wrote of the present model.keras, or None; that it is of another model is said on stderr."""
        if not self.evaluation.is_file():
            return None
        evaluation = self._read_json(self.evaluation, "")
        if evaluation.get("model_sha256") != self.model_digest():
            print(
                f"warning: {self.evaluation} is not of the present model.keras, its figures are left out; write it anew with "
                f"keras-gen evaluate {self.path}",
                file=sys.stderr,
            )
            return None
        return evaluation

    def model_digest(self):
        """sha256 of model.keras in hexadecimal; None where there is none."""
        if not self.model.is_file():
            return None
        with open(self.model, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _read_json(self, file, missing):
        try:
            return json.loads(file.read_text())
        except FileNotFoundError:
            raise ValueError(missing) from None
        except ValueError as error:
            raise ValueError(f"{file} is damaged: {error}") from error

    def rows(self):
        """The rows of metrics.jsonl, a list of dicts; a last row that was cut off by a kill is left out."""
        rows = []
        for line in self.metrics.read_text().splitlines() if self.metrics.is_file() else ():
            try:
                rows.append(json.loads(line))
            except ValueError:
                break
        return rows

    def time(self):
        """What training took: `epochs`, `seconds`."""
        rows = self.rows()
        return {"epochs": len(rows), "seconds": round(sum(row["seconds"] for row in rows), 1)}

    def append_row(self, row):
        with open(self.metrics, "a") as file:
            file.write(json.dumps(row) + "\n")
            _sync(file)

    def go_back(self, epochs, config):
        """Makes the folder what it was after the first `epochs` epochs, for training to go on from there.

        Checkpoints of later epochs, which could not be read, are renamed: they would count as newer than those to come.
        Where `config` has another number of epochs than the run had, model.keras goes first: it is not the model that
        `config` tells of.
        """
        if config["settings"]["epochs"] != self.read_config()["settings"]["epochs"]:
            self.model.unlink(missing_ok=True)
        self.write_config(config)
        for done, file in self.list_checkpoints():
            if done > epochs:
                os.replace(file, file.with_suffix(".damaged"))
        rows = [row for row in self.rows() if row["epoch"] <= epochs]
        write_atomically(self.metrics, "".join(json.dumps(row) + "\n" for row in rows).encode())

    def list_checkpoints(self):
        """(epochs done, file) of each checkpoint, newest first."""
        files = self.checkpoints.glob("epoch-*.keras")
        return sorted(((int(file.stem.removeprefix("epoch-")), file) for file in files), reverse=True)

    def save_checkpoint(self, model, epochs):
        """Writes the model, its optimizer and its noise state after `epochs` epochs; older checkpoints but one go."""
        self.checkpoints.mkdir(exist_ok=True)
        temporary = self.checkpoints / ".writing.keras"
        model.save(temporary)
        _move(temporary, self.checkpoints / f"epoch-{epochs:04d}.keras")
        for _, file in self.list_checkpoints()[_KEPT_CHECKPOINTS:]:
            file.unlink()

    def publish_model(self, checkpoint):
        """Makes a checkpoint the run's model.keras."""
        temporary = self.path / ".model.keras"
        shutil.copyfile(checkpoint, temporary)
        _move(temporary, self.model)

    def write_sample(self, epochs, png):
        """Writes the picture of samples drawn after `epochs` epochs."""
        self.samples.mkdir(exist_ok=True)
        write_atomically(self.samples / f"epoch-{epochs:03d}.png", png)

    def newest_sample(self):
        """The last picture of samples, or None."""
        pictures = sorted(self.samples.glob("epoch-*.png"), key=lambda file: int(file.stem.removeprefix("epoch-")))
        return pictures[-1] if pictures else None

    def finished_model(self):
        """The file of the trained model; ValueError where training is not done."""
        config = self.read_config()
        if not self.model.is_file():
            done = max((epochs for epochs, _ in self.list_checkpoints()), default=0)
            raise ValueError(
                f"run {self.path} is not finished: {done} of {config['settings']['epochs']} epochs done; continue it with "
                f"keras-gen train {config['recipe']} --out {self.path} --resume"
            )
        return self.model


def write_json(path, value):
    write_atomically(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def write_atomically(path, content):
    """Writes bytes so that, whenever the process dies, the file is the old one or the new one, whole."""
    temporary = path.with_name("." + path.name)
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            _sync(file)
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _move(temporary, path):
    with open(temporary, "rb") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _sync(file):
    file.flush()
    os.fsync(file.fileno())
