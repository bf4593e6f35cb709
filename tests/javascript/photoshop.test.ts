/** The panel's logic with the strict stand-in for Photoshop and the real server: every way of working, every depth. */
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { BridgeClient, JobResult } from "../../plugins/photoshop/client/client";
import { capture, inDepth, modal } from "../../plugins/photoshop/panel/canvas";
import { fieldsOf, valueOf, type Schema } from "../../plugins/photoshop/panel/form";
import { prepare, putBack, submit, type Mode } from "../../plugins/photoshop/panel/modes";
import { FakeLayer, FakePhotoshop, type FakeDocument } from "./fake_photoshop";
import { Server, until } from "./python";
import { requirePhotoshop } from "./required";

const server = new Server();
let client: BridgeClient;
let host: FakePhotoshop;

requirePhotoshop(() => host.module);

beforeAll(async () => {
  await server.start();
  client = server.client({ name: "Photoshop" });
});
afterAll(async () => {
  client.close();
  await server.stop();
});
beforeEach(() => {
  host = new FakePhotoshop();
});

const WIDTH = 96;
const HEIGHT = 80;

/** A document with a painted background, and a soft round selection that touches no edge. */
function document(depth: 8 | 16 | 32 = 8, mode?: string): FakeDocument {
  const made = host.open(WIDTH, HEIGHT, depth, mode);
  const full = { 8: 255, 16: 32768, 32: 1 }[depth];
  const data = depth === 8 ? new Uint8Array(WIDTH * HEIGHT * 4) : depth === 16 ? new Uint16Array(WIDTH * HEIGHT * 4) : new Float32Array(WIDTH * HEIGHT * 4);
  for (let i = 0; i < data.length; i++) data[i] = i % 4 === 3 ? full : depth === 32 ? ((i * 37) % 997) / 997 : (i * 2654435761) % (full + 1);
  made.layers.push(new FakeLayer("Hintergrund", data));
  made.active = [made.layers[0]!];
  return made;
}

function select(made: FakeDocument, centre = [50, 40], radius = 16): Uint8Array {
  const mask = new Uint8Array(WIDTH * HEIGHT);
  for (let y = 0; y < HEIGHT; y++)
    for (let x = 0; x < WIDTH; x++) mask[y * WIDTH + x] = Math.max(0, Math.min(255, Math.round(((radius - Math.hypot(x - centre[0]!, y - centre[1]!)) / 6) * 255)));
  made.selected = mask;
  return mask;
}

async function work(mode: Mode, form: Record<string, unknown> = {}, controls: Parameters<typeof prepare>[2] = []): Promise<JobResult> {
  const prepared = await prepare(mode, { steps: 1, ...form }, controls);
  const handle = submit(client, prepared, {});
  const result = await handle.result;
  await putBack(mode, "a title", prepared, result);
  handle.acknowledge();
  return result;
}

describe.each([8, 16, 32] as const)("at %i bits", (depth) => {
  test("inpainting changes only what is selected, in one layer and one step", async () => {
    const made = document(depth);
    const mask = select(made);
    const before = made.composite();
    await work("inpaint");
    expect(made.layers).toHaveLength(2);
    expect(made.history).toEqual(["a title"]);
    const after = made.composite();
    let changed = 0;
    for (let i = 0; i < mask.length; i++) {
      for (let c = 0; c < 4; c++) {
        const same = after[4 * i + c] === before[4 * i + c];
        if (mask[i] === 0 && !same) throw new Error(`pixel ${i} outside of the selection changed`);
        if (!same && c < 3) changed += 1;
      }
    }
    expect(changed).toBeGreaterThan(500);
  });

  test("what is read and put back is the same, bit for bit", async () => {
    const made = document(depth);
    const before = made.composite();
    const captured = await capture({ image: true, mask: false });
    await putBack("refine", "same", { captured: null, bounds: captured.bounds, document: made.id }, { id: "", outputs: [{ name: "image", blob: null as never }], info: {}, blobs: [await (await import("../../plugins/photoshop/panel/modes")).blobOf(captured.image!)] });
    expect(Array.from(made.composite())).toEqual(Array.from(before));
  });

  test("a new picture has the document's size and place", async () => {
    const made = document(depth);
    await work("generate", { seed: 3 });
    const layer = made.layers[1]!;
    const full = { 8: 255, 16: 32768, 32: 1 }[depth];
    for (const corner of [0, WIDTH - 1, WIDTH * (HEIGHT - 1), WIDTH * HEIGHT - 1]) expect(layer.data[4 * corner + 3]).toBe(full);
  });
});

test("a new picture in a selection lies exactly there", async () => {
  const made = document();
  select(made, [40, 30], 12);
  const { left, top, right, bottom } = made.selection.bounds!;
  await work("generate", { seed: 3 });
  const alpha = (x: number, y: number) => made.layers[1]!.data[4 * (y * WIDTH + x) + 3];
  expect([alpha(left, top), alpha(right - 1, bottom - 1)]).toEqual([255, 255]);
  expect([alpha(left - 1, top), alpha(left, top - 1), alpha(right, top), alpha(left, bottom)]).toEqual([0, 0, 0, 0]);
});

test("a picture with transparent edges is read where it lies", async () => {
  const made = host.open(WIDTH, HEIGHT);
  const data = new Uint8Array(WIDTH * HEIGHT * 4);
  for (let y = 20; y < 30; y++) for (let x = 35; x < 60; x++) data.set([x, y, 7, 255], 4 * (y * WIDTH + x));
  made.layers.push(new FakeLayer("part", data));
  const { image } = await capture({ image: true, mask: false });
  expect(image!.channels).toBe(4);
  expect(Array.from(image!.data)).toEqual(Array.from(data));
});

test("filling the empty paints what is transparent, and keeps the rest", async () => {
  const made = document();
  const data = made.layers[0]!.data;
  for (let y = 0; y < HEIGHT; y++) for (let x = 64; x < WIDTH; x++) data.set([0, 0, 0, 0], 4 * (y * WIDTH + x));
  const prepared = await prepare("outpaint", { steps: 1 });
  expect(prepared.captured!.mask!.data[64]).toBe(255);
  expect(prepared.captured!.mask!.data[63]).toBe(0);
  const handle = submit(client, prepared, {});
  await putBack("outpaint", "filled", prepared, await handle.result);
  const after = made.composite();
  for (let i = 0; i < WIDTH * HEIGHT; i++) {
    expect(after[4 * i + 3]).toBe(255);
    if (i % WIDTH < 64) for (let c = 0; c < 3; c++) expect(after[4 * i + c]).toBe(data[4 * i + c]);
  }
  expect(after[4 * 64]).not.toBe(0);
  data.fill(255);
  await expect(prepare("outpaint", {})).rejects.toMatchObject({ code: "nothing_empty" });
});

test("grey and CMYK documents are read as RGB, which the stand-in insists on", async () => {
  document(8, "CMYKColorMode");
  expect((await capture({ image: true, mask: false })).image!.channels).toBe(4);
});

test("enlarging opens a document of its own", async () => {
  const made = document();
  const pixels = new Uint8Array(192 * 160 * 3).fill(9);
  const { WireBlob } = await import("../../plugins/photoshop/client/blobs");
  const prepared = await prepare("upscale", { scale: 2 });
  expect(prepared).toMatchObject({ kind: "Upscale", job: { scale: 2 } });
  await putBack("upscale", "large", prepared, { id: "", outputs: [{ name: "image", blob: null as never }], blobs: [await WireBlob.of(pixels, [160, 192, 3], "uint8", "srgb")], info: {} });
  expect(host.documents).toHaveLength(2);
  expect([host.active!.width, host.active!.height]).toEqual([192, 160]);
  expect(made.layers).toHaveLength(1);
});

test("a material's maps become a group of layers in one step, the grey ones too", async () => {
  const made = document();
  const { WireBlob } = await import("../../plugins/photoshop/client/blobs");
  const maps = [["albedo", 3], ["height", 1]] as const;
  const blobs = await Promise.all(maps.map(([, channels]) => WireBlob.of(new Uint8Array(64 * 64 * channels).fill(80), channels === 1 ? [64, 64] : [64, 64, 3])));
  const prepared = await prepare("texture", { prompt: "bricks" });
  await putBack("texture", "bricks", prepared, { id: "", outputs: maps.map(([name], i) => ({ name, blob: blobs[i]!.ref })), blobs, info: {} });
  expect(made.layers.slice(1).map((layer) => [layer.name, layer.parent])).toEqual([["albedo", "bricks"], ["height", "bricks"]]);
  expect(made.history).toEqual(["bricks"]);
});

test("a layer that is followed travels as the control's picture, of the size of what is painted", async () => {
  const made = document();
  select(made);
  const layer = made.layers[0]!;
  const { job, captured } = await prepare("inpaint", {}, [{ layer: layer.id, name: layer.name, kind: "canny", weight: 0.5, detector: "" }]);
  const [control] = (job as { controls: { kind: string; image: { ref: { shape: number[] } } }[] }).controls;
  expect(control!.kind).toBe("canny");
  expect(control!.image.ref.shape).toEqual([captured!.image!.height, captured!.image!.width, 3]);
});

describe("what goes wrong", () => {
  test("a busy host is waited for, and that is said once", async () => {
    document();
    host.busyTimes = 3;
    let told = 0;
    await capture({ image: true, mask: false }, () => (told += 1));
    expect([host.busyTimes, told]).toEqual([0, 1]);
  });

  test("another error of the host's is not tried again", async () => {
    let times = 0;
    await expect(modal("x", async () => { times += 1; throw new Error("no"); })).rejects.toThrow("no");
    expect(times).toBe(1);
  });

  test("a document that was closed in the middle is told, and the picture waits on the server", async () => {
    const made = document();
    const prepared = await prepare("generate", { steps: 1, prompt: "of a closed document" });
    const result = await submit(client, prepared, {}).result;
    host.close(made);
    await expect(putBack("generate", "t", prepared, result)).rejects.toMatchObject({ code: "document_closed" });
    await until(async () => (await client.query<{ total: number }>("history", { search: "of a closed document" })).total === 1);
  });

  test("no document and no selection are told with a remedy", async () => {
    await expect(prepare("refine", {})).rejects.toMatchObject({ code: "no_document" });
    document();
    await expect(prepare("inpaint", {})).rejects.toMatchObject({ code: "no_selection" });
  });

  test("if placing fails nothing of it stays", async () => {
    const made = document();
    const prepared = await prepare("generate", { steps: 1 });
    const result = await submit(client, prepared, {}).result;
    const module = host.module as { imaging: { putPixels: unknown } };
    const putPixels = module.imaging.putPixels;
    module.imaging.putPixels = async () => { throw new Error("scratch disks are full"); };
    await expect(putBack("generate", "t", prepared, result)).rejects.toThrow("scratch disks");
    module.imaging.putPixels = putPixels;
    expect([made.layers.length, made.history]).toEqual([1, []]);
  });

  test("nothing is modal while it is painted", async () => {
    document();
    const door = join(server.folder, "door");
    const prepared = await prepare("generate", { steps: 1, prompt: `wait-for ${door}` });
    const handle = submit(client, prepared, {});
    expect(() => host.mustBeModal("anything")).toThrow();
    await server.do("touch", { path: door });
    await handle.result;
  });
});

test("numbers change their depth and nothing else", () => {
  const all = Uint16Array.from({ length: 65536 }, (_, i) => i);
  expect(inDepth(all, 16)).toBe(all);
  const eight = Uint8Array.from({ length: 256 }, (_, i) => i);
  expect(Array.from(inDepth(inDepth(eight, 16), 8))).toEqual(Array.from(eight));
  expect(Array.from(inDepth(inDepth(eight, 32), 8))).toEqual(Array.from(eight));
});

test("the form is drawn from the server's schema, and says in words what is wrong", async () => {
  const schema = await client.query<Schema>("schema");
  const { first, more } = fieldsOf(schema, "Generate");
  expect(first.map((field) => field.name)).toEqual(["prompt", "negative_prompt", "model", "denoising_strength", "steps", "seed"]);
  expect(more.map((field) => field.name)).toContain("mask_feather");
  expect([...first, ...more].map((field) => field.name)).not.toContain("image");
  const steps = first.find((field) => field.name === "steps")!;
  expect([valueOf(steps, "12"), valueOf(steps, "")]).toEqual([12, undefined]);
  expect(() => valueOf(steps, "1.5")).toThrow("Steps must be a whole number from 1 to 150");
});
