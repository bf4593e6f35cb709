/** Python programs that tests talk to a line at a time, and real servers among them. */
import { spawn, type ChildProcessWithoutNullStreams } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { WebSocket as NodeSocket } from "ws";
import { BridgeClient, type ClientOptions, type Socket } from "../../plugins/photoshop/client/client";

export const ROOT = resolve(import.meta.dirname, "../..");
const PYTHON = process.env.BRUSHWIRE_PYTHON ?? join(ROOT, ".venv/bin/python");

/** `python -m MODULE ARGUMENTS…`; `ask` writes a line and resolves to the next line, read as JSON. */
export class Python {
  readonly process: ChildProcessWithoutNullStreams;
  private readonly waiting: { resolve: (line: string) => void; reject: (error: Error) => void }[] = [];
  private errors = "";
  private gone = false;

  constructor(module: string, ...args: string[]) {
    this.process = spawn(PYTHON, ["-m", module, ...args], { cwd: ROOT, env: { ...process.env, PYTHONPATH: ROOT } });
    createInterface({ input: this.process.stdout }).on("line", (line) => this.waiting.shift()?.resolve(line));
    this.process.stderr.on("data", (data) => (this.errors = (this.errors + String(data)).slice(-4000)));
    this.process.on("exit", () => {
      this.gone = true;
      for (const one of this.waiting) one.reject(new Error(`${module} ended: ${this.errors}`));
    });
  }

  async line<T = any>(): Promise<T> {
    if (this.gone) throw new Error(this.errors);
    return JSON.parse(await new Promise<string>((resolve, reject) => this.waiting.push({ resolve, reject }))) as T;
  }

  ask<T = any>(text: string): Promise<T> {
    const line = this.line<T>();
    this.process.stdin.write(text + "\n");
    return line;
  }

  async end(signal?: NodeJS.Signals): Promise<void> {
    if (this.gone) return;
    const exit = new Promise((resolve) => this.process.once("exit", resolve));
    if (signal) this.process.kill(signal);
    else this.process.stdin.end();
    await exit;
  }
}

/** A real server in a process of its own, with folders of its own. */
export class Server {
  readonly folder = mkdtempSync(join(tmpdir(), "brushwire-js-"));
  url = "";
  token = "";
  private python: Python | null = null;

  constructor(
    private readonly painter: "small" | "engine" = "small",
    private readonly painted = 0,
  ) {}

  async start(): Promise<this> {
    this.python = new Python("tests.javascript.serve", this.folder, this.painter, ...(this.painted && !this.url ? [String(this.painted)] : []));
    const { url, token } = await this.python.line<{ url: string; token: string }>();
    this.url = url;
    this.token = token;
    return this;
  }

  /** As nothing can prepare for. */
  async kill(): Promise<void> {
    await this.python?.end("SIGKILL");
  }

  async stop(): Promise<void> {
    await this.python?.end();
    rmSync(this.folder, { recursive: true, force: true });
  }

  do<T = any>(command: string, fields: Record<string, unknown> = {}): Promise<T> {
    return this.python!.ask(JSON.stringify({ do: command, ...fields }));
  }

  client(options: Partial<ClientOptions> = {}): BridgeClient {
    return new BridgeClient({ name: "vitest", url: () => this.url, token: this.token, connect, ...options });
  }
}

export function connect(url: string, subprotocol: string): Socket {
  return new NodeSocket(url, subprotocol, { perMessageDeflate: false }) as unknown as Socket;
}

export async function until<T>(look: () => T | Promise<T>, milliseconds = 90_000): Promise<NonNullable<T>> {
  const end = Date.now() + milliseconds;
  for (;;) {
    const found = await look();
    if (found) return found as NonNullable<T>;
    if (Date.now() > end) throw new Error("it did not come: " + String(look));
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
