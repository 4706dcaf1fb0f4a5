"""A run's folder: what lies where, and writes that are whole or not there. Imports no TensorFlow.

config.json      recipe, resolved settings, data digest, seed, versions
metrics.jsonl    a row an epoch
model.keras      the trained model, once training is done
checkpoints/     epoch-NNNN.keras of the last two epochs
samples/         epoch-NNN.png
tensorboard/     event files
evaluation.json  figures with their protocol
report.html      all of it on one page
"""

import json
import os
import shutil
from pathlib import Path

_KEPT_CHECKPOINTS = 2


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
        self.evaluation = self.path / "evaluation.json"
        self.report = self.path / "report.html"

    @property
    def is_run(self):
        return self.config.is_file()

    def create(self, config):
        """Makes the folder, beginning with its configuration; ValueError where the path is taken."""
        self.check_free()
        self.path.mkdir(parents=True, exist_ok=True)
        self.write_config(config)

    def check_free(self):
        """Raises ValueError where there is something at the path already."""
        if self.path.exists() and not self._is_stillborn():
            what = "continue its run with --resume" if self.is_run else "it is not a run"
            raise ValueError(f"output folder {self.path} exists; choose another with --out ({what})")

    def remove(self):
        """Removes the folder with all that is in it."""
        shutil.rmtree(self.path)

    def _is_stillborn(self):
        """Whether it is what a process leaves that was killed while making its run: nothing but a temporary file."""
        return self.path.is_dir() and all(file.name == ".config.json" for file in self.path.iterdir())

    def write_config(self, config):
        write_json(self.config, config)

    def read_config(self):
        """The run's configuration, a dict; ValueError where the folder is not a run."""
        return self._read_json(self.config, f"{self.path} is not a run: it has no config.json")

    def read_evaluation(self):
        """What `evaluate` wrote, or None."""
        return self._read_json(self.evaluation, "") if self.evaluation.is_file() else None

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

    def truncate_rows(self, epochs):
        """Drops the rows of epochs after the first `epochs`, which are about to be trained again."""
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
    write_atomically(path, (json.dumps(value, indent=2) + "\n").encode())


def write_atomically(path, content):
    """Writes bytes so that, whenever the process dies, the file is the old one or the new one, whole."""
    temporary = path.with_name("." + path.name)
    with open(temporary, "wb") as file:
        file.write(content)
        _sync(file)
    os.replace(temporary, path)


def _move(temporary, path):
    with open(temporary, "rb") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _sync(file):
    file.flush()
    os.fsync(file.fileno())
