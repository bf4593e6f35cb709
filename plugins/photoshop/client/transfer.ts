/** Blobs on their way: cut into frames on one side, put together on the other; and what leaves first. */
import { nbytesOf, partAt, partCount, readPart, type BlobRef, type WireBlob } from "./blobs";
import { hex } from "./bytes";
import { encode } from "./codec";
import { ProtocolError, type Problem } from "./errors";
import type { ChunkMessage, NeedMessage } from "./protocol";

export const CHUNK_BYTES = 256 * 1024;

/** What a `need` asked for of one blob, made into frames one at a time, when the socket has room. */
export class Outgoing {
  private readonly parts: number[] | null;
  private offset: number;

  constructor(
    readonly blob: WireBlob,
    need: NeedMessage,
  ) {
    const count = partCount(blob.ref.shape);
    const parts = need.parts ?? [];
    this.offset = need.offset ?? 0;
    if (this.offset > blob.data.length || parts.some((index) => index < 0 || index >= count)) {
      throw new ProtocolError("bad_need", "A need asks for what its blob does not have.", hex(blob.ref.digest));
    }
    this.parts = parts.length > 0 ? [...new Set(parts)].reverse() : null;
  }

  /** The next frame, or null when all that was asked for has been taken. */
  nextFrame(): Uint8Array | null {
    const { ref, data } = this.blob;
    if (this.parts !== null) {
      const part = this.parts.pop();
      return part === undefined ? null : encode({ type: "chunk", digest: ref.digest, part }, readPart(partAt(part, ref), data));
    }
    if (this.offset >= data.length) return null;
    const offset = this.offset;
    this.offset = Math.min(offset + CHUNK_BYTES, data.length);
    return encode({ type: "chunk", digest: ref.digest, offset }, data.subarray(offset, this.offset));
  }
}

/** A blob that is arriving, whole; it outlives the socket that it came through. */
export class Incoming {
  readonly into: Uint8Array;
  private offset = 0;

  constructor(readonly ref: BlobRef) {
    this.into = new Uint8Array(nbytesOf(ref));
  }

  /** Whether every byte is here. Whether they are the right ones, `verify` tells. */
  get complete(): boolean {
    return this.offset === this.into.length;
  }

  /** Asks for what has not arrived. */
  need(): NeedMessage {
    return { type: "need", digest: this.ref.digest, offset: this.offset };
  }

  /** Take one chunk. Throws ProtocolError where it is not the one that was asked for. */
  write(chunk: ChunkMessage, payload: Uint8Array): void {
    const offset = chunk.offset ?? 0;
    if ((chunk.part ?? null) !== null || offset !== this.offset || offset + payload.length > this.into.length) {
      throw new ProtocolError("unexpected_chunk", "A chunk was not asked for, or is here already.", hex(this.ref.digest));
    }
    this.into.set(payload, offset);
    this.offset += payload.length;
  }
}

/** There is no memory for a blob. */
export class NoMemory extends Error {
  readonly problem: Problem;

  constructor(ref: BlobRef) {
    const sentence = `There is no memory for a result of ${nbytesOf(ref) >> 20} MiB.`;
    super(sentence);
    this.problem = { code: "no_memory", sentence, remedy: "Close what you do not need, and take it out of the history." };
  }
}

/** The blobs that are on their way here, by their digests in hexadecimal. */
export class Arrivals {
  private readonly incoming = new Map<string, Incoming>();
  /** Through one socket a blob is asked for once: a second need would cross the first one's chunks. */
  private readonly asked = new Set<string>();

  constructor(private readonly say: (need: NeedMessage) => void) {}

  has(digest: string): boolean {
    return this.incoming.has(digest);
  }

  /** A new socket is open, through which nothing was asked for yet. */
  reconnected(): void {
    this.asked.clear();
  }

  clear(): void {
    this.incoming.clear();
  }

  /** Ask for a blob, also through later sockets. Throws NoMemory. */
  expect(ref: BlobRef): void {
    const digest = hex(ref.digest);
    let incoming: Incoming;
    try {
      incoming = this.incoming.get(digest) ?? new Incoming(ref);
    } catch {
      throw new NoMemory(ref);
    }
    this.incoming.set(digest, incoming);
    if (this.asked.has(digest)) return;
    this.asked.add(digest);
    this.say(incoming.need());
  }

  /** Ask for everything that was on its way, from where it stopped. */
  resume(): void {
    for (const { ref } of [...this.incoming.values()]) this.expect(ref);
  }

  /** Write a chunk where it belongs; with the last one the blob is there. Throws ProtocolError where nobody asked for it. */
  take(chunk: ChunkMessage, payload: Uint8Array): Incoming | null {
    const digest = hex(chunk.digest);
    const incoming = this.incoming.get(digest);
    if (incoming === undefined) throw new ProtocolError("unexpected_chunk", "A chunk was not asked for.", digest);
    incoming.write(chunk, payload);
    if (!incoming.complete) return null;
    this.stop(digest);
    return incoming;
  }

  /** Expect no more chunks of that blob. */
  stop(digest: string): void {
    this.asked.delete(digest);
    this.incoming.delete(digest);
  }
}

/** What waits to leave through one socket: what is said before payload, which is made when it is taken. */
export class SendQueue {
  onReady: () => void = () => {};
  private readonly control: Uint8Array[] = [];
  private bulk: Outgoing[] = [];

  say(frame: Uint8Array): void {
    this.control.push(frame);
    this.onReady();
  }

  /** Add a blob's bytes; a second request for the same blob takes the place of the first. */
  serve(outgoing: Outgoing): void {
    this.bulk = this.bulk.filter((other) => hex(other.blob.ref.digest) !== hex(outgoing.blob.ref.digest));
    this.bulk.push(outgoing);
    this.onReady();
  }

  /** The frame that leaves next, or null when nothing waits. */
  nextFrame(): Uint8Array | null {
    const said = this.control.shift();
    if (said !== undefined) return said;
    for (let outgoing = this.bulk.shift(); outgoing !== undefined; outgoing = this.bulk.shift()) {
      const chunk = outgoing.nextFrame();
      if (chunk !== null) {
        this.bulk.push(outgoing); // each blob in turn
        return chunk;
      }
    }
    return null;
  }
}

