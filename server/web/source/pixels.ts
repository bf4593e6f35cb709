/** Blobs as pictures that a browser can show. */
import type { DType, WireBlob } from "../../../plugins/photoshop/client/blobs";

/** A blob's numbers, copied where they do not begin at a multiple of their size. */
export function numbers(data: Uint8Array, dtype: DType): ArrayLike<number> {
  const aligned = data.byteOffset % 4 === 0 ? data : data.slice();
  const { buffer, byteOffset, byteLength } = aligned;
  if (dtype === "uint8") return aligned;
  if (dtype === "uint16") return new Uint16Array(buffer, byteOffset, byteLength / 2);
  if (dtype === "uint32") return new Uint32Array(buffer, byteOffset, byteLength / 4);
  if (dtype === "float32") return new Float32Array(buffer, byteOffset, byteLength / 4);
  return Float32Array.from(new Uint16Array(buffer, byteOffset, byteLength / 2), halfToFloat);
}

function halfToFloat(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 31;
  const fraction = half & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** What a number of this kind is as a level from 0 to 1. Data of floats is shown from its least to its largest value. */
function levelOf(values: ArrayLike<number>, dtype: DType, color: string): (value: number) => number {
  if (dtype === "uint8") return (value) => value / 255;
  if (dtype === "uint16") return (value) => value / 65535;
  if (color === "linear") return (value) => (value <= 0.0031308 ? value * 12.92 : 1.055 * value ** (1 / 2.4) - 0.055);
  if (color === "srgb") return (value) => value;
  let low = Infinity;
  let high = -Infinity;
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (Number.isFinite(value)) {
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  const span = high - low || 1;
  return (value) => (Number.isFinite(value) ? (value - low) / span : 1);
}

/** An array of [h, w] or [h, w, 1 to 4] as 8-bit RGBA. */
export function toImageData(data: Uint8Array, shape: number[], dtype: DType = "uint8", color = "srgb"): ImageData {
  const [height = 1, width = 1, channels = 1] = shape;
  const values = numbers(data, dtype);
  const level = levelOf(values, dtype, color);
  const pixels = new Uint8ClampedArray(width * height * 4);
  for (let i = 0; i < width * height; i++) {
    const from = i * channels;
    for (let c = 0; c < 3; c++) pixels[4 * i + c] = level(values[from + (channels >= 3 ? c : 0)]!) * 255;
    pixels[4 * i + 3] = channels === 4 ? level(values[from + 3]!) * 255 : 255;
  }
  return new ImageData(pixels, width, height);
}

export function isPicture(shape: number[]): boolean {
  return shape.length === 2 || (shape.length === 3 && shape[2]! <= 4);
}

export function drawn(image: ImageData): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  canvas.width = image.width;
  canvas.height = image.height;
  canvas.getContext("2d")!.putImageData(image, 0, 0);
  return canvas;
}

export async function pixelsToUrl(data: Uint8Array, shape: number[], dtype?: DType, color?: string): Promise<string> {
  const canvas = drawn(toImageData(data, shape, dtype, color));
  const blob = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve));
  return URL.createObjectURL(blob!);
}

export function blobToUrl({ data, ref }: WireBlob): Promise<string> {
  return pixelsToUrl(data, ref.shape, ref.dtype, ref.color);
}
