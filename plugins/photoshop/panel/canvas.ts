/**
 * Pixels out of Photoshop and back. The only file that calls its API.
 *
 * Modal is entered to read and to write and never while something is painted: Photoshop stays usable meanwhile. What it
 * hands out is trimmed to what is not empty, is 0 to 32768 at 16 bit unless asked otherwise, has three components or
 * four, and must be disposed of; here it becomes an array of exactly the asked bounds.
 */
import type { DType } from "../client/blobs";
import { BridgeError } from "../client/errors";
import { photoshop, type Bounds, type Document, type ExecutionContext, type ImageData } from "./host";

/** (height, width, channels) numbers, row by row; 8 and 16 bit over their whole range, 32 bit linear floats. */
export interface Pixels {
  data: Uint8Array | Uint16Array | Float32Array;
  width: number;
  height: number;
  channels: number;
}

/** What was read of a document: where, its picture, and where to paint (0 to 255), null: everywhere. */
export interface Captured {
  document: number;
  bounds: Bounds;
  bits: 8 | 16 | 32;
  image: Pixels | null;
  mask: Pixels | null;
}

const SRGB = "sRGB IEC61966-2.1";
const LINEAR = "sRGB IEC61966-2.1 (Linear RGB Profile)";
const GREY = "Gray Gamma 2.2";
/** Photoshop's number for "another modal state or dialog is there". */
const BUSY = 9;
const WAITS = [100, 250, 500, 1000];
const PATIENCE = 120_000;

/** Do something in the modal state; while the host is busy, wait and try again. onBusy: told once. */
export async function modal<T>(name: string, work: (context: ExecutionContext) => Promise<T>, onBusy: () => void = () => {}): Promise<T> {
  const end = Date.now() + PATIENCE;
  for (let attempt = 0; ; attempt++) {
    try {
      return await photoshop().core.executeAsModal(work, { commandName: name });
    } catch (error) {
      if ((error as { number?: number }).number !== BUSY || Date.now() > end) throw error;
      if (attempt === 0) onBusy();
      await new Promise((resolve) => setTimeout(resolve, WAITS[Math.min(attempt, WAITS.length - 1)]));
    }
  }
}

/** The document that is worked on. Throws BridgeError where there is none. */
export function activeDocument(): Document {
  const document = photoshop().app.activeDocument;
  if (document === null) throw new BridgeError({ code: "no_document", sentence: "No document is open.", remedy: "Open one." });
  return document;
}

export function bitsOf(document: Document): 8 | 16 | 32 {
  const bits = Number(/\d+$/.exec(document.bitsPerChannel)?.[0]);
  if (bits === 8 || bits === 16 || bits === 32) return bits;
  throw new BridgeError({ code: "bad_depth", sentence: "This document's bit depth cannot be painted in.", remedy: "Convert it to 8, 16 or 32 bits." });
}

/** The selection's bounds, or the whole document's. */
export function areaOf(document: Document): Bounds {
  const bounds = document.selection?.bounds;
  if (!bounds) return { left: 0, top: 0, right: document.width, bottom: document.height };
  const { left, top, right, bottom } = bounds;
  return { left: Math.floor(left), top: Math.floor(top), right: Math.ceil(right), bottom: Math.ceil(bottom) };
}

/** Bounds with `by` pixels around them, within the document. */
export function grown(bounds: Bounds, by: number, document: Document): Bounds {
  return {
    left: Math.max(0, bounds.left - by),
    top: Math.max(0, bounds.top - by),
    right: Math.min(document.width, bounds.right + by),
    bottom: Math.min(document.height, bounds.bottom + by),
  };
}

export interface Wanted {
  image: boolean;
  mask: boolean;
  /** Pixels around the selection that the model sees. */
  padding?: number;
  /** One layer alone, instead of the picture that is seen. */
  layer?: number;
}

/** Read the picture and the selection, as one moment shows them. */
export function capture(wanted: Wanted, onBusy?: () => void): Promise<Captured> {
  return modal(
    "Brushwire: read",
    async () => {
      const document = activeDocument();
      const selected = areaOf(document);
      const hasSelection = Boolean(document.selection?.bounds);
      const bounds = wanted.mask && hasSelection ? grown(selected, wanted.padding ?? 0, document) : selected;
      const bits = bitsOf(document);
      const image = wanted.image ? await readPixels(document.id, bounds, bits, wanted.layer) : null;
      const mask = wanted.mask && hasSelection ? await readSelection(document.id, bounds) : null;
      return { document: document.id, bounds, bits, image, mask };
    },
    onBusy,
  );
}

/** A document's or a layer's pixels in RGBA, whatever its mode; what is empty is transparent. Within modal. */
async function readPixels(documentID: number, bounds: Bounds, bits: 8 | 16 | 32, layerID?: number): Promise<Pixels> {
  const { imaging } = photoshop();
  const { imageData, sourceBounds } = await imaging.getPixels({
    documentID,
    ...(layerID === undefined ? {} : { layerID }),
    sourceBounds: bounds,
    componentSize: bits,
    colorSpace: "RGB", // CMYK and grey are converted by Photoshop, with its own profiles
    colorProfile: bits === 32 ? LINEAR : SRGB,
  });
  return taken(imageData, sourceBounds, bounds, 4);
}

/** The selection with its feathering, 0 to 255. Within modal. */
async function readSelection(documentID: number, bounds: Bounds): Promise<Pixels> {
  const { imageData, sourceBounds } = await photoshop().imaging.getSelection({ documentID, sourceBounds: bounds, componentSize: 8 });
  return taken(imageData, sourceBounds, bounds, 1);
}

/** An image's numbers, laid where they belong in the asked bounds; without an alpha of its own it is opaque. */
async function taken(imageData: ImageData, source: Bounds, bounds: Bounds, channels: number): Promise<Pixels> {
  try {
    const { width, height, components } = imageData;
    const from = await imageData.getData({ chunky: true, fullRange: true });
    const out: Pixels = { data: arrayOf(imageData.componentSize, (bounds.right - bounds.left) * (bounds.bottom - bounds.top) * channels), width: bounds.right - bounds.left, height: bounds.bottom - bounds.top, channels };
    const full = imageData.componentSize === 32 ? 1 : 2 ** imageData.componentSize - 1;
    if (components === channels && width === out.width && height === out.height) {
      out.data.set(from);
      return out;
    }
    for (let y = 0; y < height; y++) {
      const row = y + source.top - bounds.top;
      if (row < 0 || row >= out.height) continue;
      for (let x = 0; x < width; x++) {
        const column = x + source.left - bounds.left;
        if (column < 0 || column >= out.width) continue;
        const [to, at] = [(row * out.width + column) * channels, (y * width + x) * components];
        for (let c = 0; c < channels; c++) out.data[to + c] = c < components ? from[at + c]! : full;
      }
    }
    return out;
  } finally {
    imageData.dispose();
  }
}

/** Something to put into the document. pixels: RGB(A) of `bounds`. mask: what of the layer is shown, 0 or 255. */
export interface Placed {
  name: string;
  bounds: Bounds;
  pixels: Pixels;
  mask?: Pixels | null;
}

/** Put results into a document as layers, several in a group, in one step of its history. Throws BridgeError. */
export async function place(documentID: number, title: string, layers: Placed[], onBusy?: () => void): Promise<number[]> {
  return modal(
    title,
    async (context) => {
      const document = photoshop().app.documents.find((one) => one.id === documentID);
      if (document === undefined) {
        throw new BridgeError({ code: "document_closed", sentence: "The document was closed meanwhile.", remedy: "The picture is in the history; place it from there." });
      }
      const step = await context.hostControl.suspendHistory({ documentID, name: title });
      try {
        const made = [];
        for (const layer of layers) made.push(await placeOne(document, layer));
        if (made.length > 1) await document.createLayerGroup({ name: title, fromLayers: made });
        await context.hostControl.resumeHistory(step, true);
        return made.map((layer) => layer.id);
      } catch (error) {
        await context.hostControl.resumeHistory(step, false); // nothing of it stays
        throw error;
      }
    },
    onBusy,
  );
}

async function placeOne(document: Document, { name, bounds, pixels, mask }: Placed) {
  const { imaging, action } = photoshop();
  const layer = await document.createLayer({ name });
  const target = { documentID: document.id, layerID: layer.id, targetBounds: { left: bounds.left, top: bounds.top } };
  const image = await imageOf(pixels, bitsOf(document));
  try {
    await imaging.putPixels({ ...target, imageData: image, replace: true });
  } finally {
    image.dispose();
  }
  if (mask) {
    // By the names that commands have inside, which are the same in every language of Photoshop.
    await action.batchPlay(
      [{ _obj: "make", new: { _class: "channel" }, at: { _ref: [{ _ref: "channel", _enum: "channel", _value: "mask" }, { _ref: "layer", _id: layer.id }] }, using: { _enum: "userMaskEnabled", _value: "hideAll" } }],
      {},
    );
    const masked = await imaging.createImageDataFromBuffer(mask.data, {
      width: mask.width, height: mask.height, components: 1, chunky: true, colorSpace: "Grayscale", colorProfile: GREY,
    });
    try {
      await imaging.putLayerMask({ ...target, kind: "user", imageData: masked, replace: true });
    } finally {
      masked.dispose();
    }
  }
  return layer;
}

/** Open results in a document of their own. */
export function open(title: string, pixels: Pixels, onBusy?: () => void): Promise<number> {
  return modal(
    title,
    async () => {
      const depth = pixels.data instanceof Uint8Array ? 8 : pixels.data instanceof Uint16Array ? 16 : 32;
      const document = await photoshop().app.createDocument({ name: title, width: pixels.width, height: pixels.height, resolution: 72, mode: "RGBColorMode", depth, fill: "transparent" });
      await placeOne(document, { name: title, bounds: { left: 0, top: 0, right: pixels.width, bottom: pixels.height }, pixels });
      return document.id;
    },
    onBusy,
  );
}

function imageOf(pixels: Pixels, bits: 8 | 16 | 32): Promise<ImageData> {
  const { width, height, channels } = pixels;
  return photoshop().imaging.createImageDataFromBuffer(inDepth(pixels.data, bits), {
    width, height, components: channels, chunky: true, colorSpace: "RGB", colorProfile: bits === 32 ? LINEAR : SRGB, fullRange: true,
  });
}

/** Numbers of one depth as those of another; the same depth stays as it is, bit for bit. */
export function inDepth(data: Pixels["data"], bits: 8 | 16 | 32): Pixels["data"] {
  const have = data.BYTES_PER_ELEMENT * 8;
  if (have === bits) return data;
  const level = have === 32 ? (value: number) => toSrgb(value) : (value: number) => value / (2 ** have - 1);
  const out = arrayOf(bits, data.length);
  const full = bits === 32 ? 1 : 2 ** bits - 1;
  for (let i = 0; i < data.length; i++) {
    const value = level(data[i]!);
    out[i] = bits === 32 ? toLinear(value) : Math.round(Math.min(1, Math.max(0, value)) * full);
  }
  return out;
}

function arrayOf(bits: number, length: number): Pixels["data"] {
  return bits === 8 ? new Uint8Array(length) : bits === 16 ? new Uint16Array(length) : new Float32Array(length);
}

const toLinear = (value: number) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
const toSrgb = (value: number) => (value <= 0.0031308 ? value * 12.92 : 1.055 * value ** (1 / 2.4) - 0.055);

export function dtypeOf(data: Pixels["data"]): DType {
  return data instanceof Uint8Array ? "uint8" : data instanceof Uint16Array ? "uint16" : "float32";
}
