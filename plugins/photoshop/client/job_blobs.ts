/** The blobs of a job, and its fields without them. */
import type { BlobRef, WireBlob } from "./blobs";
import { hex } from "./bytes";
import { plainRef } from "./codec";

/** A blob that a job speaks of: whole, or one that the server has already (a repeated job's). */
export type JobBlob = WireBlob | BlobRef;

export function isWhole(blob: JobBlob): blob is WireBlob {
  return "data" in blob;
}

export function refOf(blob: JobBlob): BlobRef {
  return isWhole(blob) ? blob.ref : blob;
}

/** A result's blob by its digest, as maps of blobs name it. */
export function blobOf(blobs: Map<string, WireBlob>, ref: BlobRef): WireBlob {
  return blobs.get(hex(ref.digest))!;
}

/** A job's fields as plain values, what is undefined left out, and the blobs that it speaks of. */
export function separated(job: unknown): { plain: unknown; blobs: JobBlob[] } {
  const blobs: JobBlob[] = [];
  const walk = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(walk);
    if (typeof value !== "object" || value === null || value instanceof Uint8Array) return value;
    if ("digest" in value || ("ref" in value && "data" in value)) {
      const blob = value as JobBlob;
      blobs.push(blob);
      return plainRef(isWhole(blob) ? blob.ref : blob);
    }
    return Object.fromEntries(Object.entries(value).filter(([, inner]) => inner !== undefined).map(([name, inner]) => [name, walk(inner)]));
  };
  return { plain: walk(job), blobs };
}
