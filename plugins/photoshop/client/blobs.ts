/** Payloads: arrays of pixels and other bytes, named by what is in them. docs/protocol.md says how. */
import { sha256 as nobleSha256 } from "@noble/hashes/sha2.js";
import { hex, sameBytes } from "./bytes";
import { ProtocolError } from "./errors";

export type DType = "uint8" | "uint16" | "uint32" | "float16" | "float32";
export type ColorSpace = "srgb" | "linear" | "data";

export const ITEM_SIZE: Record<DType, number> = { uint8: 1, uint16: 2, uint32: 4, float16: 2, float32: 4 };
export const TILE = 256;
export const RUN = TILE * TILE;
export const DIGEST_SIZE = 32;
const MAX_PART_BYTES = 1 << 20;
const MAX_BLOB_BYTES = 1 << 30;
const MAX_SIDE = 1 << 15;

/** A blob's name and description, without its bytes. shape: [h, w], [h, w, channels] or [n]. */
export interface BlobRef {
  digest: Uint8Array;
  shape: number[];
  dtype?: DType;
  color?: ColorSpace;
}

/** A blob with its bytes, little-endian, row by row, and the digests of its parts, 32 bytes each. */
export class WireBlob {
  constructor(
    readonly ref: BlobRef,
    readonly data: Uint8Array,
    readonly partDigests: Uint8Array,
  ) {}

  /** A blob over these bytes, without a copy: do not write into them afterwards. */
  static async of(data: ArrayBufferView, shape: number[], dtype: DType = "uint8", color: ColorSpace = "data") {
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    checkShape(shape, dtype, color);
    if (bytes.length !== nbytesOf({ shape, dtype })) {
      throw new RangeError(`${bytes.length} bytes; the shape ${shape.join("×")} of ${dtype} needs ${nbytesOf({ shape, dtype })}`);
    }
    const digests = await hashParts(bytes, shape, dtype);
    const digest = await blobDigest(digests, shape, dtype, color);
    return new WireBlob({ digest, shape, dtype, color }, bytes, digests);
  }
}

export function nbytesOf(ref: Pick<BlobRef, "shape" | "dtype">): number {
  return ref.shape.reduce((product, side) => product * side, 1) * ITEM_SIZE[ref.dtype ?? "uint8"];
}

/** Refuse what cannot be a blob, before a byte is allocated for it. */
export function checkShape(shape: unknown, dtype: unknown, color: unknown): void {
  const bad = (why: string) => new ProtocolError("invalid_value", `A blob cannot be: ${why}.`);
  if (typeof dtype !== "string" || !(dtype in ITEM_SIZE)) throw bad(`its dtype is ${String(dtype)}`);
  if (color !== "srgb" && color !== "linear" && color !== "data") throw bad(`its color is ${String(color)}`);
  if (!Array.isArray(shape) || shape.length < 1 || shape.length > 3) throw bad("its shape has not 1 to 3 sides");
  if (!shape.every((side) => Number.isInteger(side) && side >= 1)) throw bad("a side is not a positive integer");
  const sides = shape as number[];
  if (sides.length > 1 && Math.max(sides[0]!, sides[1]!) > MAX_SIDE) throw bad(`a side is longer than ${MAX_SIDE}`);
  if (nbytesOf({ shape: sides, dtype: dtype as DType }) > MAX_BLOB_BYTES) throw bad(`it is larger than ${MAX_BLOB_BYTES} bytes`);
  if (sides.length === 3 && sides[2]! * ITEM_SIZE[dtype as DType] > MAX_PART_BYTES / RUN) throw bad("a pixel is larger than 16 bytes");
}

export function checkRef(value: unknown): BlobRef {
  const ref = value as Partial<BlobRef> | null;
  if (typeof ref !== "object" || ref === null || !(ref.digest instanceof Uint8Array) || ref.digest.length !== DIGEST_SIZE) {
    throw new ProtocolError("invalid_value", "A blob lacks its digest of 32 bytes.");
  }
  checkShape(ref.shape, ref.dtype ?? "uint8", ref.color ?? "data");
  return ref as BlobRef;
}

/** Where one part lies: `rows` runs of `rowBytes` bytes, `stride` bytes apart. */
export interface Part {
  offset: number;
  rows: number;
  rowBytes: number;
  stride: number;
}

export function partCount(shape: number[]): number {
  if (shape.length === 1) return Math.ceil(shape[0]! / RUN);
  return Math.ceil(shape[0]! / TILE) * Math.ceil(shape[1]! / TILE);
}

export function partAt(index: number, ref: Pick<BlobRef, "shape" | "dtype">): Part {
  const size = ITEM_SIZE[ref.dtype ?? "uint8"];
  const [height, width, channels] = ref.shape;
  if (width === undefined) {
    const items = Math.min(RUN, height! - index * RUN);
    return { offset: index * RUN * size, rows: 1, rowBytes: items * size, stride: items * size };
  }
  const pixel = (channels ?? 1) * size;
  const columns = Math.ceil(width / TILE);
  const top = Math.floor(index / columns) * TILE;
  const left = (index % columns) * TILE;
  return {
    offset: (top * width + left) * pixel,
    rows: Math.min(TILE, height! - top),
    rowBytes: Math.min(TILE, width - left) * pixel,
    stride: width * pixel,
  };
}

/** A part's own bytes, one row behind the other; without a copy where they lie so. */
export function readPart(part: Part, data: Uint8Array): Uint8Array {
  if (part.rows === 1 || part.rowBytes === part.stride) {
    return data.subarray(part.offset, part.offset + part.rows * part.rowBytes);
  }
  const bytes = new Uint8Array(part.rows * part.rowBytes);
  for (let row = 0; row < part.rows; row++) {
    const from = part.offset + row * part.stride;
    bytes.set(data.subarray(from, from + part.rowBytes), row * part.rowBytes);
  }
  return bytes;
}

/** Check bytes against the digest that names them. Throws ProtocolError. */
export async function verify(ref: BlobRef, data: Uint8Array): Promise<WireBlob> {
  const dtype = ref.dtype ?? "uint8";
  const digests = await hashParts(data, ref.shape, dtype);
  if (!sameBytes(await blobDigest(digests, ref.shape, dtype, ref.color ?? "data"), ref.digest)) {
    throw new ProtocolError("bad_blob", "A blob's bytes do not have the digest that names them.", hex(ref.digest));
  }
  return new WireBlob(ref, data, digests);
}

export async function hashParts(data: Uint8Array, shape: number[], dtype: DType): Promise<Uint8Array> {
  const count = partCount(shape);
  const digests = new Uint8Array(count * DIGEST_SIZE);
  const hashes: Promise<void>[] = [];
  for (let index = 0; index < count; index++) {
    const hash = sha256(readPart(partAt(index, { shape, dtype }), data));
    if (hash instanceof Promise) hashes.push(hash.then((digest) => digests.set(digest, index * DIGEST_SIZE)));
    else digests.set(hash, index * DIGEST_SIZE);
  }
  await Promise.all(hashes);
  return digests;
}

export async function blobDigest(parts: Uint8Array, shape: number[], dtype: DType, color: ColorSpace): Promise<Uint8Array> {
  const head = `brushwire blob 1\n${dtype}\n${shape.join("x")}\n${color}\n`;
  const bytes = new Uint8Array(head.length + parts.length);
  for (let i = 0; i < head.length; i++) bytes[i] = head.charCodeAt(i);
  bytes.set(parts, head.length);
  return sha256(bytes);
}

/** The platform's own SHA-256 where it has one, which is several times as fast; hosts such as Photoshop do not. */
function sha256(bytes: Uint8Array): Uint8Array | Promise<Uint8Array> {
  const subtle = globalThis.crypto?.subtle;
  if (subtle === undefined) return nobleSha256(bytes);
  return subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>).then((digest) => new Uint8Array(digest));
}
