/** The client against the real server, through what breaks: cut sockets, a killed server, a slow start. */
import { connect as tcpConnect, createServer, type Server as TcpServer, type Socket as TcpSocket } from "node:net";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { WireBlob, type BlobRef } from "../../plugins/photoshop/client/blobs";
import { hex } from "../../plugins/photoshop/client/bytes";
import type { BridgeClient, State } from "../../plugins/photoshop/client/client";
import { JobCancelledError } from "../../plugins/photoshop/client/errors";
import type { SessionEvent } from "../../plugins/photoshop/client/events";
import { Server, until } from "./python";

const server = new Server();
const clients: BridgeClient[] = [];
let files = 0;

function client(options = {}): BridgeClient {
  const made = server.client(options);
  clients.push(made);
  return made;
}

const gate = () => join(server.folder, `gate-${files++}`);
const quick = { steps: 2, width: 64, height: 64 };

beforeAll(() => server.start());
afterEach(() => {
  for (const one of clients.splice(0)) one.close();
});
afterAll(() => server.stop());

async function picture(width: number, height: number, seed = 1): Promise<WireBlob> {
  const data = Uint8Array.from({ length: width * height * 4 }, (_, i) => (i * 2654435761 + seed) >>> 24);
  return WireBlob.of(data, [height, width, 4], "uint8", "srgb");
}

const inverted = (data: Uint8Array) => data.map((value) => 255 - value);

describe("a job", () => {
  test("comes back with its pictures, seeds and progress", async () => {
    const steps: number[] = [];
    let previews = 0;
    const handle = client().submit(
      "Generate",
      { prompt: "a boat", ...quick, steps: 30, seed: 7, batch: 2 },
      { onProgress: ({ step }) => steps.push(step), onPreview: () => (previews += 1) },
    );
    const result = await handle.result;
    expect(result.outputs.map((output) => output.info?.seed)).toEqual([7, 8]);
    expect(result.blobs[0]!.ref.shape).toEqual([64, 64, 3]);
    expect(result.info.model).toBe("small");
    expect(steps.length).toBeGreaterThan(0);
    expect(previews).toBeGreaterThan(0);
  });

  test.each([[64, 64], [257, 300], [700, 600]])("takes a picture of %i × %i there and back bit for bit", async (width, height) => {
    const image = await picture(width, height);
    const result = await client().submit("Generate", { image, steps: 1 }).result;
    expect(hex(result.blobs[0]!.data)).toBe(hex(inverted(image.data)));
  });

  test("with a value that is wrong is refused with the field and a remedy", async () => {
    const handle = client().submit("Generate", { steps: 0 });
    await expect(handle.result).rejects.toMatchObject({ code: "invalid_value", field: "steps" });
    await expect(client().submit("Generate", { prompt: "memory", ...quick }).result).rejects.toMatchObject({ remedy: "Take 512×512." });
  });

  test("is cancelled while it is painted, and no other one is", async () => {
    const one = client();
    const running = one.submit("Generate", { prompt: `wait-for ${gate()}`, ...quick });
    const other = one.submit("Generate", { prompt: "other", ...quick });
    running.cancel();
    await expect(running.result).rejects.toBeInstanceOf(JobCancelledError);
    expect((await other.result).blobs).toHaveLength(1);
  });

  test("of the same slot takes the older live one's place", async () => {
    const one = client();
    const door = gate();
    let began = false; // until then a live job would go before it
    const running = one.submit("Generate", { prompt: `wait-for ${door}`, ...quick }, { onProgress: () => (began = true) });
    await until(() => began);
    const older = one.submit("Generate", { prompt: "a", ...quick }, { priority: "live", slot: "canvas" });
    const newer = one.submit("Generate", { prompt: "b", ...quick }, { priority: "live", slot: "canvas" });
    await expect(older.result).rejects.toMatchObject({ code: "replaced" });
    await server.do("touch", { path: door });
    await Promise.all([running.result, newer.result]);
  });
});

describe("queries", () => {
  test("that are long come in pages, and all are answered", async () => {
    const one = client();
    const schema = await one.query<Record<string, { fields: { name: string }[] }>>("schema");
    expect(schema.Generate!.fields.map((field) => field.name)).toContain("denoising_strength");
    expect(await one.query("models")).toBeInstanceOf(Array);
    await one.ping();
  });

  test("of the history give what was painted, and its blobs can be fetched and forgotten", async () => {
    const made = await client().submit("Generate", { prompt: "a unique otter", ...quick, seed: 777 }).result;
    const other = client();
    const find = () => other.query<{ total: number; jobs: { id: string; thumbnail?: BlobRef }[] }>("history", { search: "unique otter" });
    const entry = await until(async () => (await find()).jobs.find((job) => job.thumbnail));
    expect((await other.fetch(entry.thumbnail!)).data.length).toBeGreaterThan(100);
    expect(hex((await other.fetch(made.outputs[0]!.blob)).data)).toBe(hex(made.blobs[0]!.data));
    other.forget(entry.id);
    await until(async () => (await find()).total === 0);
    await expect(other.fetch(made.outputs[0]!.blob)).rejects.toMatchObject({ code: "unknown_blob" });
  });
});

test("a job is repeated by naming its pictures, which do not travel again", async () => {
  const image = await picture(300, 200, 9);
  const first = await client().submit("Generate", { image, steps: 1 }).result;
  const other = client();
  const entry = await other.query<{ job: { image: BlobRef } }>("history", { job: first.id });
  const again = await other.submit("Generate", { image: entry.job.image, steps: 1 }).result;
  expect(hex(again.blobs[0]!.ref.digest)).toBe(hex(first.blobs[0]!.ref.digest));
  const gone = { ...entry.job.image, digest: new Uint8Array(32) };
  await expect(other.submit("Generate", { image: gone, steps: 1 }).result).rejects.toMatchObject({ code: "blob_gone" });
});

test("who watches sees another client's job and may cancel it", async () => {
  const seen: SessionEvent[] = [];
  const watcher = client();
  watcher.watch((event) => seen.push(event));
  await watcher.ping();
  const { id } = await server.do("submit", { kind: "Generate", job: { prompt: `wait-for ${gate()}`, ...quick } });
  await until(() => seen.some((event) => event.kind === "progress" && event.id === id));
  expect(seen.find((event) => event.kind === "activity" && event.activity.id === id)).toMatchObject({ activity: { id, client: "krita 5.2", kind: "Generate" } });
  watcher.cancel(id);
  expect(await server.do("wait", { id })).toEqual({ code: "cancelled" });
});

describe("coming in", () => {
  test("by invitation gives a token of one's own, which brings back to the session", async () => {
    const { code } = await server.do("invitation");
    let identity = { session: "", token: "" as string | null };
    const guest = client({ token: null, invitation: code, onIdentity: (given: typeof identity) => (identity = given) });
    await guest.ping();
    expect(identity.token).not.toBe(server.token);
    guest.close();
    const again = client({ ...identity });
    await again.ping();
    expect(again.sessionId).toBe(identity.session);
  });

  test.each([{ token: "wrong" }, { token: null }, { token: null, invitation: "used" }])("with %o is refused, once, with a remedy", async (given) => {
    const states: State[] = [];
    client({ ...given, onState: (state: State) => states.push(state) });
    const refused = await until(() => states.find((state) => state.phase === "refused"));
    expect(refused).toMatchObject({ problem: { code: "bad_token" } });
    expect(states).toHaveLength(1);
  });

  test("twice with one session leaves the newer one connected, and tells the older", async () => {
    const first = client();
    await first.ping();
    const second = client({ session: first.sessionId });
    await second.ping();
    expect(await until(() => first.state.phase === "refused" && first.state)).toMatchObject({ problem: { code: "displaced" } });
    await second.ping();
  });
});

describe("what breaks", () => {
  /** A way to the server that is cut after so many bytes from the client, again and again. */
  class Cutter {
    readonly tcp: TcpServer;
    cuts = 0;
    private readonly open = new Set<TcpSocket>();

    constructor(private readonly limits: number[]) {
      this.tcp = createServer((near) => {
        const limit = this.limits.shift() ?? Infinity;
        const far = tcpConnect(Number(new URL(server.url).port), "127.0.0.1");
        let count = 0;
        const cut = () => {
          this.cuts += 1;
          near.destroy();
          far.destroy();
        };
        this.open.add(near);
        near.on("data", (data) => {
          const head = String(data.subarray(0, 400)).includes("HTTP/1.1");
          const changed = head ? Buffer.from(data.toString("latin1").replace(/Host: .*\r\n/, `Host: 127.0.0.1:${new URL(server.url).port}\r\n`), "latin1") : data;
          count += head ? 0 : data.length;
          if (count > limit) cut();
          else far.write(changed);
        });
        far.on("data", (data) => {
          count += data.length;
          if (count > limit && this.limits.length % 2) cut();
          else near.write(data);
        });
        for (const socket of [near, far]) {
          socket.on("error", () => {});
          socket.on("close", () => (near.destroy(), far.destroy()));
        }
      });
    }

    listen(): Promise<string> {
      return new Promise((resolve) => this.tcp.listen(0, "127.0.0.1", () => resolve(`ws://127.0.0.1:${(this.tcp.address() as { port: number }).port}`)));
    }

    close(): void {
      for (const socket of this.open) socket.destroy();
      this.tcp.close();
    }
  }

  test("a socket that is cut at many places loses and doubles nothing", async () => {
    const cutter = new Cutter([60, 300, 900, 20_000, 100_000, 400_000, 700_000, 1_000_000]);
    const url = await cutter.listen();
    const one = client({ url });
    const image = await picture(400, 300, 5);
    const result = await one.submit("Generate", { image, steps: 2 }).result;
    expect(hex(result.blobs[0]!.data)).toBe(hex(inverted(image.data)));
    expect(cutter.cuts).toBeGreaterThan(3);
    const { total } = await one.query<{ total: number }>("history", { kind: "Generate", limit: 0 });
    one.close();
    cutter.close();
    expect(total).toBeGreaterThan(0);
  });

  test("a server that is killed paints on when it is back, and the result comes", async () => {
    const door = gate();
    const one = client();
    let began = false;
    const running = one.submit("Generate", { prompt: `wait-for ${door}`, ...quick, seed: 4 }, { onProgress: () => (began = true) });
    const waiting = one.submit("Generate", { prompt: "behind it", ...quick });
    await until(() => began);
    await server.kill();
    await until(() => one.state.phase === "connecting");
    const late = one.submit("Generate", { prompt: "asked while it was away", ...quick });
    await server.start();
    await server.do("touch", { path: door });
    const results = await Promise.all([running.result, waiting.result, late.result]);
    expect(results.map((result) => result.blobs.length)).toEqual([1, 1, 1]);
  });

  test("an unacknowledged result comes again to whoever comes back to the session", async () => {
    const first = client();
    const handle = first.submit("Generate", { prompt: "keep it", ...quick }, { autoAcknowledge: false });
    const result = await handle.result;
    const session = first.sessionId;
    first.close();
    const orphans: SessionEvent[] = [];
    client({ session, onOrphan: (event: SessionEvent) => orphans.push(event) });
    const orphan = await until(() => orphans.find((event) => event.kind === "finished"));
    expect(orphan).toMatchObject({ id: handle.id });
    expect(result.blobs).toHaveLength(1);
  });

  test("a result whose bytes cannot be read is asked for again, and its job ends", async () => {
    const made = client();
    await made.ping();
    const digest = vi.spyOn(globalThis.crypto.subtle, "digest");
    try {
      digest.mockRejectedValueOnce(new Error("the platform has no room"));
      expect((await made.submit("Generate", { ...quick, seed: 1 }).result).blobs[0]!.ref.shape).toEqual([64, 64, 3]);
      digest.mockRejectedValue(new Error("the platform has no room"));
      await expect(made.submit("Generate", { ...quick, seed: 2 }).result).rejects.toMatchObject({ code: "blob_broken" });
    } finally {
      digest.mockRestore();
    }
  });

  test("a result for which there is no memory fails its job", async () => {
    const made = client();
    await made.ping();
    const construct = (array: typeof Uint8Array, args: unknown[]) => {
      if (args[0] === 64 * 72 * 3) throw new RangeError("Array buffer allocation failed");
      return Reflect.construct(array, args);
    };
    vi.stubGlobal("Uint8Array", new Proxy(Uint8Array, { construct }));
    try {
      await expect(made.submit("Generate", { ...quick, width: 72 }).result).rejects.toMatchObject({ code: "no_memory" });
    } finally {
      vi.unstubAllGlobals();
    }
  });

  test("callbacks that fail do not end the connection", async () => {
    const fails = vi.fn(() => {
      throw new Error("the caller's mistake");
    });
    const made = client({ onState: fails, onIdentity: fails, onOrphan: fails });
    await made.submit("Generate", quick, { onProgress: fails, onPreview: fails }).result;
    await server.kill();
    const later = made.submit("Generate", quick);
    await server.start();
    await later.result;
    expect(fails.mock.calls.length).toBeGreaterThan(4);
  });

  test("closing leaves nobody waiting", async () => {
    const one = client();
    const handle = one.submit("Generate", { prompt: `wait-for ${gate()}`, ...quick });
    await one.ping();
    one.close();
    await expect(handle.result).rejects.toMatchObject({ code: "closed" });
    await expect(one.ping()).rejects.toMatchObject({ code: "closed" });
  });
});
