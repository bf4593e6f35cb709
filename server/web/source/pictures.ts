/** What was painted: a long list that is loaded in pages as it is looked at, and its thumbnails. */
import { signal } from "@preact/signals";
import type { BlobRef } from "../../../plugins/photoshop/client/blobs";
import { hex } from "../../../plugins/photoshop/client/bytes";
import { BridgeError } from "../../../plugins/photoshop/client/errors";
import type { Output } from "../../../plugins/photoshop/client/protocol";
import { client, onHistoryChange } from "./state";

export interface Entry {
  id: string;
  kind: string;
  prompt: string;
  model: string;
  created: number;
  ended: number;
  outputs: number;
  thumbnail?: BlobRef;
  width?: number;
  height?: number;
}

export interface WholeEntry extends Omit<Entry, "outputs"> {
  job: Record<string, unknown>;
  result: { outputs: Output[]; info?: Record<string, unknown> };
}

export interface Filter {
  search: string;
  model: string;
  /** The last so many days; 0: all. */
  days: number;
}

const PAGE = 100;

export const filter = signal<Filter>({ search: "", model: "", days: 0 });
export const total = signal<number | null>(null);
export const models = signal<string[]>([]);
/** Grows whenever entries have come; who draws them looks at it. */
export const version = signal(0);

let entries = new Map<number, Entry>();
let asked = new Set<number>();
/** Answers to an older filter, or from before a change, are dropped. */
let generation = 0;

/** The entry at that place, the newest first, if it is here; else it will come, and `version` grows. */
export function entryAt(index: number): Entry | undefined {
  const page = Math.floor(index / PAGE);
  if (!asked.has(page)) void load(page);
  return entries.get(index);
}

export function search(changed: Partial<Filter>): void {
  filter.value = { ...filter.value, ...changed };
  reload();
}

/** Ask again for what is looked at; what is here stays in sight until the answer has come. */
export function reload(): void {
  generation += 1;
  asked = new Set();
  void load(0);
}

async function load(page: number): Promise<void> {
  asked.add(page);
  const mine = generation;
  const { search, model, days } = filter.value;
  const since = days ? Date.now() / 1000 - days * 86_400 : null;
  try {
    const found = await client.query<{ total: number; jobs: Entry[]; models: string[] }>("history", {
      search, model, since, offset: page * PAGE, limit: PAGE,
    });
    if (mine !== generation) return;
    if (page === 0) entries = new Map();
    found.jobs.forEach((entry, index) => entries.set(page * PAGE + index, entry));
    total.value = found.total;
    models.value = found.models;
    version.value += 1;
  } catch (error) {
    if (!(error instanceof BridgeError)) throw error;
    asked.delete(page); // it is asked for again when it is looked at
  }
}

let timer: ReturnType<typeof setTimeout> | undefined;
onHistoryChange(() => {
  clearTimeout(timer);
  timer = setTimeout(reload, 60);
});

export function whole(id: string): Promise<WholeEntry> {
  return client.query<WholeEntry>("history", { job: id });
}

/** The pictures' addresses by their digests, the least recently used first. */
const urls = new Map<string, Promise<string>>();
const KEPT = 600;

export function thumbnail(ref: BlobRef): Promise<string> {
  const key = hex(ref.digest);
  let url = urls.get(key);
  if (url === undefined) {
    url = client.fetch(ref).then(({ data }) => URL.createObjectURL(new Blob([data as Uint8Array<ArrayBuffer>])));
    url.catch(() => urls.delete(key));
  }
  urls.delete(key);
  urls.set(key, url);
  while (urls.size > KEPT) {
    const [oldest, gone] = urls.entries().next().value!;
    urls.delete(oldest);
    void gone.then((address) => URL.revokeObjectURL(address), () => {});
  }
  return url;
}
