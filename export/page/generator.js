// The generator in ONNX Runtime: fetches its files, checks their digests, draws. `page.json` says what there is.

import * as ort from "./runtime/ort.wasm.bundle.min.mjs";

const bytesOf = async (name) => {
  const answer = await fetch(name);
  if (!answer.ok) throw new Error(`${name} cannot be loaded: the server answered ${answer.status} ${answer.statusText}`);
  return answer.arrayBuffer();
};

// Only pages from https or from this machine are given crypto.subtle.
export const canCheck = Boolean(globalThis.crypto?.subtle);

async function check(name, bytes, recorded) {
  if (!canCheck) return;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  const found = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (found !== recorded)
    throw new Error(
      `${name} has the sha256 ${found.slice(0, 12)}…, but ${recorded.slice(0, 12)}… was written: ` +
        "it was altered or cut off, and would draw other images. Nothing is drawn.",
    );
}

export class Generator {
  // `page`: what page.json holds; `models`: name of each function to the bytes of its file.
  constructor(page, models) {
    this.page = page;
    this.models = models;
    this.sessions = {};
    this.last = Promise.resolve();
  }

  // Fetches everything at once and checks the models.
  static async load() {
    const page = JSON.parse(new TextDecoder().decode(await bytesOf("page.json")));
    const names = Object.keys(page.functions);
    const wasm = bytesOf(page.runtime.wasm);
    const files = await Promise.all(names.map((name) => bytesOf(page.functions[name].file)));
    ort.env.wasm.numThreads = 1; // Threads need headers that a plain file server does not send.
    ort.env.wasm.wasmBinary = await wasm;
    ort.env.logLevel = "error";
    performance.mark("files loaded");
    await Promise.all(names.map((name, i) => check(page.functions[name].file, files[i], page.functions[name].sha256)));
    return new Generator(page, Object.fromEntries(names.map((name, i) => [name, new Uint8Array(files[i])])));
  }

  has(name) {
    return name in this.page.functions;
  }

  // Runs a function on `inputs`, name to typed array, for `rows` rows: {output's name: {data, shape}}.
  run(name, rows, inputs) {
    const job = this.last.then(() => this.#run(name, rows, inputs)); // A session takes one call at a time.
    this.last = job.catch(() => {});
    return job;
  }

  async #run(name, rows, inputs) {
    // A function's session is made when it is first asked for, so that the first image does not wait for the others.
    // Full optimisation takes longer than it saves in graphs of this size.
    const options = { executionProviders: ["wasm"], graphOptimizationLevel: "basic" };
    this.sessions[name] ??= await ort.InferenceSession.create(this.models[name], options);
    const { inputs: specs } = this.page.functions[name].signature;
    const feeds = {};
    for (const { name: key, dtype, shape } of specs) feeds[key] = new ort.Tensor(dtype, inputs[key], [rows, ...shape.slice(1)]);
    const found = await this.sessions[name].run(feeds);
    return Object.fromEntries(Object.entries(found).map(([key, value]) => [key, { data: value.data, shape: [...value.dims] }]));
  }

  // Draws an image for each seed, [[a, b], ...]; `labels` where the model takes them.
  generate(seeds, labels) {
    const inputs = { seed: Int32Array.from(seeds.flat()) };
    if (this.page.num_classes) inputs.label = Int32Array.from(labels);
    return this.run("generate", seeds.length, inputs);
  }

  // The canvas after each step for one seed.
  sequence(seed) {
    return this.run("sequence", 1, { seed: Int32Array.from(seed) });
  }

  // Fills in `image` where `mask` is 0.
  impute(image, mask, seed) {
    return this.run("impute", 1, { image: Float32Array.from(image), mask: Float32Array.from(mask), seed: Int32Array.from(seed) });
  }
}
