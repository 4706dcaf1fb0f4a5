"""The model card says what the manifest says, and its code runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import export
from export import card


@pytest.fixture(scope="module")
def text(shared_artifact):
    return (shared_artifact.path / "README.md").read_text(encoding="utf-8")


def test_it_has_the_picture_the_training_the_figures_and_the_limits(text, shared_artifact):
    assert text.startswith("# vae-tiny\n\n## What it draws\n") and "![samples](samples.png)" in text
    assert "| optimizer.name | adam |" in text and "`digits`; source and licence are not recorded." in text
    assert shared_artifact.manifest["recipe_sha256"] in text
    assert "| log_likelihood | -44.4 ± 0.25 nats | 5000 importance samples |" in text
    assert "| parameters | 1234 | not recorded |" in text
    assert "## Limits" in text
    for record in shared_artifact.manifest["formats"].values():
        assert record["file"] in text and record["sha256"][:16] in text


def test_its_python_runs_and_draws_the_same(text, shared_artifact):
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 4  # TensorFlow, LiteRT, ONNX Runtime, this project.
    program = "results = []\n" + "".join(f"{block}\nresults.append(images)\n" for block in blocks)
    program += "import numpy\nassert all(numpy.array_equal(one, results[0]) for one in results)\nprint(results[0].shape)\n"
    environment = {**os.environ, "PYTHONPATH": str(Path(export.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=shared_artifact.path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "(2, 8, 8, 1)"


def test_its_compose_file_is_there_and_its_request_is_json(text, shared_artifact):
    import json

    (compose,) = re.findall(r"docker compose -f (\S+) up", text)
    assert (shared_artifact.path / compose).is_file()
    request = json.loads(re.search(r"curl -d '(.*?)'", text).group(1))
    assert request == {"inputs": {"seed": [[7, 0], [7, 1]]}}


def test_only_the_formats_that_are_there(model, tmp_path):
    export.export_generator(model, tmp_path / "bare", formats="onnx")
    text = (tmp_path / "bare/README.md").read_text()
    assert "LiteRT" not in text.split("## Limits")[0].split("## How to run it")[1] and "Not evaluated" in text
    assert "Not recorded" in text and 'format="onnx"' in text


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (2, "L")])
def test_picture(channels, mode):
    sample = np.zeros((64, 5, 4, channels), np.float32)
    image = card.picture({"sample": sample, "mean": sample + 0.5})
    assert image.mode == mode and isinstance(image, Image.Image)
    scale = 14  # 4 pixels become at least 56; the last line of a block is white.
    top, bottom = image.getpixel((0, 0)), image.getpixel((0, image.height - scale - 1))
    assert np.max(top) == 0 and np.max(bottom) == 128


def test_picture_of_few_samples_without_mean():
    assert card.picture({"sample": np.ones((1, 28, 28, 1))}).mode == "L"


def test_a_protocol_that_all_figures_share_stands_once(shared_artifact):
    protocol = {"split": "test", "images": 100, "data_sha256": "abc", "binarization_seed": None}
    figure = {"value": -1.5, "standard_error": 0.5, "protocol": protocol}
    text = card.text({**shared_artifact.manifest, "evaluation": {"elbo": figure, "log_likelihood": figure}})
    assert "| elbo | -1.5 ± 0.5 |" in text and text.count("Protocol: split: test; images: 100.") == 1 and "abc" not in text


CHECKS = {
    "memorisation": {
        **{"samples": 500, "test_images": 359, "training_images": 1259, "distance": "Euclidean"},
        **{"samples_to_training": 2.5, "test_to_training": 2.25, "smallest_of_samples": 0.5, "smallest_of_test": 0.75},
        "share_nearer_than_5_percent_of_test": 0.125,
    },
    "coverage": {
        "classifier": "class of the nearest training image",
        "shares": {"samples": [0.75, 0.25, 0.0], "test": [0.25, 0.5, 0.25], "training": [0.25, 0.25, 0.5]},
        **{"distance_of_samples": 0.5, "distance_of_test": 0.25, "missing": [2]},
    },
}


def test_what_was_looked_for_and_found(shared_artifact):
    data = {"spec": "digits", "source": "UCI", "licence": "CC BY 4.0", "description": "1,259 train", "data_dir": "/home/me"}
    run = {"data": data, "training": {"epochs": 300, "seconds": 21.5, "cores": 2}}
    text = card.text({**shared_artifact.manifest, "run": run, "checks": CHECKS})
    assert "| licence | CC BY 4.0 |" in text and "/home/me" not in text
    assert "21.5 s for 300 epochs on 2 CPU cores. Energy: not measured." in text
    assert "| 500 samples | 2.5 | 0.5 |" in text and "| 359 test images | 2.25 | 0.75 |" in text
    assert "12.5 % of the samples" in text
    assert "![samples over their nearest training images](neighbours.png)" in text
    assert "Never drawn: 2." in text and "| 0 | 75 % | 25 % | 25 % |" in text and "50 % of the samples" in text


def test_what_nobody_looked_for_is_said(shared_artifact, text):
    assert "Not recorded: nobody looked for copies" in text and "Time and energy: not recorded." in text
    bare = {**shared_artifact.manifest, "run": {}, "recipe": {}, "evaluation": {}, "checks": {"not_checked": "the data moved"}}
    found = card.text(bare)
    assert found.count("Not recorded: this generator was exported without") == 2 and "Not evaluated." in found
    assert "nor for what is left out: the data moved." in found


def test_further_pictures_are_written_and_have_digests(model, tmp_path, shared_artifact):
    picture = (shared_artifact.path / "samples.png").read_bytes()
    told = {"checks": CHECKS, "pictures": {"neighbours.png": picture}}
    artifact = export.export_generator(model, tmp_path / "vae", formats="onnx", **told)
    assert set(artifact.manifest["other_files"]) == {"README.md", "samples.png", "neighbours.png"} and not artifact.unlisted()
    assert artifact.manifest["checks"] == CHECKS and "](neighbours.png)" in (artifact.path / "README.md").read_text()
