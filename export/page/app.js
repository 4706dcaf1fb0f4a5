// The page: fields and pictures. What is computed is in generator.js.

import { canCheck, Generator } from "./generator.js";

const $ = (id) => document.getElementById(id);
const wrap = (number) => number | 0; // past the largest int32 comes the smallest
const written = ([a, b]) => `${a}, ${b}`;

export let generator;
// seed: of the first image; images: what the grid shows; chosen: the image shown large; erasing: what is being filled in.
export const state = { seed: [7, 0], images: [], chosen: null, erasing: null };
let height, width, channels, playing;

// Two int32 from text such as "7, 0" or "-3 5"; one integer is the first, 0 the second. null if it is none.
export function parseSeed(text) {
  const parts = text.trim().replaceAll("\u2212", "-").split(/\s*[,;\s]\s*/);
  const numbers = parts.map(Number);
  if (parts.length > 2 || !parts.every((part) => /^[-+]?\d+$/.test(part)) || !numbers.every((n) => n === wrap(n))) return null;
  return [numbers[0], numbers[1] ?? 0].map(wrap);
}

function paint(canvas, pixels, missing) {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    for (let k = 0; k < 3; k++) {
      const value = pixels[i * channels + (channels === 3 ? k : 0)];
      image.data[4 * i + k] = missing?.[i] ? [214, 92, 160][k] : Math.round(255 * Math.min(1, Math.max(0, value)));
    }
    image.data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

const output = () => document.querySelector('input[name="output"]:checked').value;
const row = (found, name, index) => found[name].data.subarray(index * found[name].data.length / found[name].shape[0],
  (index + 1) * found[name].data.length / found[name].shape[0]);

// --- the grid

const draw = latest(async () => {
  const count = Number($("count").value);
  const seeds = Array.from({ length: count }, (_, i) => [state.seed[0], wrap(state.seed[1] + i)]);
  const classes = generator.page.num_classes;
  const labels = seeds.map((_, i) => (!classes ? null : $("label").value === "" ? i % classes : Number($("label").value)));
  const found = await generator.generate(seeds, labels);
  const focused = $("grid").contains(document.activeElement);
  state.images = seeds.map((seed, i) => ({
    seed, label: labels[i], sample: row(found, "sample", i), ...(found.mean ? { mean: row(found, "mean", i) } : {}),
  }));
  $("problem").hidden = true;
  showGrid();
  choose(0);
  if (focused) $("grid").children[0].focus();
  if (!performance.getEntriesByName("first image").length) performance.measure("first image", "files loaded");
  say(`${count} images, seeds ${written(seeds[0])} to ${written(seeds[count - 1])}.`);
});

function showGrid() {
  const grid = $("grid");
  grid.style.setProperty("--columns", Math.sqrt(state.images.length));
  while (grid.children.length > state.images.length) grid.lastChild.remove();
  while (grid.children.length < state.images.length) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(document.createElement("canvas"));
    grid.append(button);
  }
  state.images.forEach((image, i) => {
    const button = grid.children[i];
    button.setAttribute("aria-label", `Image of ${title(image)}`);
    paint(button.firstChild, image[output()]);
  });
}

const title = ({ seed, label }) => `seed ${written(seed)}` + (label === null ? "" : `, class ${label}`);

function choose(index) {
  const image = state.images[index];
  state.chosen = { ...image, index };
  [...$("grid").children].forEach((button, i) => {
    button.setAttribute("aria-pressed", i === index);
    button.tabIndex = i === index ? 0 : -1; // one stop for the Tab key; arrows move within
  });
  stop();
  $("one-title").textContent = title(image)[0].toUpperCase() + title(image).slice(1);
  $("copied").textContent = "";
  $("step").value = $("step").max;
  showOne();
  remember();
  if (generator.has("impute")) startErasing();
}

function showOne() {
  const image = state.chosen;
  paint($("one"), image[output()]);
  $("one").setAttribute("aria-label", `Image of ${title(image)}, ${output()}`);
  $("step-text").value = `${$("step").value} of ${$("step").max}`;
}

function link() {
  const { seed, label } = state.chosen;
  return `#seed=${seed.join(",")}` + (label === null ? "" : `&label=${label}`) + ("mean" in state.chosen ? `&output=${output()}` : "");
}

function remember() {
  try {
    history.replaceState(null, "", link());
  } catch {
    // Some browsers refuse after a hundred in half a minute; the next image is remembered again.
  }
}

// Fields as a link says; whether it says anything.
function follow() {
  const told = new URLSearchParams(location.hash.slice(1));
  const seed = parseSeed(told.get("seed") ?? "");
  if (!seed) return false;
  state.seed = seed;
  $("seed").value = written(seed);
  const known = [...$("label").options].map((option) => option.value);
  if (known.includes(told.get("label"))) $("label").value = told.get("label");
  const shown = document.querySelector(`input[name="output"][value="${told.get("output") === "mean" ? "mean" : "sample"}"]`);
  if (!$("output-field").hidden) shown.checked = true;
  seedIs(true);
  return true;
}

function seedIs(valid) {
  $("seed").setAttribute("aria-invalid", !valid);
  if (!valid) say(`“${$("seed").value}” is no seed: give two integers from -2147483648 to 2147483647, such as 7, 0.`);
}

function setSeed(seed) {
  $("seed").value = written(seed);
  state.seed = seed;
  seedIs(true);
  return draw();
}

// --- the film

// Shows a step of the chosen image's film, which is drawn when it is first asked for; whether that image is still chosen.
async function showStep() {
  const image = state.chosen;
  image.frames ??= (await generator.sequence(image.seed)).sequence.data;
  if (image !== state.chosen) return false;
  const step = Number($("step").value);
  const size = height * width * channels;
  paint($("one"), image.frames.subarray((step - 1) * size, step * size));
  $("one").setAttribute("aria-label", `Canvas of ${title(image)} after step ${step} of ${$("step").max}`);
  $("step-text").value = `${step} of ${$("step").max}`;
  return true;
}

function stop() {
  clearInterval(playing);
  playing = null;
  $("play").textContent = "Play";
}

async function play() {
  if (playing) return stop();
  $("step").value = 1;
  if (!(await showStep()) || playing) return;
  $("play").textContent = "Stop";
  const pause = Math.max(60, Math.min(400, 4000 / Number($("step").max)));
  playing = setInterval(() => {
    if ($("step").value === $("step").max) return stop();
    $("step").stepUp();
    guarded(showStep)();
  }, pause);
}

// --- filling in

function startErasing() {
  const kept = state.erasing;
  const image = state.chosen.sample;
  // What is erased stays erased when another image is chosen.
  state.erasing = {
    image, missing: kept?.missing ?? new Uint8Array(height * width), at: kept?.at ?? [0, 0], seed: [...state.chosen.seed], filled: null,
  };
  fill();
}

function showErased() {
  const { image, missing, at } = state.erasing;
  paint($("erased"), image, missing);
  const count = missing.reduce((sum, one) => sum + one, 0);
  $("erased-text").textContent = `${count} of ${height * width} pixels erased`;
  $("erased").setAttribute("aria-label", `Image of ${title(state.chosen)}, ${count} pixels erased`);
  Object.assign($("cursor").style, {
    left: `${(100 * at[1]) / width}%`, top: `${(100 * at[0]) / height}%`, width: `${100 / width}%`, height: `${100 / height}%`,
  });
}

const fill = latest(async () => {
  showErased();
  const mine = state.erasing;
  const found = await generator.impute(mine.image, mine.missing.map((one) => 1 - one), mine.seed);
  if (mine !== state.erasing) return; // another image was chosen meanwhile
  mine.filled = Object.fromEntries(Object.entries(found).map(([key, value]) => [key, value.data]));
  showFilled();
});

function showFilled() {
  const { filled, seed } = state.erasing;
  if (!filled) return;
  paint($("filled"), filled[output()] ?? filled.sample);
  $("filled-text").textContent = `Filled in with seed ${written(seed)}`;
  $("filled").setAttribute("aria-label", `The image, filled in with seed ${written(seed)}`);
}

function rub(from, to) {
  // A brush as wide as a tenth of the image, moved along a straight line.
  const radius = Math.max(0.5, Math.min(height, width) / 20);
  const steps = Math.ceil(2 * Math.hypot(to[0] - from[0], to[1] - from[1])) || 1;
  for (let s = 0; s <= steps; s++) {
    const [y, x] = [0, 1].map((k) => from[k] + ((to[k] - from[k]) * s) / steps);
    for (let i = 0; i < height; i++)
      for (let j = 0; j < width; j++)
        if (Math.hypot(i + 0.5 - y, j + 0.5 - x) <= radius || (i === Math.floor(y) && j === Math.floor(x))) state.erasing.missing[i * width + j] = 1;
  }
  showErased();
}

function place(event) {
  const box = $("erased").getBoundingClientRect();
  return [((event.clientY - box.top) * height) / box.height, ((event.clientX - box.left) * width) / box.width];
}

const MOVES = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

function eraseByKey(event) {
  const { at, missing } = state.erasing;
  const move = MOVES[event.key];
  if (move) {
    at[0] = Math.min(height - 1, Math.max(0, at[0] + move[0]));
    at[1] = Math.min(width - 1, Math.max(0, at[1] + move[1]));
    showErased();
  } else if (event.key === " ") {
    missing[at[0] * width + at[1]] ^= 1;
    fill();
  } else return;
  event.preventDefault();
  $("fill-status").textContent = `Row ${at[0] + 1}, column ${at[1] + 1}: ${missing[at[0] * width + at[1]] ? "erased" : "kept"}.`;
}

// --- setting up

function say(text) {
  $("status").textContent = text;
}

function fail(error) {
  $("problem").textContent = error.message ?? String(error);
  $("problem").hidden = false;
}

function guarded(action) {
  return (...given) => Promise.resolve().then(() => action(...given)).catch((error) => (fail(error), say("")));
}

// An action that runs once at a time: of calls that come meanwhile only one follows, with the fields as they are then.
function latest(action) {
  const run = guarded(action);
  let now = null, next = null;
  return () => {
    if (now) return (next ??= now.then(() => ((next = null), (now = run().finally(() => (now = null))))));
    return (now = run().finally(() => (now = null)));
  };
}

function listen() {
  $("controls").addEventListener("submit", (event) => event.preventDefault());
  $("seed").addEventListener("input", () => {
    const seed = parseSeed($("seed").value);
    seedIs(Boolean(seed));
    if (seed) {
      state.seed = seed;
      draw();
    }
  });
  $("previous").addEventListener("click", () => setSeed([wrap(state.seed[0] - 1), state.seed[1]]));
  $("next").addEventListener("click", () => setSeed([wrap(state.seed[0] + 1), state.seed[1]]));
  $("random").addEventListener("click", () => setSeed([...crypto.getRandomValues(new Int32Array(1)), 0]));
  for (const id of ["count", "label"]) $(id).addEventListener("change", draw);
  $("output-field").addEventListener("change", () => {
    stop();
    showGrid();
    $("step").value = $("step").max;
    showOne();
    remember();
    if (state.erasing) showFilled();
  });
  $("grid").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) choose([...$("grid").children].indexOf(button));
  });
  $("grid").addEventListener("keydown", (event) => {
    const cells = [...$("grid").children];
    const move = MOVES[event.key];
    if (!move) return;
    const to = cells.indexOf(document.activeElement) + move[0] * Math.sqrt(cells.length) + move[1];
    if (cells[to]) cells[to].focus();
    event.preventDefault();
  });
  $("copy").addEventListener("click", async () => {
    const address = new URL(link(), location.href).href;
    try {
      await navigator.clipboard.writeText(address);
      $("copied").textContent = "Copied.";
    } catch {
      $("copied").textContent = address; // No permission: it can be copied from here.
    }
  });
  $("play").addEventListener("click", guarded(play));
  $("step").addEventListener("input", () => (stop(), guarded(showStep)()));

  let from = null;
  $("erased").addEventListener("pointerdown", (event) => {
    $("erased").setPointerCapture(event.pointerId);
    from = place(event);
    rub(from, from);
  });
  $("erased").addEventListener("pointermove", (event) => {
    if (!from) return;
    const to = place(event);
    rub(from, to);
    from = to;
  });
  for (const end of ["pointerup", "pointercancel"])
    $("erased").addEventListener(end, () => {
      if (from) fill();
      from = null;
    });
  $("erased").addEventListener("keydown", eraseByKey);
  $("half").addEventListener("click", () => (state.erasing.missing.fill(1, width * Math.floor(height / 2)), fill()));
  $("restore").addEventListener("click", () => (state.erasing.missing.fill(0), fill()));
  $("again").addEventListener("click", () => {
    state.erasing.seed[1] = wrap(state.erasing.seed[1] + 1);
    fill();
  });
  window.addEventListener("hashchange", () => {
    if (follow()) draw();
  });
}

async function start() {
  generator = await Generator.load();
  const { page } = generator;
  [height, width, channels] = page.data_shape;
  $("name").textContent = document.title = page.name;
  $("about").textContent =
    `The generator of a ${page.family}, ${height} × ${width} × ${channels}, drawn in this browser: the same seed, the same image as in Python.` +
    (canCheck ? "" : " (Not served over https, so the digests of its files are not checked.)");
  const grey = page.functions.generate.signature.outputs.map(({ name }) => name);
  $("output-field").hidden = !grey.includes("mean");
  if (page.num_classes) {
    $("label").append(...Array.from({ length: page.num_classes }, (_, i) => new Option(i, i)));
    $("label-field").hidden = false;
  }
  if (generator.has("sequence")) {
    $("step").max = page.functions.sequence.signature.outputs[0].shape[1];
    $("film").hidden = false;
  }
  for (const id of ["controls", "grid-section", "one-section"]) $(id).hidden = false;
  $("fill").hidden = !generator.has("impute");
  listen();
  if (!follow()) $("seed").value = written(state.seed);
  await draw();
}

guarded(start)();
