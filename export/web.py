"""Writes the page of an artifact: a static folder that draws its images in a browser, with ONNX Runtime, from no other host.

The page's own sources are in `export/page/`; its runtime is taken from the npm registry, by a pinned version and digest, once.
"""

import base64
import contextlib
import dataclasses
import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
import urllib.request
from pathlib import Path

from export import onnx
from export.errors import PageRuntimeError, UnknownFormatError
from export.manifest import to_json

FOLDER = "web"
SOURCES = Path(__file__).parent / "page"
CACHE_VARIABLE = "KERAS_GEN_CACHE"
_REGISTRY = "https://registry.npmjs.org"
_REGISTRY_VARIABLES = ("npm_config_registry", "NPM_CONFIG_REGISTRY")  # npm's own
_SECONDS = 120


@dataclasses.dataclass(frozen=True)
class Package:
    """A package of the npm registry.

    Attributes:
        name, version: which one.
        integrity: base64 of its tarball's sha512, as the registry and every lock file write it.
        files: the paths in it that are needed.
    """

    name: str
    version: str
    integrity: str
    files: tuple[str, ...]


# LiteRT.js is a third smaller and draws its first image in less than half the time, but it runs fixed shapes alone: neither a
# grid in one call (64 images: 9 ms here, 130 there) nor `sequence` nor `impute`, whose batch is free.
RUNTIME = Package(
    "onnxruntime-web",
    "1.30.0",
    "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==",
    ("dist/ort.wasm.bundle.min.mjs", "dist/ort-wasm-simd-threaded.wasm"),
)


#: What the manifest says of a page.
RECORD = {"file": f"{FOLDER}/index.html", "runtime": RUNTIME.name, "version": RUNTIME.version}


def write(folder, manifest, cache=None):
    """Writes the page of an artifact into its subfolder `web`.

    The subfolder needs nothing outside itself: it may be put on any file server.

    Args:
        folder: the artifact's folder, its `generator.onnx` written.
        manifest: the artifact's manifest, a dict.
        cache: see `fetch`.

    Raises:
        UnknownFormatError: the artifact holds no ONNX file.
        PageRuntimeError: the runtime cannot be had.
    """
    check_formats(manifest["formats"])
    runtime = fetch(RUNTIME, cache)
    record = manifest["formats"]["onnx"]
    functions = {"generate": (record["file"], manifest["signature"])}
    for name, signature in manifest.get("methods", {}).items():
        functions[name] = (onnx.beside(record["file"], name).name, signature)
    page = {
        **{key: manifest[key] for key in ("name", "family", "num_classes") if key in manifest},
        "data_shape": manifest["model"]["data_shape"],
        "functions": {
            name: {"file": file, **record["files"][file], "signature": signature}
            for name, (file, signature) in functions.items()
        },
        "runtime": {
            "package": RUNTIME.name,
            "version": RUNTIME.version,
            "wasm": next(f"runtime/{Path(name).name}" for name in RUNTIME.files if name.endswith(".wasm")),
        },
    }
    target = Path(folder) / FOLDER
    shutil.copytree(SOURCES, target)
    (target / "runtime").mkdir()
    for name in RUNTIME.files:
        shutil.copyfile(runtime / name, target / "runtime" / Path(name).name)
    for file, _ in functions.values():
        shutil.copyfile(Path(folder) / file, target / file)
    (target / "page.json").write_text(to_json(page, "the page's facts"), encoding="utf-8")


def check_formats(formats):
    """Raises `UnknownFormatError` unless the page can be made of these formats."""
    if "onnx" not in formats:
        raise UnknownFormatError(f"the page runs the onnx file, but the formats are {', '.join(formats)}: add onnx")


def fetch(package, cache=None):
    """A folder that holds the needed files of an npm package; downloads it unless it was before.

    The tarball is checked against the pinned digest before anything of it is kept, and only the needed files are.

    Args:
        package: a `Package`.
        cache: folder to keep it in; None for that in the environment variable `KERAS_GEN_CACHE`, or `~/.cache/keras_gen`.

    Returns:
        The folder, a `Path`.

    Raises:
        PageRuntimeError: it is neither there nor can be downloaded, or what came is not what was pinned.
    """
    cache = Path(cache or os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "keras_gen")
    # A changed list of files or digest is another folder.
    mark = hashlib.sha256(repr(package).encode()).hexdigest()[:12]
    folder = cache / f"{package.name.replace('/', '-')}-{package.version}-{mark}"
    if folder.is_dir():
        return folder
    address = f"{_registry()}/{package.name}/-/{package.name.split('/')[-1]}-{package.version}.tgz"
    remedy = f"connect to a registry (npm config set registry), or put the folder {folder} there by hand"
    try:
        with urllib.request.urlopen(address, timeout=_SECONDS) as answer:
            content = answer.read()
    except (OSError, ValueError) as error:
        raise PageRuntimeError(f"{address} could not be downloaded, which the page needs: {error}; {remedy}") from error
    found = base64.b64encode(hashlib.sha512(content).digest()).decode()
    if found != package.integrity:
        raise PageRuntimeError(
            f"{address} has the sha512 {found[:16]}..., but {package.integrity[:16]}... is pinned: it is not the file that was "
            "tested, and nothing of it was kept"
        )
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".partial-") as scratch:
            _extract(content, package.files, Path(scratch) / "files")
            _move(Path(scratch) / "files", folder)
    except (OSError, tarfile.TarError, KeyError) as error:
        raise PageRuntimeError(f"{address} could not be unpacked into {folder}: {error}") from error
    return folder


def _extract(content, names, target):
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        for name in names:
            member = archive.extractfile(f"package/{name}")
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(member.read())


def _move(source, target):
    try:
        source.rename(target)
    except OSError:
        if not target.is_dir():  # another process was quicker
            raise


def _registry():
    """The npm registry that this machine is set up for."""
    found = next((os.environ[name] for name in _REGISTRY_VARIABLES if os.environ.get(name)), None)
    if not found and shutil.which("npm"):
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            command = ["npm", "config", "get", "registry"]
            found = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.strip()
    return (found if found and found.startswith("http") else _REGISTRY).rstrip("/")
