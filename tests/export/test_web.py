"""The exported page in headless Chromium: it draws Python's images, from no other host, for mouse, keyboard, small screens."""

import contextlib
import hashlib
import http.server
import io
import json
import shutil
import tarfile
import threading
from base64 import b64encode

import keras
import numpy as np
import pytest

import export
import keras_gen as kg
from export import web
from tests.export.browser import Browser, missing, served
from tests.models import MODELS

LITERT = (
    web.Package(
        "@litertjs/core",
        "2.5.3",
        "PlGmbMOq9WitX7FO0jhbdJw9GthatsyuCQXjTt/wJZo0FLaw48q4tz8IwqgqCIkviYGr9OFDL1kCnN4nzWoyJQ==",
        (
            "dist/index.js",
            *(f"wasm/litert_wasm{kind}_internal.{end}" for kind in ("", "_compat") for end in ("js", "wasm")),
        ),
    ),
    web.Package(
        "@litertjs/wasm-utils",
        "2.5.3",
        "4fJiw6tBQnIs+0jH/OQ16nYOiSl8/+zZnn5h2ul8aTKHi05sVqZW580Tmk78pC2kT39A9OYBVdFawteZ/sI1kQ==",
        ("dist/index.js",),
    ),
)
SHAPE = (8, 8, 1)
BUILD = {
    "vae": MODELS["vae"],
    "draw": lambda: kg.DRAW(SHAPE, steps=3, units=12, latent_dim=3, attention="soft", read_size=2, write_size=3),
    "imputer": MODELS["sequential_imputer"],
    "conditional": MODELS["gan_conditional"],
}
READY = "performance.getEntriesByName('first image').length"


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    """Artifacts with a page, by name, in one folder."""
    root, made = tmp_path_factory.mktemp("web"), {}
    for name, build in BUILD.items():
        keras.utils.set_random_seed(0)
        model = build()
        for weight in model.generator.trainable_variables:
            weight.assign(np.random.default_rng(len(weight.shape)).normal(0, 0.5, weight.shape))
        formats = ("tflite", "onnx") if name == "vae" else ("onnx",)
        made[name] = export.export_generator(model, root / name, formats=formats, web=True)
    return made


@pytest.fixture(scope="module")
def address(artifacts):
    with served(artifacts["vae"].path.parent) as address:
        yield address


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if missing():
        pytest.skip(missing())
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def opened(browser, address):
    """Opens a page and waits for its first image."""

    def open(name, fragment=""):
        browser.open(f"{address}{name}/web/index.html{fragment}")
        browser.wait_for(READY)
        return browser

    return open


def seed_is(browser, text):
    """Types a seed into its field and waits until its images are there."""
    browser.run("const f = document.getElementById('seed'); f.focus(); f.select()")
    browser.press(*text)
    told = text.replace(" ", "").split(",")
    browser.wait_for(f"document.getElementById('status').textContent.includes('seeds {told[0]}, {told[1]} to')")


STATE = "const { state, generator } = await import(new URL('app.js', location.href).href);"


def drawn(browser, name):
    """The floats that the page drew, `[B, ...]`, its seeds and its labels."""
    found = browser.run_async(
        STATE + f"done(state.images.map((i) => [i.seed, i.label, i.{name} ? Array.from(i.{name}) : null]))"
    )
    seeds, labels, values = zip(*found, strict=True)
    return np.array(values, np.float32), np.array(seeds, np.int32), labels


def pixels(browser, selector):
    """What stands on the canvases of a selector, uint8 `[B, H, W, 3]`."""
    found = browser.run(
        "return Array.from(document.querySelectorAll(arguments[0]), (c) => [c.height, c.width,"
        "Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data)])",
        selector,
    )
    return np.stack([np.array(data, np.uint8).reshape(height, width, 4)[..., :3] for height, width, data in found])


def grey(images):
    return np.broadcast_to(np.round(255 * images).astype(np.uint8), (*images.shape[:-1], 3))


@pytest.mark.parametrize("name", BUILD)
def test_a_seed_draws_pythons_image(opened, artifacts, name):
    browser, artifact = opened(name), artifacts[name]
    generator = artifact.load("onnx")
    for text in ("7, 0", "-3, -8", "-2147483648, 2147483640"):
        seed_is(browser, text)
        sample, seeds, labels = drawn(browser, "sample")
        first = np.array([int(part) for part in text.split(",")])
        expected_seeds = (first + np.arange(16)[:, None] * [0, 1] + 2**31) % 2**32 - 2**31  # the last ones wrap
        np.testing.assert_array_equal(seeds, expected_seeds)
        expected = generator.generate(seeds, *([np.array(labels)] if generator.num_classes else []))
        if "mean" in expected:
            np.testing.assert_array_equal(sample, expected["sample"].reshape(16, -1))
            mean = drawn(browser, "mean")[0]
            np.testing.assert_allclose(mean, expected["mean"].reshape(16, -1), rtol=0, atol=artifact.manifest["tolerance"])
        else:
            np.testing.assert_allclose(sample, expected["sample"].reshape(16, -1), rtol=0, atol=artifact.manifest["tolerance"])
        shown = pixels(browser, "#grid canvas").astype(int)
        assert np.abs(shown - grey(expected["sample"])).max() <= ("mean" not in expected)
    assert list(labels) == ([None] * 16 if name != "conditional" else [i % 3 for i in range(16)])


def test_the_first_image_is_there_within_a_second(browser, opened, capsys):
    # Of a machine that others use too, the wall time says little; what the page's thread computed, all its loading included,
    # is what the wall time is on a free one.
    browser.command("Performance.enable", {"timeDomain": "threadTicks"})
    opened("vae")
    metrics = {metric["name"]: metric["value"] for metric in browser.command("Performance.getMetrics", {})["metrics"]}
    wall = browser.run("return performance.getEntriesByName('first image')[0].duration")
    with capsys.disabled():
        print(f"\nfirst image: {1000 * metrics['ThreadTime']:.0f} ms of work, {wall:.0f} ms after the files were loaded")
    assert 0.01 < metrics["ThreadTime"] < 1


def test_a_link_restores_the_image(opened):
    browser = opened("vae")
    seed_is(browser, "-5, 3")
    browser.run("document.querySelectorAll('#grid button')[6].click(); document.querySelector('input[value=mean]').click()")
    image = pixels(browser, "#one")
    browser.command("Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]})
    browser.run("document.getElementById('copy').click()")
    browser.wait_for("document.getElementById('copied').textContent")
    link = browser.run_async("done(await navigator.clipboard.readText())")
    assert link.endswith("/vae/web/index.html#seed=-5,9&output=mean")
    opened("vae", link[link.index("#") :])
    assert browser.run("return document.getElementById('one-title').textContent") == "Seed -5, 9"
    np.testing.assert_array_equal(pixels(browser, "#one"), image)
    assert len(np.unique(image)) > 2  # the mean is grey, the sample is not

    opened("conditional", "#seed=1,2&label=2")
    assert drawn(browser, "sample")[2] == (2,) * 16
    assert "class 2" in browser.run("return document.getElementById('one-title').textContent")


def test_what_is_no_seed_is_refused(opened):
    browser = opened("vae")
    for text in ("7, x", "2147483648, 0", "1, 2, 3"):
        before = drawn(browser, "sample")[1]
        browser.run("const f = document.getElementById('seed'); f.focus(); f.select()")
        browser.press(*text)
        browser.wait_for("document.getElementById('seed').getAttribute('aria-invalid') === 'true'")
        assert "two integers from -2147483648" in browser.run("return document.getElementById('status').textContent")
    assert before.shape == (16, 2)
    seeds = browser.run_async(
        "const { parseSeed } = await import(new URL('app.js', location.href).href);"
        "done(['7', ' -1 ,  2 ', '3 4', '', '1.5', '1,,2', '-2147483648,2147483647'].map(parseSeed))"
    )
    assert seeds == [[7, 0], [-1, 2], [3, 4], None, None, None, [-(2**31), 2**31 - 1]]


def test_the_keyboard_is_enough(opened):
    browser = opened("imputer")
    browser.run("document.getElementById('seed').focus()")
    seen = []
    for _ in range(24):
        browser.press("Tab")
        seen.append(browser.run("const e = document.activeElement; return e.id || e.value || e.parentElement.id"))
        if seen[-1] == "again":
            break
        # A visible focus wherever it goes.
        assert browser.run("return getComputedStyle(document.activeElement).outlineStyle") != "none"
    assert seen == ["next", "random", "count", "sample", "grid", "copy", "erased", "half", "restore", "again"]
    browser.run("document.querySelector('#grid button[tabindex=\"0\"]').focus()")
    browser.press("Right", "Down", "Enter")
    assert browser.run("return document.getElementById('one-title').textContent") == "Seed 7, 5"
    assert browser.run("return document.activeElement.getAttribute('aria-pressed')") == "true"
    unnamed = browser.run(
        "return Array.from(document.querySelectorAll('button, input, select, canvas'), (e) =>"
        "e.getAttribute('aria-label') || e.textContent || e.labels?.[0]?.textContent ||"
        "(e.closest('#grid') ? 'in a button' : null))"
    )
    assert all(unnamed)


def test_the_film_ends_in_the_mean(opened, artifacts):
    browser = opened("draw", "#seed=-4,2&output=mean")
    image = pixels(browser, "#one")
    film = browser.run_async(STATE + "done(Array.from((await generator.sequence([-4, 2])).sequence.data))")
    expected = artifacts["draw"].load("onnx").sequence(np.array([[-4, 2]]))["sequence"]
    np.testing.assert_allclose(np.reshape(film, expected.shape), expected, rtol=0, atol=1e-5)
    mean = drawn(browser, "mean")[0][0]
    np.testing.assert_allclose(np.reshape(film, (3, -1))[-1], mean, rtol=0, atol=1e-6)
    browser.run("document.getElementById('step').focus()")
    browser.press("Left", "Left")  # two steps back
    browser.wait_for("document.getElementById('step-text').textContent === '1 of 3'")
    browser.wait_for("document.getElementById('one').getAttribute('aria-label').includes('after step 1')")
    assert np.abs(pixels(browser, "#one").astype(int) - grey(expected[:, 0])).max() <= 1
    browser.run("document.getElementById('play').click()")
    browser.wait_for("document.getElementById('step-text').textContent === '3 of 3'")
    browser.wait_for("document.getElementById('one').getAttribute('aria-label').includes('after step 3')")
    assert np.abs(pixels(browser, "#one").astype(int) - image).max() <= 1
    browser.wait_for("document.getElementById('play').textContent === 'Play'")


def test_filling_in_keeps_what_is_known(opened, artifacts):
    browser = opened("imputer", "#seed=9,-9&output=sample")
    browser.drag("#erased", [(0.06, 0.06), (0.94, 0.06), (0.94, 0.94)])  # along the upper edge and down the right one
    browser.run("document.getElementById('erased').focus()")
    browser.press("Down", "Down", "Right", "Space", "Up", "Up", "Space")  # erases (2, 1); restores (0, 1)
    browser.wait_for("document.getElementById('erased-text').textContent.startsWith('15 of 64')")
    assert browser.run("return document.getElementById('fill-status').textContent") == "Row 1, column 2: kept."
    mask = np.ones(SHAPE, np.float32)
    mask[0, [0, *range(2, 8)]] = mask[:, 7] = mask[2, 1] = 0
    erased = browser.run_async(STATE + "done([Array.from(state.erasing.missing), Array.from(state.erasing.image)])")
    np.testing.assert_array_equal(1 - np.reshape(erased[0], SHAPE), mask)
    generator, seed = artifacts["imputer"].load("onnx"), np.array([[9, -9]], np.int32)
    image = generator.generate(seed)["sample"]
    np.testing.assert_array_equal(np.reshape(erased[1], image.shape), image)
    for again in range(2):
        browser.wait_for(f"document.getElementById('filled-text').textContent.endsWith('9, {again - 9}')")
        browser.wait_for(f"document.getElementById('filled').getAttribute('aria-label').endsWith('9, {again - 9}')")
        expected = generator.impute(image, mask[None], seed + np.array([[0, again]], np.int32))
        found = browser.run_async(
            STATE + "const f = state.erasing.filled; done([Array.from(f.sample), Array.from(f.mean)])"
        )
        np.testing.assert_array_equal(np.reshape(found[0], image.shape), expected["sample"])
        np.testing.assert_allclose(np.reshape(found[1], image.shape), expected["mean"], rtol=0, atol=1e-4)
        np.testing.assert_array_equal(np.reshape(found[0], image.shape)[0][mask == 1], image[0][mask == 1])
        np.testing.assert_array_equal(pixels(browser, "#filled"), grey(expected["sample"]))
        browser.run("document.getElementById('again').click()")


def test_an_altered_model_draws_nothing(browser, address, artifacts):
    path = shutil.copytree(artifacts["vae"].path, artifacts["vae"].path.parent / "altered")
    file = path / "web" / "generator.onnx"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    browser.open(f"{address}altered/web/index.html")
    browser.wait_for("!document.getElementById('problem').hidden")
    text = browser.run("return document.getElementById('problem').textContent")
    recorded = artifacts["vae"].manifest["formats"]["onnx"]["sha256"]
    assert "generator.onnx" in text and recorded[:12] in text and hashlib.sha256(file.read_bytes()).hexdigest()[:12] in text
    assert browser.run("return document.querySelectorAll('#grid canvas').length") == 0


def test_no_other_host_is_asked(opened, browser, address):
    browser.log("performance"), browser.log()
    opened("draw")
    asked = [request for request in browser.requests() if not request.startswith(("about:", "data:", "chrome"))]
    assert f"{address}draw/web/generator.onnx" in asked and all(request.startswith(f"{address}draw/web/") for request in asked)
    assert [entry for entry in browser.log() if entry["level"] in ("SEVERE", "WARNING")] == []
    # Were it tried, the page's own policy would refuse.
    refused = browser.run_async("done(await fetch('http://127.0.0.1:9/').then(() => 'allowed', (e) => e.name))")
    assert refused == "TypeError" and any("Content Security Policy" in entry["message"] for entry in browser.log())


@pytest.mark.parametrize("name", ["imputer", "conditional"])
def test_it_fits_a_telephone(opened, name):
    browser = opened(name)
    browser.resize(360, 780)
    try:
        assert browser.run("return document.documentElement.scrollWidth") == 360
        small = browser.run(
            "return Array.from(document.querySelectorAll('button:not(#grid button), select, input[type=text]'), (e) =>"
            "[e.id, e.getBoundingClientRect().height]).filter(([, height]) => height > 0 && height < 40)"
        )
        assert small == []  # large enough for a finger
    finally:
        browser.command("Emulation.clearDeviceMetricsOverride", {})


def test_litert_js_draws_the_same_bits(browser, address, artifacts):
    """The `.tflite` of the same artifact in LiteRT.js; by its signature `single`, since it runs fixed shapes alone."""
    root = artifacts["vae"].path.parent
    for package, folder in zip(LITERT, ("litert", "litert-utils"), strict=True):
        shutil.copytree(web.fetch(package), root / folder)
    (root / "litert.html").write_text(
        '<!doctype html><script type="importmap">{"imports": {"@litertjs/wasm-utils": "./litert-utils/dist/index.js"}}</script>'
        "<body></body>"
    )
    browser.open(f"{address}litert.html")
    seeds = np.array([[7, 0], [-3, -8], [-(2**31), 2**31 - 1]], np.int32)
    found = browser.run_async(
        """const { loadLiteRt, loadAndCompile, Tensor } = await import(new URL('litert/dist/index.js', location.href).href);
        await loadLiteRt('./litert/wasm/');
        const model = await loadAndCompile('vae/generator.tflite', { accelerator: 'wasm' });
        const drawn = [];
        for (const seed of arguments[0]) {
          const input = new Tensor(Int32Array.from(seed), [1, 2]);
          const result = await model.run('single', { seed: input });
          drawn.push([Array.from(result.sample.toTypedArray()), Array.from(result.mean.toTypedArray())]);
        }
        done(drawn);""",
        seeds.tolist(),
    )
    assert not isinstance(found, str), found
    expected = artifacts["vae"].load("tflite").generate(seeds)
    sample, mean = np.array(found, np.float32).transpose(1, 0, 2)
    np.testing.assert_array_equal(sample, expected["sample"].reshape(3, -1))
    np.testing.assert_allclose(mean, expected["mean"].reshape(3, -1), rtol=0, atol=1e-5)


# --- writing it


def test_the_page_is_whole_and_recorded(artifacts):
    folder = artifacts["imputer"].path / "web"
    files = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    runtime = {"runtime/ort.wasm.bundle.min.mjs", "runtime/ort-wasm-simd-threaded.wasm"}
    sources = {"index.html", "app.js", "generator.js", "style.css", "page.json"}
    assert files == sources | runtime | {"generator.onnx", "impute.onnx"}
    manifest = artifacts["imputer"].manifest
    page = json.loads((folder / "page.json").read_text())
    recorded = manifest["formats"]["onnx"]["files"]
    for function, file in (("generate", "generator.onnx"), ("impute", "impute.onnx")):
        assert page["functions"][function]["sha256"] == recorded[file]["sha256"]
        assert hashlib.sha256((folder / file).read_bytes()).hexdigest() == recorded[file]["sha256"]
    assert manifest["page"] == web.RECORD and "### A browser" in (folder.parent / "README.md").read_text()


def test_a_page_needs_the_onnx_file(model, tmp_path):
    with pytest.raises(export.UnknownFormatError, match="formats are tflite: add onnx"):
        export.export_generator(model, tmp_path / "out", formats="tflite", web=True)


@contextlib.contextmanager
def registry(content):
    """A registry that answers every request with `content`; gives its address and the paths that were asked for."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/npm/", asked
    finally:
        server.shutdown()
        server.server_close()


def test_a_package_is_fetched_once_and_only_what_is_needed(tmp_path, monkeypatch):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in (("package/dist/a.js", b"a"), ("package/dist/b.js", b"b"), ("../evil", b"e")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    integrity = b64encode(hashlib.sha512(buffer.getvalue()).digest()).decode()
    package = web.Package("@some/thing", "1.2.3", integrity, ("dist/a.js",))
    with registry(buffer.getvalue()) as (address, asked):
        monkeypatch.setenv("npm_config_registry", address)
        for _ in range(2):
            folder = web.fetch(package, tmp_path / "cache")
            assert (folder / "dist" / "a.js").read_bytes() == b"a"
        assert asked == ["/npm/@some/thing/-/thing-1.2.3.tgz"]
        with pytest.raises(export.PageRuntimeError, match="could not be unpacked.*c.js"):
            web.fetch(web.Package("@some/thing", "1.2.3", integrity, ("dist/c.js",)), tmp_path / "cache")
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [folder / "dist" / "a.js"]


@pytest.mark.parametrize("reachable", [False, True])
def test_a_runtime_that_cannot_be_had_leaves_nothing_behind(model, tmp_path, monkeypatch, reachable):
    monkeypatch.setenv(web.CACHE_VARIABLE, str(tmp_path / "cache"))
    with registry(b"something else") as (address, _):
        monkeypatch.setenv("npm_config_registry", address if reachable else "http://127.0.0.1:9")
        message = "sha512 .* is pinned" if reachable else "could not be downloaded, .*; connect to a registry"
        with pytest.raises(export.PageRuntimeError, match=message):
            export.export_generator(model, tmp_path / "out", formats="onnx", web=True)
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [] and not (tmp_path / "out").exists()
