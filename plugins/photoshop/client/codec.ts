/** Frames: messages and their payloads as bytes, and back, with every limit. No sockets in here. */
import { decode as unpack, encode as pack } from "@msgpack/msgpack";
import { checkRef } from "./blobs";
import { isUtf8 } from "./bytes";
import { ProtocolError } from "./errors";
import { MESSAGES, RECORDS, type Field, type Message } from "./protocol";

export const MAX_HEADER = 64 * 1024;
export const MAX_PAYLOAD = 1 << 20;
export const MAX_FRAME = 4 + MAX_HEADER + MAX_PAYLOAD;
const MAX_ITEMS = 32_768;
const MAX_DEPTH = 16;
const MAX_MAP = 256;

/** A message as it was received: what was left out holds its default. */
export type Whole<T> = { [K in keyof T]-?: T[K] };
export type Received = Message extends infer M ? (M extends Message ? Whole<M> : never) : never;
export interface Frame {
  message: Received;
  payload: Uint8Array;
}

const NOTHING = new Uint8Array(0);
const PACKING = { ignoreUndefined: true, maxDepth: MAX_DEPTH + 1 };

/** A frame's bytes; fields that equal their default are left out. Throws ProtocolError. */
export function encode(message: Message, payload: Uint8Array = NOTHING): Uint8Array {
  const header = pack(withoutDefaults(message as unknown as Record<string, unknown>, MESSAGES[message.type]!), PACKING);
  if (header.length > MAX_HEADER) {
    throw new ProtocolError("header_too_large", `The header of this ${message.type} has ${header.length} bytes; at most ${MAX_HEADER}.`);
  }
  if (payload.length > MAX_PAYLOAD) {
    throw new ProtocolError("payload_too_large", `A payload has ${payload.length} bytes; at most ${MAX_PAYLOAD}.`);
  }
  const frame = new Uint8Array(4 + header.length + payload.length);
  new DataView(frame.buffer).setUint32(0, header.length);
  frame.set(header, 4);
  frame.set(payload, 4 + header.length);
  return frame;
}

/** The frame that `data` is; its payload is a view into it. Throws ProtocolError for anything else. */
export function decode(data: Uint8Array): Frame {
  if (data.length > MAX_FRAME) throw new ProtocolError("frame_too_large", `A frame has ${data.length} bytes.`);
  if (data.length < 4) throw new ProtocolError("bad_frame", "A frame is shorter than its header's length.");
  const length = new DataView(data.buffer, data.byteOffset).getUint32(0);
  if (length > MAX_HEADER || 4 + length > data.length) throw new ProtocolError("bad_frame", `A header claims ${length} bytes.`);
  const payload = data.subarray(4 + length);
  if (payload.length > MAX_PAYLOAD) throw new ProtocolError("payload_too_large", `A payload has ${payload.length} bytes.`);
  const header = unpackHeader(data.subarray(4, 4 + length));
  const fields = typeof header.type === "string" && Object.hasOwn(MESSAGES, header.type) ? MESSAGES[header.type] : undefined;
  if (fields === undefined) {
    throw new ProtocolError("unknown_message", `There is no message of type ${String(header.type).slice(0, 60)}.`);
  }
  try {
    return { message: { type: header.type, ...withDefaults(header, fields, "") } as unknown as Received, payload };
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    const about = typeof header.id === "string" || typeof header.id === "number" ? String(header.id).slice(0, 64) : "";
    throw new ProtocolError(error.code, `${String(header.type)}: ${error.sentence}`, about, error.field);
  }
}

/** Plain data that came as the pages of an answer. Throws ProtocolError. */
export function unpackAnswer(bytes: Uint8Array): unknown {
  try {
    return unpack(bytes);
  } catch (error) {
    throw new ProtocolError("bad_frame", `An answer is not msgpack (${String(error)}).`);
  }
}

function unpackHeader(bytes: Uint8Array): Record<string, unknown> {
  const end = new Walk(bytes).value(0, MAX_DEPTH);
  if (end !== bytes.length) throw new ProtocolError("bad_frame", "A header has bytes behind its map.");
  const header = unpack(bytes);
  if (typeof header !== "object" || header === null || Array.isArray(header) || header instanceof Uint8Array) {
    throw new ProtocolError("bad_frame", "A header is not a map.");
  }
  return header as Record<string, unknown>;
}

/**
 * Goes through msgpack without building anything: the library would build millions of objects first and knows no limit
 * on them together, takes keys and texts that are none, and knows extensions, of which this protocol has none.
 */
class Walk {
  private items = 0;
  private readonly view: DataView;

  constructor(private readonly bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  /** Where the value at `at` ends. depth: how many more levels of maps and lists there may be. */
  value(at: number, depth: number, key = false): number {
    const head = this.byte(at);
    if ((head & 0xe0) === 0xa0) return this.text(at + 1, head & 0x1f);
    if (head === 0xd9) return this.text(at + 2, this.byte(at + 1));
    if (head === 0xda) return this.text(at + 3, this.number(at + 1, 2));
    if (head === 0xdb) return this.text(at + 5, this.number(at + 1, 4));
    if (key) throw new ProtocolError("bad_frame", "A header has a map whose keys are not all texts.");
    if (head < 0x80 || head >= 0xe0 || head === 0xc0 || head === 0xc2 || head === 0xc3) return at + 1;
    if (head < 0x90) return this.map(at + 1, head & 0x0f, depth);
    if (head < 0xa0) return this.list(at + 1, head & 0x0f, depth);
    if (head === 0xc4) return this.skip(at + 2, this.byte(at + 1));
    if (head === 0xc5) return this.skip(at + 3, this.number(at + 1, 2));
    if (head === 0xc6) return this.skip(at + 5, this.number(at + 1, 4));
    if (head === 0xdc) return this.list(at + 3, this.number(at + 1, 2), depth);
    if (head === 0xdd) return this.list(at + 5, this.number(at + 1, 4), depth);
    if (head === 0xde) return this.map(at + 3, this.number(at + 1, 2), depth);
    if (head === 0xdf) return this.map(at + 5, this.number(at + 1, 4), depth);
    const size = NUMBER_SIZES[head];
    if (size === undefined) throw new ProtocolError("bad_frame", "A header has a msgpack extension; there are none here.");
    return this.skip(at + 1, size);
  }

  private map(at: number, count: number, depth: number): number {
    if (count > MAX_MAP) throw new ProtocolError("bad_frame", `A header has a map of ${count} items.`);
    this.count(count, depth);
    for (let i = 0; i < count; i++) at = this.value(this.value(at, depth - 1, true), depth - 1);
    return at;
  }

  private list(at: number, count: number, depth: number): number {
    this.count(count, depth);
    for (let i = 0; i < count; i++) at = this.value(at, depth - 1);
    return at;
  }

  private count(count: number, depth: number): void {
    if (depth === 0) throw new ProtocolError("bad_frame", `A header is nested more than ${MAX_DEPTH} deep.`);
    this.items += count;
    if (this.items > MAX_ITEMS) throw new ProtocolError("bad_frame", `A header has more than ${MAX_ITEMS} items.`);
  }

  private text(at: number, length: number): number {
    const end = this.skip(at, length);
    if (!isUtf8(this.bytes.subarray(at, end))) throw new ProtocolError("bad_frame", "A text in a header is not UTF-8.");
    return end;
  }

  private skip(at: number, length: number): number {
    if (at + length > this.bytes.length) throw new ProtocolError("bad_frame", "A header ends in the middle of a value.");
    return at + length;
  }

  private byte(at: number): number {
    this.skip(at, 1);
    return this.bytes[at]!;
  }

  private number(at: number, size: 2 | 4): number {
    this.skip(at, size);
    return size === 2 ? this.view.getUint16(at) : this.view.getUint32(at);
  }
}

/** Bytes behind the heads of float32, float64, and the integers that do not fit into a head. */
const NUMBER_SIZES: Record<number, number> = {
  0xca: 4, 0xcb: 8, 0xcc: 1, 0xcd: 2, 0xce: 4, 0xcf: 8, 0xd0: 1, 0xd1: 2, 0xd2: 4, 0xd3: 8,
};

function withoutDefaults(value: Record<string, unknown>, fields: Record<string, Field>): Record<string, unknown> {
  const out: Record<string, unknown> = "type" in value ? { type: value.type } : {};
  for (const [name, field] of Object.entries(fields)) {
    const given = value[name];
    if (given === undefined || isDefault(given, field)) continue;
    out[name] = plainValue(given, field);
  }
  return out;
}

function isDefault(value: unknown, field: Field): boolean {
  if (!("default" in field)) return false;
  if (Array.isArray(value)) return value.length === 0;
  if (typeof value === "object" && value !== null) return Object.keys(value).length === 0 && !(value instanceof Uint8Array);
  return value === field.default;
}

function plainValue(value: unknown, field: Field): unknown {
  if (field.type === "list") return (value as unknown[]).map((item) => plainValue(item, field.items!));
  if (field.type === "record") return withoutDefaults(value as Record<string, unknown>, RECORDS[field.record!]!);
  if (field.type === "blob") return plainRef(checkRef(value));
  return value;
}

/** A blob's description as it travels: defaults left out, in the order in which every implementation writes it. */
export function plainRef(ref: { digest: Uint8Array; shape: number[]; dtype?: string; color?: string }): Record<string, unknown> {
  const out: Record<string, unknown> = { digest: ref.digest, shape: ref.shape };
  if (ref.dtype !== undefined && ref.dtype !== "uint8") out.dtype = ref.dtype;
  if (ref.color !== undefined && ref.color !== "data") out.color = ref.color;
  return out;
}

function withDefaults(value: Record<string, unknown>, fields: Record<string, Field>, path: string): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  for (const [name, field] of Object.entries(fields)) {
    const where = path === "" ? name : `${path}.${name}`;
    if (Object.hasOwn(value, name)) out[name] = checked(value[name], field, where);
    else if ("default" in field) out[name] = structuredDefault(field.default);
    else throw new ProtocolError("invalid_value", `${where} must be given.`, "", where);
  }
  return out;
}

function structuredDefault(value: unknown): unknown {
  if (Array.isArray(value)) return [];
  return typeof value === "object" && value !== null ? {} : value;
}

function checked(value: unknown, field: Field, where: string): unknown {
  const wrong = (allowed: string) => new ProtocolError("invalid_value", `${where} must be ${allowed}.`, "", where);
  const short = (length: number) => {
    if (field.max_length !== undefined && length > field.max_length) throw wrong(`no longer than ${field.max_length}`);
  };
  if (value === null && field.optional) return null;
  switch (field.type) {
    case "any":
      return value;
    case "text":
      if (typeof value !== "string") throw wrong("a text");
      short([...value].length);
      return value;
    case "integer":
    case "number":
      if (typeof value !== "number" || !Number.isFinite(value)) throw wrong("a finite number");
      if (field.type === "integer" && !Number.isSafeInteger(value)) throw wrong("a whole number");
      if (value < (field.minimum ?? value) || value > (field.maximum ?? value)) throw wrong("within its range");
      return value;
    case "boolean":
      if (typeof value !== "boolean") throw wrong("true or false");
      return value;
    case "choice":
      if (!field.choices!.includes(value as string)) throw wrong(`one of ${field.choices!.join(", ")}`);
      return value;
    case "bytes":
      if (!(value instanceof Uint8Array)) throw wrong("bytes");
      short(value.length);
      return value;
    case "list":
      if (!Array.isArray(value)) throw wrong("a list");
      short(value.length);
      return value.map((item, index) => checked(item, field.items!, `${where}[${index}]`));
    case "map":
      if (!isMap(value)) throw wrong("a map");
      return value;
    case "record":
      if (!isMap(value)) throw wrong("a map of fields");
      return withDefaults(value, RECORDS[field.record!]!, where);
    case "blob":
      try {
        return checkRef(value);
      } catch (error) {
        throw wrong(`a blob (${(error as Error).message})`);
      }
  }
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array);
}
