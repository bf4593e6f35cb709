/** A 2048² picture from Photoshop's array to the other end of a socket: as this client sends it, and as PNG in base64. */
import { connect, createServer } from "node:net";
import { deflateSync, crc32 } from "node:zlib";
import { WireBlob } from "../../plugins/photoshop/client/blobs";
import { encode } from "../../plugins/photoshop/client/codec";
import { Outgoing } from "../../plugins/photoshop/client/transfer";

const SIDE = 2048;
const ROUNDS = 5;

/** Smooth colour with grain, opaque: as PNG meets paintings. */
function picture(): Uint8Array {
  const data = new Uint8Array(SIDE * SIDE * 4);
  let seed = 7;
  for (let y = 0; y < SIDE; y++)
    for (let x = 0; x < SIDE; x++) {
      const at = 4 * (y * SIDE + x);
      for (let c = 0; c < 3; c++) {
        seed = (seed * 1664525 + 1013904223) >>> 0;
        data[at + c] = 128 + 100 * Math.sin((9 - c) * (x / SIDE) + (3 + c) * (y / SIDE)) + (seed >>> 29);
      }
      data[at + 3] = 255;
    }
  return data;
}

/** A PNG with the filter Sub in each row, at zlib's usual level. */
function png(data: Uint8Array): Buffer {
  const row = SIDE * 4;
  const filtered = Buffer.alloc((row + 1) * SIDE);
  for (let y = 0; y < SIDE; y++) {
    const to = y * (row + 1);
    filtered[to] = 1;
    for (let i = 0; i < row; i++) filtered[to + 1 + i] = (data[y * row + i]! - (i < 4 ? 0 : data[y * row + i - 4]!)) & 255;
  }
  const chunk = (type: string, body: Uint8Array) => {
    const out = Buffer.alloc(12 + body.length);
    out.writeUInt32BE(body.length);
    out.write(type, 4, "latin1");
    out.set(body, 8);
    out.writeUInt32BE(crc32(out.subarray(4, 8 + body.length)), 8 + body.length);
    return out;
  };
  const head = Buffer.alloc(13);
  head.writeUInt32BE(SIDE, 0);
  head.writeUInt32BE(SIDE, 4);
  head.set([8, 6, 0, 0, 0], 8);
  return Buffer.concat([Buffer.from("\x89PNG\r\n\x1a\n", "latin1"), chunk("IHDR", head), chunk("IDAT", deflateSync(filtered)), chunk("IEND", new Uint8Array(0))]);
}

// Plain sockets: in a browser or a host a WebSocket's masking is native code, in Node.js it is not.
let expected = 0;
let complete = () => {};
const sink = createServer((socket) => {
  let seen = 0;
  socket.on("data", (data) => {
    seen += data.length;
    if (seen === expected) {
      seen = 0;
      complete();
    }
  });
});
await new Promise<void>((resolve) => sink.listen(0, "127.0.0.1", resolve));
const socket = connect((sink.address() as { port: number }).port, "127.0.0.1");
await new Promise<void>((resolve) => socket.once("connect", resolve));
/** Resolves when so many bytes have come out at the other end. */
function arrived(bytes: number): Promise<void> {
  expected = bytes;
  return new Promise((resolve) => (complete = resolve));
}
const pixels = picture();

async function ours(): Promise<void> {
  const read = pixels.slice(); // as Photoshop hands it out
  const blob = await WireBlob.of(read, [SIDE, SIDE, 4], "uint8", "srgb");
  const frames = [encode({ type: "offer", blob: blob.ref }, blob.partDigests)];
  const outgoing = new Outgoing(blob, { type: "need", digest: blob.ref.digest });
  for (let frame = outgoing.nextFrame(); frame !== null; frame = outgoing.nextFrame()) frames.push(frame);
  const there = arrived(frames.reduce((sum, frame) => sum + frame.length, 0));
  for (const frame of frames) socket.write(frame);
  await there;
}

async function theirs(): Promise<void> {
  const read = pixels.slice();
  const text = JSON.stringify({ image: png(read).toString("base64") });
  const there = arrived(text.length);
  socket.write(text, "latin1");
  await there;
}

const times: { ours: number[]; theirs: number[] } = { ours: [], theirs: [] };
for (let round = 0; round <= ROUNDS; round++) {
  for (const [name, send] of [["ours", ours], ["theirs", theirs]] as const) {
    const began = performance.now();
    await send();
    if (round > 0) times[name].push(performance.now() - began); // the first warms the machine up
  }
}
console.log(JSON.stringify(times));
socket.destroy();
sink.close();
