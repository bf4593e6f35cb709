/**
 * The client: one connection to the server that stays, and reconnects and resumes by itself for as long as it is open.
 *
 *     const client = new BridgeClient({ name: "my tool 1.0", url: "ws://127.0.0.1:47263", token });
 *     const { outputs, blobs } = await client.submit("Generate", { prompt: "a brick wall" }).result;
 */
import { verify, type BlobRef, type WireBlob } from "./blobs";
import { hex } from "./bytes";
import { encode, type Whole } from "./codec";
import { BridgeError, JobCancelledError, ProtocolError } from "./errors";
import { callBack, type SessionEvent } from "./events";
import { blobOf, separated } from "./job_blobs";
import {
  SUBPROTOCOL,
  type Jobs,
  type Output,
  type PreviewMessage,
  type ProgressMessage,
  type QueryMessage,
  type SubmitMessage,
} from "./protocol";
import { ClientSession, type Identity } from "./session";
import type { Incoming, SendQueue } from "./transfer";

/** Waits between attempts to reconnect, in milliseconds; the last one repeats. */
const BACKOFF = [50, 100, 200, 500, 1000, 2000, 5000];
/** More than this is not given to the socket at once: a cancel would wait behind it. */
const BUFFERED = 2 << 20;
/** The server's close codes: it does not let us in, and asking again will not help; another socket has the session. */
const POLICY = 1008;
const DISPLACED = 4001;

export type State =
  | { phase: "connecting"; problem: BridgeError | null }
  | { phase: "connected"; server: string; limits: Record<string, unknown> }
  /** Not without help: an invitation is needed, or another window has taken the session over. */
  | { phase: "refused"; problem: BridgeError }
  | { phase: "closed" };

/** What of a browser's WebSocket is used; Node's `ws` has it too. */
export interface Socket {
  binaryType: string;
  readonly bufferedAmount: number;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  onclose: ((event: { code: number; reason: string }) => void) | null;
  onerror: ((event: never) => void) | null;
  send(data: Uint8Array): void;
  close(code?: number): void;
}

export interface ClientOptions extends Omit<Identity, "client"> {
  /** What the server's log calls this client. */
  name: string;
  /** Where the server is; a function is asked again before each attempt. */
  url: string | (() => string | Promise<string>);
  onState?: (state: State) => void;
  /** Told the session's id and token whenever they change, to be kept for a later run of the host. */
  onIdentity?: (identity: { session: string; token: string | null }) => void;
  /** Given the end of a job that this run of the host did not submit. */
  onOrphan?: (event: SessionEvent) => void;
  /** Makes a socket; the platform's own WebSocket where it is left out. */
  connect?: (url: string, subprotocol: string) => Socket;
}

export interface JobResult {
  id: string;
  outputs: Output[];
  /** In the order of the outputs. */
  blobs: WireBlob[];
  info: Record<string, unknown>;
}

export interface SubmitOptions extends Pick<SubmitMessage, "priority" | "slot" | "on_disconnect"> {
  onProgress?: (progress: Whole<ProgressMessage>) => void;
  onPreview?: (preview: Whole<PreviewMessage>, pixels: Uint8Array) => void;
  /** Whether the server may forget the result as soon as it is here; else call `acknowledge`. */
  autoAcknowledge?: boolean;
}

export interface Handle {
  id: string;
  /** Rejects with a BridgeError where the job made nothing, a JobCancelledError where it was cancelled. */
  result: Promise<JobResult>;
  cancel(): void;
  acknowledge(): void;
}

interface Waiting {
  options: SubmitOptions;
  resolve: (result: JobResult) => void;
  reject: (error: BridgeError) => void;
}

interface Asked {
  message: QueryMessage | { type: "ping"; id: number };
  resolve: (data: never) => void;
  reject: (error: BridgeError) => void;
}

export class BridgeClient {
  state: State = { phase: "connecting", problem: null };
  private readonly session: ClientSession;
  private readonly jobs = new Map<string, Waiting>();
  private readonly asked = new Map<number, Asked>();
  private readonly fetches = new Map<string, { promise: Promise<WireBlob>; resolve: (blob: WireBlob) => void; reject: (error: BridgeError) => void }>();
  private onActivity: ((event: SessionEvent) => void) | null = null;
  private readsHistory = false;
  private nextQuery = 1;
  private failures = 0;
  private socket: Socket | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private readonly identity: Identity;

  constructor(private readonly options: ClientOptions) {
    const { name, token, session, invitation } = options;
    this.identity = { client: name, token, session, invitation };
    this.session = new ClientSession(this.identity);
    void this.open();
  }

  get sessionId(): string | null {
    return this.session.id;
  }

  /** Ask for a job; arrays in it are WireBlobs, or the BlobRefs of what the server has already. */
  submit<K extends keyof Jobs>(kind: K, job: Jobs[K], options: SubmitOptions = {}): Handle {
    const { plain, blobs } = separated(job);
    const id = uuid();
    const { priority, slot, on_disconnect } = options;
    const submit: SubmitMessage = { type: "submit", id, kind, job: plain as Record<string, unknown>, priority, slot, on_disconnect };
    try {
      encode(submit); // here, where it is heard
    } catch (error) {
      throw new BridgeError({ code: (error as ProtocolError).code, sentence: (error as Error).message, remedy: "Shorten the prompts." });
    }
    if (this.state.phase === "closed") throw new BridgeError({ code: "closed", sentence: "This client is closed." });
    const result = new Promise<JobResult>((resolve, reject) => this.jobs.set(id, { options, resolve, reject }));
    result.catch(() => {}); // whoever wants to know of a failure waits for the result
    this.session.submit(submit, blobs);
    return { id, result, cancel: () => this.cancel(id), acknowledge: () => this.session.acknowledge(id) };
  }

  /** End a job; one of another session's while this one watches. */
  cancel(id: string): void {
    if (this.jobs.has(id)) this.tell(this.session.cancel(id));
    else this.session.say({ type: "cancel", id });
  }

  /** One of the server's lists. narrowed: the fields of the message `query` that the history knows. */
  query<T = unknown>(what: QueryMessage["what"], narrowed: Omit<QueryMessage, "type" | "id" | "what"> = {}): Promise<T> {
    if (what === "history") this.readsHistory = true;
    return this.ask((id) => ({ type: "query", id, what, ...narrowed }));
  }

  /** Resolves when the server has answered. */
  ping(): Promise<void> {
    return this.ask((id) => ({ type: "ping", id }));
  }

  /** A blob that the history lists; ask for the history first. */
  fetch(ref: BlobRef): Promise<WireBlob> {
    const digest = hex(ref.digest);
    const begun = this.fetches.get(digest);
    if (begun !== undefined) return begun.promise;
    let settle: Pick<Asked, "reject"> & { resolve: (blob: WireBlob) => void };
    const promise = new Promise<WireBlob>((resolve, reject) => (settle = { resolve, reject }));
    this.fetches.set(digest, { promise, ...settle! });
    this.tell(this.session.fetch(ref));
    return promise;
  }

  /** Be told what becomes of all jobs, whosesoever they are: activities, progress, previews. null: no more. */
  watch(onActivity: ((event: SessionEvent) => void) | null): void {
    this.onActivity = onActivity;
    this.session.say({ type: "watch", on: onActivity !== null });
  }

  /** Delete a job from the history, with what it made. */
  forget(id: string): void {
    this.session.say({ type: "forget", id });
  }

  /** Try again now: after a refusal, or instead of waiting. */
  reconnect(identity: Partial<Pick<Identity, "token" | "session" | "invitation">> = {}): void {
    if (this.state.phase === "closed") return;
    Object.assign(this.identity, identity);
    if (identity.session !== undefined) this.session.id = identity.session;
    clearTimeout(this.timer);
    this.failures = 0;
    if (this.socket === null) void this.open();
  }

  /** End the connection; jobs go on, and their results wait on the server. */
  close(): void {
    clearTimeout(this.timer);
    this.setState({ phase: "closed" });
    this.socket?.close();
    const problem = new BridgeError({ code: "closed", sentence: "The client was closed.", remedy: "The result waits on the server." });
    for (const waiting of [...this.jobs.values(), ...this.asked.values(), ...this.fetches.values()]) waiting.reject(problem);
    this.jobs.clear();
    this.asked.clear();
    this.fetches.clear();
  }

  // -- the socket

  private async open(): Promise<void> {
    clearTimeout(this.timer);
    let socket: Socket;
    try {
      const { url } = this.options;
      const address = typeof url === "string" ? url : await url();
      if (this.state.phase === "closed") return;
      socket = this.options.connect?.(address, SUBPROTOCOL) ?? (new WebSocket(address, SUBPROTOCOL) as unknown as Socket);
    } catch (error) {
      this.retry(new BridgeError({ code: "no_server", sentence: `No server can be reached (${String(error)}).`, retryable: true }));
      return;
    }
    this.socket = socket;
    socket.binaryType = "arraybuffer";
    let queue: SendQueue | null = null;
    let refusal: BridgeError | null = null;
    let tail: Promise<void> = Promise.resolve();
    socket.onopen = () => {
      queue = this.session.connected();
      this.pump(socket, queue);
    };
    const hear = (data: Uint8Array) => {
      try {
        for (const event of this.session.receive(data)) {
          if (event.kind === "error" && !this.session.ready) refusal = new BridgeError(event.error);
          this.tell([event]);
        }
      } catch (error) {
        if (!(error instanceof ProtocolError)) throw error;
        // A newer server's message, which we can do without; anything else ends the connection.
        if (error.code === "unknown_message") {
          this.session.say({ type: "error", code: error.code, sentence: error.sentence.slice(0, 500), about: error.about });
        } else socket.close();
      }
    };
    socket.onmessage = ({ data }) => {
      if (data instanceof ArrayBuffer) hear(new Uint8Array(data));
      else if (ArrayBuffer.isView(data)) hear(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
      // Some hosts give a Blob whatever they were asked for; one after the other, so that the order stays.
      else tail = tail.then(async () => hear(new Uint8Array(await (data as { arrayBuffer(): Promise<ArrayBuffer> }).arrayBuffer())));
    };
    socket.onerror = () => {}; // a close follows
    socket.onclose = ({ code }) => {
      if (queue !== null) this.session.disconnected(queue);
      if (this.socket === socket) this.socket = null;
      if (this.state.phase === "closed") return;
      if (code === DISPLACED) {
        refusal = new BridgeError({ code: "displaced", sentence: "Another window carries this session now.", remedy: "Use it there, or take it back." });
        this.setState({ phase: "refused", problem: refusal });
      } else if (code === POLICY && refusal !== null) this.setState({ phase: "refused", problem: refusal });
      else this.retry(new BridgeError({ code: "no_server", sentence: "No server answers.", remedy: "Start one: brushwire serve", retryable: true }));
    };
  }

  private retry(problem: BridgeError): void {
    this.setState({ phase: "connecting", problem });
    const wait = BACKOFF[Math.min(this.failures, BACKOFF.length - 1)]!;
    this.failures += 1;
    this.timer = setTimeout(() => void this.open(), wait);
  }

  private pump(socket: Socket, queue: SendQueue): void {
    let waiting = false;
    const send = () => {
      waiting = false;
      while (this.socket === socket) {
        if (socket.bufferedAmount > BUFFERED) {
          if (!waiting) setTimeout(send, 1);
          waiting = true;
          return;
        }
        const frame = queue.nextFrame();
        if (frame === null) return;
        socket.send(frame);
      }
    };
    queue.onReady = () => {
      if (!waiting) send();
    };
    send();
  }

  // -- events

  private tell(events: SessionEvent[]): void {
    for (const event of events) {
      switch (event.kind) {
        case "connected":
          this.onConnected(event);
          break;
        case "arrived":
          void this.verify(event.incoming);
          break;
        case "answer":
        case "pong":
          this.asked.get(event.id)?.resolve((event.kind === "answer" ? event.data : undefined) as never);
          this.asked.delete(event.id);
          break;
        case "fetched":
          this.fetches.get(event.digest)?.resolve(event.blob);
          this.fetches.delete(event.digest);
          break;
        case "unfetched":
          this.fetches.get(event.digest)?.reject(new BridgeError(event.problem));
          this.fetches.delete(event.digest);
          break;
        case "error":
          this.asked.get(Number(event.error.about))?.reject(new BridgeError(event.error));
          this.asked.delete(Number(event.error.about));
          break;
        case "activity":
          callBack(this.onActivity, event);
          break;
        default:
          this.tellJob(event);
      }
    }
  }

  private tellJob(event: Extract<SessionEvent, { id: string }>): void {
    const waiting = this.jobs.get(event.id);
    if (event.kind === "progress" || event.kind === "preview" || event.kind === "accepted") {
      if (event.kind === "progress") callBack(waiting?.options.onProgress, event.progress);
      if (event.kind === "preview") callBack(waiting?.options.onPreview, event.preview, event.pixels);
      callBack(this.onActivity, event);
      return;
    }
    if (waiting === undefined) {
      callBack(this.options.onOrphan, event);
      return;
    }
    this.jobs.delete(event.id);
    if (event.kind === "finished") {
      const { outputs, info } = event.result;
      waiting.resolve({ id: event.id, outputs, blobs: outputs.map((output) => blobOf(event.blobs, output.blob)), info });
    } else if (event.kind === "cancelled") waiting.reject(new JobCancelledError(event.reason));
    else waiting.reject(new BridgeError(event.problem));
    // A failure holds nothing that could be lost; a result is acknowledged when its caller has it.
    const keeps = event.kind === "finished" && waiting.options.autoAcknowledge === false;
    if (event.kind !== "refused" && !keeps) this.session.acknowledge(event.id);
  }

  private onConnected({ welcome }: Extract<SessionEvent, { kind: "connected" }>): void {
    this.failures = 0;
    callBack(this.options.onIdentity, { session: welcome.session, token: this.identity.token ?? null });
    for (const { message } of this.asked.values()) this.session.say(message);
    if (this.onActivity !== null) this.session.say({ type: "watch" });
    if (this.readsHistory) void this.query("history", { limit: 0 }).then(() => this.tell(this.session.refetch()), () => {});
    this.setState({ phase: "connected", server: welcome.server, limits: welcome.limits });
  }

  private async verify({ ref, into }: Incoming): Promise<void> {
    let events: SessionEvent[];
    try {
      events = this.session.arrived(await verify(ref, into));
    } catch (error) {
      // Not only a ProtocolError: whatever keeps the bytes from being read, they are asked for again.
      console.warn("Brushwire: a result arrived broken:", error);
      events = this.session.arrivedBroken(ref);
    }
    this.tell(events);
  }

  private ask<T>(make: (id: number) => Asked["message"]): Promise<T> {
    if (this.state.phase === "closed") return Promise.reject(new BridgeError({ code: "closed", sentence: "This client is closed." }));
    const message = make(this.nextQuery++);
    const answer = new Promise<T>((resolve, reject) => this.asked.set(message.id, { message, resolve: resolve as never, reject }));
    this.session.say(message);
    return answer;
  }

  private setState(state: State): void {
    this.state = state;
    callBack(this.options.onState, state);
  }
}

function uuid(): string {
  const bytes = globalThis.crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const text = hex(bytes);
  return [text.slice(0, 8), text.slice(8, 12), text.slice(12, 16), text.slice(16, 20), text.slice(20)].join("-");
}
