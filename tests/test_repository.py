"""What the repository says of itself is true: README code runs, its tables are those of the run files, all is documented."""

import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import keras_gen as kg
from export import verify
from training import readme

ROOT = Path(__file__).parents[1]


def test_the_readmes_python_runs(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "nats an image" in done.stdout


def test_the_readmes_tables_are_those_of_the_run_files():
    text = (ROOT / "README.md").read_text()
    assert readme.filled(text, readme.tables()) == text, "run make readme"


def test_every_command_of_the_readme_exists():
    from training.cli import _parser

    commands = set(re.findall(r"^    keras-gen (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    usage = _parser().format_help()
    assert commands == {"list", "train", "evaluate", "export", "verify", "sample"}
    assert all(command in usage for command in commands)


@pytest.mark.parametrize("module", [kg, kg.objectives, kg.evaluation], ids=lambda module: module.__name__)
def test_everything_public_has_a_docstring(module):
    for name in module.__all__:
        public = getattr(module, name)
        assert inspect.getdoc(public), name
        if inspect.isclass(public):
            for method, value in vars(public).items():
                inherited = any(method in vars(base) for base in public.__mro__[1:])
                if not method.startswith("_") and callable(value) and not inherited:
                    assert inspect.getdoc(value), f"{name}.{method}"


@pytest.mark.parametrize("path", sorted((ROOT / "saved_models").glob("*/manifest.json")), ids=lambda path: path.parent.name)
def test_shipped_artifacts_verify_and_are_small(path):
    folder = path.parent
    report = verify(folder)
    assert report.ok, report.table()
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < 1_500_000
    manifest = json.loads(path.read_text())
    assert set(manifest["formats"]) == {"saved_model", "tflite", "onnx"}
    assert manifest["evaluation"]["negative_log_likelihood"]["standard_error"] > 0


def test_there_is_a_shipped_artifact():
    assert (ROOT / "saved_models" / "vae-digits" / "manifest.json").is_file()


def test_requirements_are_pinned_and_within_the_ranges_of_setup():
    from packaging.requirements import Requirement

    lines = (ROOT / "requirements.txt").read_text().splitlines()
    pinned = {}
    for line in lines:
        line = line.split("#")[0].strip()
        if line:
            requirement = Requirement(line)
            (specifier,) = requirement.specifier
            assert specifier.operator == "==", line
            pinned[requirement.name.lower().replace("_", "-")] = specifier.version
    ranges = (ROOT / "setup.py").read_text().split("install_requires")[1]
    for text in re.findall(r'^\s+"([a-zA-Z][^"]*)",$', ranges, re.MULTILINE):
        requirement = Requirement(text)
        assert requirement.specifier.contains(pinned[requirement.name.lower().replace("_", "-")]), text
