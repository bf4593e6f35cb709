/** The golden frames, and random messages of each language sent to the other. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { blobDigest, hashParts, WireBlob, type DType } from "../../plugins/photoshop/client/blobs";
import { fromHex, hex, isUtf8 } from "../../plugins/photoshop/client/bytes";
import { decode, encode } from "../../plugins/photoshop/client/codec";
import { ProtocolError } from "../../plugins/photoshop/client/errors";
import { MESSAGES, RECORDS, type Field, type Message } from "../../plugins/photoshop/client/protocol";
import { Python, ROOT } from "./python";

const vectors = (name: string) => JSON.parse(readFileSync(join(ROOT, "bridge_protocol/vectors", name), "utf8")) as any[];

function fromJson(value: any): any {
  if (Array.isArray(value)) return value.map(fromJson);
  if (typeof value !== "object" || value === null) return value;
  if (Object.keys(value).join() === "$bytes") return fromHex(value.$bytes);
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, fromJson(inner)]));
}

describe("golden frames", () => {
  test.each(vectors("frames.json"))("$name decodes and encodes to the same bytes", ({ header, payload, frame }) => {
    const decoded = decode(fromHex(frame));
    expect(decoded.message).toMatchObject(fromJson(header));
    expect(hex(decoded.payload)).toBe(payload);
    expect(hex(encode(decoded.message as Message, decoded.payload))).toBe(frame);
    expect(hex(encode(fromJson(header), fromHex(payload)))).toBe(frame);
  });

  test.each(vectors("refused.json"))("$name is refused as $code", ({ frame, code }) => {
    let caught: unknown;
    try {
      decode(fromHex(frame));
    } catch (error) {
      caught = error;
    }
    expect(caught).toBeInstanceOf(ProtocolError);
    expect((caught as ProtocolError).code).toBe(code);
  });

  test.each(vectors("blobs.json"))("$name has its digests", async ({ shape, dtype, color, bytes, parts, digest }) => {
    const data = Uint8Array.from({ length: bytes }, (_, i) => (31 * i + (i >> 8)) & 255);
    const digests = await hashParts(data, shape, dtype);
    expect(hex(digests)).toBe(parts.join(""));
    expect(hex(await blobDigest(digests, shape, dtype, color))).toBe(digest);
  });

  test("without the platform's SHA-256 the digests are the same", async () => {
    const data = Uint8Array.from({ length: 300 * 300 }, (_, i) => i & 255);
    const native = await WireBlob.of(data, [300, 300]);
    const original = Object.getOwnPropertyDescriptor(globalThis, "crypto")!;
    Object.defineProperty(globalThis, "crypto", { value: {}, configurable: true });
    try {
      expect(hex((await WireBlob.of(data, [300, 300])).ref.digest)).toBe(hex(native.ref.digest));
    } finally {
      Object.defineProperty(globalThis, "crypto", original);
    }
  });
});

test("texts are checked as strictly as the platform does", () => {
  const strict = new TextDecoder("utf-8", { fatal: true });
  const isText = (bytes: Uint8Array) => {
    try {
      strict.decode(bytes);
      return true;
    } catch {
      return false;
    }
  };
  const nearly = fc.uint8Array({ maxLength: 6 }).chain((noise) => fc.string({ unit: "binary", maxLength: 4 }).map((text) => new Uint8Array([...new TextEncoder().encode(text), ...noise])));
  fc.assert(fc.property(nearly, (bytes) => isUtf8(bytes) === isText(bytes)), { numRuns: 2000 });
});

describe("each language reads what the other writes", () => {
  let python: Python;
  beforeAll(() => void (python = new Python("tests.javascript.wire")));
  afterAll(() => python.end());

  test("random messages from Python", async () => {
    const frames = await python.ask<string[]>("random 20261128 600");
    for (const frame of frames) {
      const { message, payload } = decode(fromHex(frame));
      expect(hex(encode(message as Message, payload))).toBe(frame);
    }
    expect(new Set(frames.map((frame) => decode(fromHex(frame)).message.type)).size).toBe(Object.keys(MESSAGES).length);
  });

  test("random messages from JavaScript", async () => {
    await fc.assert(
      fc.asyncProperty(anyMessage, fc.uint8Array({ maxLength: 50 }), async (message, payload) => {
        const frame = hex(encode(message, payload));
        expect(await python.ask(`decode ${frame}`)).toEqual({ frame });
      }),
      { numRuns: 400 },
    );
  });

  test("random pixels have the same digest", async () => {
    const dtypes: [DType, number][] = [["uint8", 1], ["uint16", 2], ["float32", 4]];
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 20 }), fc.constantFrom(...dtypes), async (width, height, [dtype, size]) => {
        const data = Uint8Array.from({ length: width * height * size }, (_, i) => (i * 7919) & 255);
        const blob = await WireBlob.of(data, [height, width], dtype, "data");
        expect(await python.ask(`blob ${height}x${width} ${dtype} data ${hex(data)}`)).toEqual({ digest: hex(blob.ref.digest) });
      }),
      { numRuns: 40 },
    );
  });
});

/** Any message, made from the table that the codec itself reads; whole numbers with a fraction do not exist here. */
const anyMessage: fc.Arbitrary<Message> = fc
  .constantFrom(...Object.keys(MESSAGES))
  .chain((type) => record(MESSAGES[type]!).map((fields) => ({ type, ...fields }) as unknown as Message));

function record(fields: Record<string, Field>): fc.Arbitrary<Record<string, unknown>> {
  const required = Object.keys(fields).filter((name) => !("default" in fields[name]!));
  return fc.record(Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, valueOf(field)])), { requiredKeys: required });
}

function valueOf(field: Field): fc.Arbitrary<unknown> {
  const text = fc.string({ unit: "grapheme", maxLength: Math.min(field.max_length ?? 40, 40) }).filter((t) => [...t].length <= (field.max_length ?? 40));
  const number = { min: field.minimum ?? Number.MIN_SAFE_INTEGER, max: field.maximum ?? Number.MAX_SAFE_INTEGER };
  const kinds: Record<Field["type"], () => fc.Arbitrary<unknown>> = {
    text: () => text,
    integer: () => fc.integer(number),
    number: () => fc.integer({ min: -1e6, max: 1e6 }).map((n) => n + 0.5),
    boolean: () => fc.boolean(),
    choice: () => fc.constantFrom(...field.choices!),
    bytes: () => fc.uint8Array({ maxLength: field.max_length ?? 32 }),
    list: () => fc.array(valueOf(field.items!), { maxLength: 5 }),
    map: () => fc.dictionary(text, plain),
    any: () => plain,
    blob: () => fc.record({ digest: fc.uint8Array({ minLength: 32, maxLength: 32 }), shape: fc.array(fc.integer({ min: 1, max: 64 }), { minLength: 1, maxLength: 2 }), dtype: fc.constantFrom("uint8", "uint16", "float32"), color: fc.constantFrom("srgb", "data") }),
    record: () => record(RECORDS[field.record!]!),
  };
  const value = kinds[field.type]();
  return field.optional ? fc.option(value) : value;
}

const plain = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: "small" },
    fc.constant(null),
    fc.boolean(),
    fc.maxSafeInteger(),
    fc.integer({ min: -1e6, max: 1e6 }).map((n) => n + 0.25),
    fc.string({ unit: "grapheme", maxLength: 20 }),
    fc.array(tie("value"), { maxLength: 4 }),
    fc.dictionary(fc.string({ maxLength: 8 }), tie("value"), { maxKeys: 4 }),
  ),
})).value;
