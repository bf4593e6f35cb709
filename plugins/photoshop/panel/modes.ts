/** What can be done from the panel: what each way of working reads, asks for, and puts back. */
import { WireBlob } from "../client/blobs";
import type { BridgeClient, Handle, JobResult, SubmitOptions } from "../client/client";
import { BridgeError } from "../client/errors";
import type { Control, GenerateJob, Jobs, TextureJob, UpscaleJob } from "../client/protocol";
import { activeDocument, areaOf, capture, dtypeOf, open, place, type Captured, type Pixels, type Placed } from "./canvas";
import type { Bounds } from "./host";

export type Mode = "generate" | "refine" | "inpaint" | "outpaint" | "texture" | "upscale";

export const MODES: Record<Mode, { title: string; kind: keyof Jobs; about: string }> = {
  generate: { title: "New picture", kind: "Generate", about: "Words become a picture, as large as the selection or the document." },
  refine: { title: "From this picture", kind: "Generate", about: "What is seen is painted anew, as strongly as you say." },
  inpaint: { title: "In the selection", kind: "Generate", about: "Only the selection is painted; around it not one pixel changes." },
  outpaint: { title: "Fill the empty", kind: "Generate", about: "What is transparent within the selection, or the document, is painted." },
  texture: { title: "Seamless material", kind: "Texture", about: "Words become a material that tiles: a group of layers, one for each map." },
  upscale: { title: "Enlarge", kind: "Upscale", about: "The picture becomes larger, in a document of its own." },
};

/** A layer that the painting follows. */
export interface ControlLayer {
  layer: number;
  name: string;
  kind: Control["kind"];
  weight: number;
  detector: string;
}

/** What is to be done with the result. */
export interface Prepared {
  kind: keyof Jobs;
  job: Jobs[keyof Jobs];
  captured: Captured | null;
  bounds: Bounds;
  document: number;
}

/** Read what a mode needs, and make the job. form: its other fields. Throws BridgeError, or what Photoshop throws. */
export async function prepare(mode: Mode, form: Record<string, unknown>, controls: ControlLayer[] = [], onBusy?: () => void): Promise<Prepared> {
  const document = activeDocument();
  const area = areaOf(document);
  if (mode === "inpaint" && !document.selection?.bounds) {
    throw new BridgeError({ code: "no_selection", sentence: "Nothing is selected.", remedy: "Select what is to be painted." });
  }
  const kind = MODES[mode].kind;
  if (mode === "generate" || mode === "texture") {
    const size = mode === "generate" ? { width: multiple(area.right - area.left), height: multiple(area.bottom - area.top) } : {};
    const followed = mode === "generate" ? await controlsOf(controls, onBusy) : [];
    const job = { ...size, ...form, ...(followed.length ? { controls: followed } : {}) } as GenerateJob & TextureJob;
    return { kind, job, captured: null, bounds: area, document: document.id };
  }
  const padding = Math.max(64, Math.round(0.25 * Math.max(area.right - area.left, area.bottom - area.top)));
  const captured = await capture({ image: true, mask: mode === "inpaint", padding }, onBusy);
  const image = captured.image!;
  const mask = mode === "outpaint" ? emptiness(image) : captured.mask;
  if (mode === "outpaint" && !mask!.data.some((value) => value > 0)) {
    throw new BridgeError({ code: "nothing_empty", sentence: "Nothing there is transparent.", remedy: "Enlarge the canvas, or clear what is to be painted." });
  }
  captured.mask = mask;
  const followed = mode === "upscale" ? [] : await controlsOf(controls, onBusy, captured.bounds);
  const blob = await blobOf(mask && mode === "outpaint" ? opaque(image) : image);
  const job = {
    ...form,
    image: blob,
    ...(mask ? { mask: await WireBlob.of(mask.data, [mask.height, mask.width]) } : {}),
    ...(followed.length ? { controls: followed } : {}),
  } as GenerateJob | UpscaleJob;
  return { kind, job, captured, bounds: captured.bounds, document: captured.document };
}

/** Submit what was prepared. */
export function submit(client: BridgeClient, { kind, job }: Prepared, options: SubmitOptions): Handle {
  return client.submit(kind, job, { ...options, autoAcknowledge: false });
}

/** Put a result where it belongs: one layer with its mask, a group of maps, or a document of its own. */
export async function putBack(mode: Mode, title: string, prepared: Pick<Prepared, "captured" | "bounds" | "document">, result: JobResult, onBusy?: () => void): Promise<void> {
  const { captured, bounds, document } = prepared;
  const pictures = result.outputs.map((output, i) => ({ name: output.name, blob: result.blobs[i]! })).filter(({ blob }) => blob.ref.shape.length > 1);
  if (pictures.length === 0) throw new BridgeError({ code: "no_picture", sentence: "The job made no picture." });
  if (mode === "upscale") {
    await open(title, pixelsOf(pictures[0]!.blob), onBusy);
    return;
  }
  const layers: Placed[] = pictures.map(({ name, blob }) => {
    const pixels = mode === "generate" ? cropped(pixelsOf(blob), bounds) : pixelsOf(blob);
    const mask = captured?.mask && captured.image ? shownBy(captured.mask, captured.image, pixels) : null;
    return { name: mode === "texture" ? name.replace(/_/g, " ") : title, bounds, pixels, mask };
  });
  await place(document, title, layers, onBusy);
}

/** What of a result's layer is shown: what was selected, however little, and what was changed beyond it. */
export function shownBy(mask: Pixels, before: Pixels, after: Pixels): Pixels {
  const shown = new Uint8Array(mask.data.length);
  const [b, a] = [before.channels, after.channels];
  const same = before.data.constructor === after.data.constructor && before.data.length / b === after.data.length / a;
  for (let i = 0; i < shown.length; i++) {
    let differs = mask.data[i]! > 0;
    for (let c = 0; same && !differs && c < Math.min(a, b); c++) differs = before.data[i * b + c] !== after.data[i * a + c];
    shown[i] = differs ? 255 : 0;
  }
  return { data: shown, width: mask.width, height: mask.height, channels: 1 };
}

/** Where a picture is transparent: 255 where nothing is. */
function emptiness({ data, width, height, channels }: Pixels): Pixels {
  const full = data instanceof Float32Array ? 1 : 2 ** (data.BYTES_PER_ELEMENT * 8) - 1;
  const out = new Uint8Array(width * height);
  for (let i = 0; i < out.length; i++) out[i] = Math.round(255 * (1 - data[i * channels + channels - 1]! / full));
  return { data: out, width, height, channels: 1 };
}

/** The same picture without transparency: the model is to fill it, not to keep it. */
function opaque(image: Pixels): Pixels {
  const data = image.data.slice();
  const full = data instanceof Float32Array ? 1 : 2 ** (data.BYTES_PER_ELEMENT * 8) - 1;
  for (let i = image.channels - 1; i < data.length; i += image.channels) data[i] = full;
  return { ...image, data };
}

export function blobOf({ data, width, height, channels }: Pixels): Promise<WireBlob> {
  return WireBlob.of(data, [height, width, channels], dtypeOf(data), data instanceof Float32Array ? "linear" : "srgb");
}

/** A result's picture; a map of one channel becomes grey. */
export function pixelsOf({ data, ref }: WireBlob): Pixels {
  const [height = 1, width = 1, channels = 1] = ref.shape;
  const bytes = data.slice().buffer;
  const numbers = ref.dtype === "uint16" ? new Uint16Array(bytes) : ref.dtype === "float32" ? new Float32Array(bytes) : new Uint8Array(bytes);
  if (channels >= 3) return { data: numbers, width, height, channels };
  const grey = new (numbers.constructor as Uint8ArrayConstructor)(width * height * 3) as Pixels["data"];
  for (let i = 0; i < grey.length; i++) grey[i] = numbers[Math.floor(i / 3) * channels]!;
  return { data: grey, width, height, channels: 3 };
}

/** The upper left of a picture that was asked for in multiples of eight, as large as what it fills. */
function cropped(pixels: Pixels, bounds: Bounds): Pixels {
  const width = Math.min(pixels.width, bounds.right - bounds.left);
  const height = Math.min(pixels.height, bounds.bottom - bounds.top);
  if (width === pixels.width && height === pixels.height) return pixels;
  const rows = Array.from({ length: height }, (_, y) => {
    const from = y * pixels.width * pixels.channels;
    return pixels.data.subarray(from, from + width * pixels.channels);
  });
  const data = new (pixels.data.constructor as Uint8ArrayConstructor)(width * height * pixels.channels) as Pixels["data"];
  rows.forEach((row, y) => data.set(row, y * width * pixels.channels));
  return { data, width, height, channels: pixels.channels };
}

async function controlsOf(controls: ControlLayer[], onBusy?: () => void, bounds?: Bounds): Promise<Control[]> {
  const made: Control[] = [];
  for (const { layer, kind, weight, detector } of controls) {
    const { image } = await capture({ image: true, mask: false, layer }, onBusy);
    const fits = bounds === undefined || (image!.width === bounds.right - bounds.left && image!.height === bounds.bottom - bounds.top);
    const seen = fits ? image! : (await capture({ image: true, mask: true, padding: boundsPadding(bounds), layer }, onBusy)).image!;
    made.push({ kind, weight, detector, image: await blobOf(withoutAlpha(seen)) });
  }
  return made;
}

/** The padding that `prepare` took around the selection. */
function boundsPadding(bounds: Bounds): number {
  const area = areaOf(activeDocument());
  return Math.max(area.left - bounds.left, area.top - bounds.top, bounds.right - area.right, bounds.bottom - area.bottom);
}

/** 8-bit RGB: what control images are. */
function withoutAlpha({ data, width, height, channels }: Pixels): Pixels {
  const full = data instanceof Float32Array ? 1 : 2 ** (data.BYTES_PER_ELEMENT * 8) - 1;
  const out = new Uint8Array(width * height * 3);
  for (let i = 0; i < width * height; i++) for (let c = 0; c < 3; c++) out[3 * i + c] = Math.round((255 * Math.min(full, data[i * channels + c]!)) / full);
  return { data: out, width, height, channels: 3 };
}

/** The server's sizes are multiples of eight; never smaller than what is to be filled. */
const multiple = (side: number) => Math.min(8192, Math.max(64, Math.ceil(side / 8) * 8));
