/**
 * The client's side of a session as a state machine: what its caller asks for, and what the socket brings. No sockets.
 *
 * The same machine as bridge_protocol/client_session.py, which says why nothing is lost or doubled by it; without the
 * shared folder, which a page cannot read.
 */
import { Pages } from "./answers";
import type { BlobRef, WireBlob } from "./blobs";
import { hex } from "./bytes";
import { decode, encode, type Received, type Whole } from "./codec";
import { ProtocolError, type Problem } from "./errors";
import type { SessionEvent } from "./events";
import { isWhole, refOf, type JobBlob } from "./job_blobs";
import {
  VERSION,
  type AcceptedMessage,
  type ErrorMessage,
  type Message,
  type PreviewMessage,
  type ResultMessage,
  type SubmitMessage,
  type WelcomeMessage,
} from "./protocol";
import { Arrivals, NoMemory, Outgoing, SendQueue } from "./transfer";

/** How many ended jobs are remembered, so that an end that is told twice is heard once. */
const MAX_ENDED = 10_000;
/** How many blobs of the server's are remembered, so that they are offered by their names alone. */
const MAX_KNOWN = 4_096;
/** How often a blob may arrive broken, or be missing when its job is submitted, before that is an end. */
const MAX_BROKEN = 3;

interface Pending {
  submit: SubmitMessage;
  blobs: Map<string, JobBlob>;
  state: "offering" | "submitted" | "accepted";
  confirmed: Set<string>;
  /** Whether the server may have heard of it. */
  said: boolean;
  cancel: boolean;
  /** How often its blobs were gone again when it was submitted. */
  missed: number;
}

export interface Identity {
  client: string;
  /** The user's token, or the session's own that a welcome brought. */
  token?: string | null;
  session?: string | null;
  invitation?: string | null;
}

export class ClientSession {
  id: string | null;
  /** Whether the server has answered through the present socket. */
  ready = false;
  private queue: SendQueue | null = null;
  private epoch: string | null = null;
  private readonly pending = new Map<string, Pending>();
  private readonly results = new Map<string, Whole<ResultMessage>>();
  private readonly fetchedBlobs = new Map<string, WireBlob>();
  private readonly singles = new Map<string, BlobRef>();
  private readonly broken = new Map<string, number>();
  private readonly arrivals = new Arrivals((need) => this.say(need));
  /** Jobs that have ended, and whether their caller has acknowledged the end. */
  private readonly ended = new Map<string, boolean>();
  /** Blobs that this run of the server has had, the oldest first. */
  private readonly known = new Set<string>();
  private readonly pages = new Pages();

  constructor(private readonly identity: Identity) {
    this.id = identity.session ?? null;
  }

  get pendingIds(): string[] {
    return [...this.pending.keys()];
  }

  // -- what the caller asks for

  /** Ask for a job; it is said as soon as the server has its blobs, and said again after a reconnect. */
  submit(submit: SubmitMessage, blobs: JobBlob[]): void {
    const named = new Map(blobs.map((blob) => [hex(refOf(blob).digest), blob]));
    const job: Pending = { submit, blobs: named, state: "offering", confirmed: new Set(), said: false, cancel: false, missed: 0 };
    this.pending.set(submit.id, job);
    if (this.ready) this.offer(job);
  }

  /** End a job; said again until the job has ended. One that the server never heard of ends here and now. */
  cancel(id: string): SessionEvent[] {
    const job = this.pending.get(id);
    if (job === undefined) return [];
    if (!job.said) return this.end(id, { kind: "cancelled", id, reason: "cancelled" });
    job.cancel = true;
    this.say({ type: "cancel", id });
    return [];
  }

  /** The caller holds that job's end; the server may forget it. */
  acknowledge(id: string): void {
    if (this.ended.has(id)) this.ended.set(id, true);
    this.say({ type: "ack", id });
  }

  /** Ask for a blob that the history lists; it comes as `fetched`, or not at all, as `unfetched`. */
  fetch(ref: BlobRef): SessionEvent[] {
    const digest = hex(ref.digest);
    const here = this.fetchedBlobs.get(digest);
    if (here !== undefined) return [{ kind: "fetched", digest, blob: here }];
    this.singles.set(digest, ref);
    return this.ready ? this.ask(ref) : [];
  }

  /** Say something through the present socket; before the server has answered the hello it is not said. */
  say(message: Message, payload?: Uint8Array): void {
    if (this.ready) this.queue?.say(encode(message, payload));
  }

  // -- what the socket brings

  /** A socket is open: what leaves through it is in the returned queue, and begins with an introduction. */
  connected(): SendQueue {
    this.queue = new SendQueue();
    this.ready = false;
    this.arrivals.reconnected();
    this.pages.clear();
    const { client, token, invitation } = this.identity;
    this.queue.say(encode({ type: "hello", versions: [VERSION], client, token, session: this.id, invitation }));
    return this.queue;
  }

  /** The socket of that queue is gone; everything that was not finished waits for the next one. */
  disconnected(queue: SendQueue): void {
    if (this.queue === queue) {
      this.queue = null;
      this.ready = false;
    }
  }

  /** What a frame means for the caller. Throws ProtocolError where the server does not speak this protocol. */
  receive(data: Uint8Array): SessionEvent[] {
    const { message, payload } = decode(data);
    switch (message.type) {
      case "welcome":
        return this.onWelcome(message);
      case "have":
        return this.onHave(hex(message.digest));
      case "need":
        return this.onNeed(message);
      case "accepted":
        return this.onAccepted(message);
      case "progress":
        return this.ended.has(message.id) ? [] : [{ kind: "progress", id: message.id, progress: message }];
      case "preview":
        return this.onPreview(message, payload);
      case "result":
        return this.onResult(message);
      case "failed":
        return this.heardBefore(message.id) ? [] : this.end(message.id, { kind: "failed", id: message.id, problem: message });
      case "cancelled":
        if (this.heardBefore(message.id)) return [];
        return this.end(message.id, { kind: "cancelled", id: message.id, reason: message.reason });
      case "activity":
        return [{ kind: "activity", activity: message }];
      case "answer":
        return this.pages.take(message.id, message.more, payload);
      case "pong":
        return [{ kind: "pong", id: message.id }];
      case "chunk": {
        const incoming = this.arrivals.take(message, payload);
        return incoming === null ? [] : [{ kind: "arrived", incoming }];
      }
      case "error":
        return this.onError(message);
      case "lane_ready":
      case "release":
        return [];
      default:
        throw new ProtocolError("unexpected_message", `A server does not say ${message.type}.`);
    }
  }

  /** A blob is here and verified. */
  arrived(blob: WireBlob): SessionEvent[] {
    const digest = hex(blob.ref.digest);
    this.broken.delete(digest);
    const events: SessionEvent[] = this.singles.delete(digest) ? [{ kind: "fetched", digest, blob }] : [];
    if (!this.isWanted(digest)) return events; // its result was given up meanwhile
    this.fetchedBlobs.set(digest, blob);
    for (const result of [...this.results.values()]) events.push(...this.finishIfWhole(result));
    return events;
  }

  /** A blob's bytes were not the right ones: ask for it again; after three times its jobs have failed. */
  arrivedBroken(ref: BlobRef): SessionEvent[] {
    const digest = hex(ref.digest);
    if (!this.isWanted(digest)) return [];
    const times = (this.broken.get(digest) ?? 0) + 1;
    this.broken.set(digest, times);
    if (times >= MAX_BROKEN) {
      this.broken.delete(digest);
      const sentence = `A result arrived broken ${MAX_BROKEN} times.`;
      return this.lose(digest, { code: "blob_broken", sentence, remedy: "Run the job again.", retryable: true });
    }
    return this.ask(ref);
  }

  private onWelcome(welcome: Whole<WelcomeMessage>): SessionEvent[] {
    if (welcome.version !== VERSION) {
      throw new ProtocolError("unknown_version", `The server wants to speak version ${welcome.version}.`);
    }
    if (welcome.epoch !== this.epoch) this.known.clear();
    if (!welcome.resumed) {
      // Such a server has never heard of our jobs, nor of what they made: they are all said again.
      for (const gone of [this.results, this.fetchedBlobs, this.broken, this.arrivals]) gone.clear();
    }
    this.id = welcome.session;
    this.epoch = welcome.epoch;
    this.ready = true;
    this.identity.invitation = null; // it was good once
    if (welcome.token !== null) this.identity.token = welcome.token;
    for (const [id, job] of [...this.pending]) {
      if (job.cancel) this.say({ type: "cancel", id });
      else if (!this.results.has(id) && (job.state !== "accepted" || !welcome.resumed)) this.offer(job);
    }
    this.arrivals.resume();
    return [{ kind: "connected", welcome }];
  }

  /** Ask again for blobs that were asked for by themselves: after the caller has asked for the history again. */
  refetch(): SessionEvent[] {
    return [...this.singles.values()].flatMap((ref) => this.ask(ref));
  }

  private onHave(digest: string): SessionEvent[] {
    this.known.delete(digest);
    this.known.add(digest);
    if (this.known.size > MAX_KNOWN) this.known.delete(this.known.values().next().value!);
    for (const job of [...this.pending.values()]) {
      if (job.state === "offering" && job.blobs.has(digest)) {
        job.confirmed.add(digest);
        this.submitIfReady(job);
      }
    }
    return [];
  }

  private onNeed(need: Extract<Received, { type: "need" }>): SessionEvent[] {
    const digest = hex(need.digest);
    const holders = [...this.pending.values()].filter((job) => job.blobs.has(digest));
    const blob = holders.map((job) => job.blobs.get(digest)!).find(isWhole);
    if (blob !== undefined) {
      this.queue?.serve(new Outgoing(blob, need));
      return [];
    }
    // Its job has ended meanwhile, or the server has dropped what a repeated job was made from.
    this.say({ type: "error", code: "blob_gone", sentence: "That blob is not here any more.", remedy: "Forget it.", about: digest });
    const problem = { code: "blob_gone", sentence: "A picture that this job was made from is gone.", remedy: "Make the job anew." };
    return holders.map((job) => this.refuse(job.submit.id, problem));
  }

  private onAccepted(accepted: Whole<AcceptedMessage>): SessionEvent[] {
    const job = this.pending.get(accepted.id);
    if (job !== undefined) job.state = "accepted";
    return this.ended.has(accepted.id) ? [] : [{ kind: "accepted", id: accepted.id, accepted }];
  }

  private onPreview(preview: Whole<PreviewMessage>, pixels: Uint8Array): SessionEvent[] {
    if (this.ended.has(preview.id)) return [];
    if (pixels.length !== preview.width * preview.height * preview.channels) {
      throw new ProtocolError("bad_preview", "A preview's payload is not as large as its width and height say.");
    }
    return [{ kind: "preview", id: preview.id, preview, pixels: pixels.slice() }];
  }

  private onResult(result: Whole<ResultMessage>): SessionEvent[] {
    if (this.heardBefore(result.id)) return [];
    this.results.set(result.id, result);
    for (const output of result.outputs) {
      const lost = this.ask(output.blob);
      if (lost.length > 0) return lost;
    }
    return this.finishIfWhole(result);
  }

  private onError(error: Whole<ErrorMessage>): SessionEvent[] {
    const job = this.pending.get(error.about);
    if (error.code === "unknown_job" && (job !== undefined ? job.cancel : this.ended.has(error.about))) {
      return job !== undefined ? this.end(error.about, { kind: "cancelled", id: error.about, reason: "cancelled" }) : [];
    }
    if (job !== undefined && job.state !== "accepted") {
      if (error.code === "blob_missing" && job.missed < MAX_BROKEN) {
        if (!job.cancel) {
          // Evicted between have and submit: once more from the start.
          job.missed += 1;
          for (const digest of job.blobs.keys()) this.known.delete(digest);
          this.offer(job);
        }
        return [];
      }
      return [this.refuse(error.about, error)];
    }
    if (this.arrivals.has(error.about)) {
      this.arrivals.stop(error.about);
      return this.lose(error.about, error);
    }
    const offering = [...this.pending].filter(([, one]) => one.state === "offering" && one.blobs.has(error.about));
    return offering.length > 0 ? offering.map(([id]) => this.refuse(id, error)) : [{ kind: "error", error }];
  }

  // -- a job's way from offer to end

  private offer(job: Pending): void {
    job.state = "offering";
    job.confirmed = new Set();
    for (const [digest, blob] of job.blobs) {
      // A blob that the server had a moment ago is named alone: a few bytes instead of a list of digests.
      const digests = isWhole(blob) && !this.known.has(digest) ? blob.partDigests : undefined;
      this.say({ type: "offer", blob: refOf(blob) }, digests);
    }
    this.submitIfReady(job);
  }

  private submitIfReady(job: Pending): void {
    if (job.confirmed.size === job.blobs.size && !job.cancel) {
      job.state = "submitted";
      job.said = true;
      this.say(job.submit);
    }
  }

  private refuse(id: string, problem: Problem): SessionEvent {
    // Its accepted may have been lost with a socket: then it runs, and its end is not for the caller.
    if (this.pending.get(id)?.said) this.say({ type: "cancel", id });
    const event: SessionEvent = { kind: "refused", id, problem };
    this.end(id, event);
    this.ended.set(id, true);
    return event;
  }

  private ask(ref: BlobRef): SessionEvent[] {
    const digest = hex(ref.digest);
    if (this.fetchedBlobs.has(digest)) return [];
    try {
      this.arrivals.expect(ref);
    } catch (error) {
      if (!(error instanceof NoMemory)) throw error;
      return this.lose(digest, error.problem);
    }
    return [];
  }

  private isWanted(digest: string): boolean {
    if (this.singles.has(digest)) return true;
    return [...this.results.values()].some((result) => result.outputs.some((output) => hex(output.blob.digest) === digest));
  }

  /** An end that is told again: acknowledge it again if our acknowledgement may be lost, else the caller will. */
  private heardBefore(id: string): boolean {
    if (this.ended.get(id)) this.acknowledge(id);
    return this.ended.has(id) || this.results.has(id);
  }

  private finishIfWhole(result: Whole<ResultMessage>): SessionEvent[] {
    const digests = result.outputs.map((output) => hex(output.blob.digest));
    if (!digests.every((digest) => this.fetchedBlobs.has(digest))) return [];
    const blobs = new Map(digests.map((digest) => [digest, this.fetchedBlobs.get(digest)!]));
    this.results.delete(result.id);
    for (const digest of blobs.keys()) if (!this.isWanted(digest)) this.fetchedBlobs.delete(digest);
    return this.end(result.id, { kind: "finished", id: result.id, result, blobs });
  }

  /** A blob cannot be had any more: who asked for it is told, and jobs that made it have failed. */
  private lose(digest: string, problem: Problem): SessionEvent[] {
    const events: SessionEvent[] = this.singles.delete(digest) ? [{ kind: "unfetched", digest, problem }] : [];
    for (const result of [...this.results.values()]) {
      if (!result.outputs.some((output) => hex(output.blob.digest) === digest)) continue;
      this.results.delete(result.id);
      const { code, sentence, remedy = "", retryable = false } = problem;
      const failed = { type: "failed" as const, seq: result.seq, id: result.id, code, sentence, remedy, retryable };
      events.push(...this.end(result.id, { kind: "failed", id: result.id, problem: failed }));
    }
    for (const other of [...this.fetchedBlobs.keys()]) if (!this.isWanted(other)) this.fetchedBlobs.delete(other);
    return events;
  }

  private end(id: string, event: SessionEvent): SessionEvent[] {
    this.pending.delete(id);
    this.ended.set(id, false);
    while (this.ended.size > MAX_ENDED) this.ended.delete(this.ended.keys().next().value!);
    return [event];
  }
}
