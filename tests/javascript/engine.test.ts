/** Every way of working of the panel, painted by the real engine with the model that ships. */
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import type { BridgeClient } from "../../plugins/photoshop/client/client";
import { prepare, putBack, submit, type Mode } from "../../plugins/photoshop/panel/modes";
import { FakeLayer, FakePhotoshop, type FakeDocument } from "./fake_photoshop";
import { Server } from "./python";
import { requirePhotoshop } from "./required";

const SIDE = 128;
const PATIENCE = 180_000;
const server = new Server("engine");
let client: BridgeClient;
let host: FakePhotoshop;
let made: FakeDocument;

requirePhotoshop(() => host.module);

beforeAll(async () => {
  await server.start();
  client = server.client({ name: "Photoshop" });
}, PATIENCE);
afterAll(async () => {
  client.close();
  await server.stop();
});

/** A document with a soft gradient, its right part empty, and a round feathered selection. */
beforeEach(() => {
  host = new FakePhotoshop();
  made = host.open(SIDE, SIDE);
  const data = new Uint8Array(SIDE * SIDE * 4);
  for (let y = 0; y < SIDE; y++) for (let x = 0; x < SIDE; x++) data.set(x < 100 ? [2 * x, 255 - y, 90 + ((x * y) % 60), 255] : [0, 0, 0, 0], 4 * (y * SIDE + x));
  made.layers.push(new FakeLayer("Fond", data));
});

function select(): Uint8Array {
  made.selected = Uint8Array.from({ length: SIDE * SIDE }, (_, i) => Math.max(0, Math.min(255, (24 - Math.hypot((i % SIDE) - 50, Math.floor(i / SIDE) - 60)) * 40)));
  return made.selected;
}

async function work(mode: Mode, form: Record<string, unknown>): Promise<void> {
  const prepared = await prepare(mode, { steps: 2, seed: 1, prompt: "a red circle on a blue ground", ...form });
  const handle = submit(client, prepared, {});
  const result = await handle.result;
  await putBack(mode, mode, prepared, result);
  handle.acknowledge();
}

test("a new picture", async () => {
  await work("generate", {});
  const layer = made.layers[1]!;
  expect(new Set(layer.data.filter((_, i) => i % 4 === 0)).size).toBeGreaterThan(8);
  expect(layer.data[4 * (SIDE * SIDE - 1) + 3]).toBe(255);
}, PATIENCE);

test("in the selection: outside of it not one pixel changes", async () => {
  const mask = select();
  const before = made.composite();
  await work("inpaint", { denoising_strength: 1 });
  const after = made.composite();
  let painted = 0;
  for (let i = 0; i < mask.length; i++) {
    const same = [0, 1, 2, 3].every((c) => before[4 * i + c] === after[4 * i + c]);
    if (mask[i] === 0) expect(same).toBe(true);
    else if (!same) painted += 1;
  }
  expect(painted).toBeGreaterThan(800);
  expect(made.history).toEqual(["inpaint"]);
}, PATIENCE);

test("filling the empty keeps what was there", async () => {
  const before = made.composite();
  await work("outpaint", { denoising_strength: 1 });
  const after = made.composite();
  for (let i = 0; i < SIDE * SIDE; i++) {
    if (i % SIDE < 100) for (let c = 0; c < 4; c++) expect(after[4 * i + c]).toBe(before[4 * i + c]);
    else expect(after[4 * i + 3]).toBe(255);
  }
}, PATIENCE);

test("from this picture, and enlarged", async () => {
  made.selected = Uint8Array.from({ length: SIDE * SIDE }, (_, i) => (i % SIDE < 96 && i / SIDE < 96 ? 255 : 0));
  await work("refine", { denoising_strength: 0.5 });
  expect(made.layers).toHaveLength(2);
  await work("upscale", { scale: 2 });
  expect([host.active!.width, host.active!.height]).toEqual([192, 192]);
}, PATIENCE);

test("a material becomes a group of maps", async () => {
  await work("texture", { width: 128, height: 128 });
  expect(made.layers.slice(1).map((layer) => layer.name)).toEqual(["albedo", "normal", "height", "roughness", "metallic", "ambient occlusion"]);
  expect(new Set(made.layers.slice(1).map((layer) => layer.parent))).toEqual(new Set(["texture"]));
}, PATIENCE);
