/** What the page knows, as signals: the connection, what is going on, and which page is shown. */
import { batch, computed, signal } from "@preact/signals";
import { BridgeClient, type State } from "../../../plugins/photoshop/client/client";
import type { Whole } from "../../../plugins/photoshop/client/codec";
import type { ActivityMessage } from "../../../plugins/photoshop/client/protocol";
import type { SessionEvent } from "../../../plugins/photoshop/client/events";
import { pixelsToUrl } from "./pixels";

/** A job that waits or is painted, or has ended badly and was not dismissed. */
export interface Running {
  id: string;
  state: "accepted" | "running" | "failed";
  kind: string;
  prompt: string;
  client: string;
  created: number;
  phase: string;
  step: number;
  steps: number;
  eta: number | null;
  preview: string | null;
  sentence: string;
  remedy: string;
}

export type Page = "pictures" | "models" | "server";

export const connection = signal<State>({ phase: "connecting", problem: null });
export const running = signal<ReadonlyMap<string, Running>>(new Map());
export const page = signal<Page>("pictures");
/** The job that is shown whole, and the (at most two) that are chosen for a comparison. */
export const shown = signal<string | null>(null);
export const chosen = signal<readonly string[]>([]);
export const comparing = signal(false);
/** A short sentence that is said and goes away. */
export const toast = signal("");
export const waitingCount = computed(() => [...running.value.values()].filter((job) => job.state !== "failed").length);

let toastTimer: ReturnType<typeof setTimeout> | undefined;
export function say(sentence: string): void {
  toast.value = sentence;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => (toast.value = ""), 6000);
}

/** Where this tab keeps its session; a token of a tab is good for that session alone. */
const KEPT = "brushwire";

/** The code behind the `#` of the address, which is then taken out of it. */
function takeInvitation(): string | null {
  const code = /^#invitation=([\w-]+)$/.exec(location.hash)?.[1] ?? null;
  if (code !== null) history.replaceState(null, "", location.pathname);
  return code;
}

function kept(): { session: string | null; token: string | null } {
  try {
    return JSON.parse(sessionStorage.getItem(KEPT) ?? "{}") as { session: string; token: string };
  } catch {
    return { session: null, token: null };
  }
}

const invitation = takeInvitation();
export const client = new BridgeClient({
  name: "gallery",
  url: location.origin.replace(/^http/, "ws"),
  ...(invitation === null ? kept() : { invitation }),
  onState: (state) => (connection.value = state),
  onIdentity: (identity) => sessionStorage.setItem(KEPT, JSON.stringify(identity)),
});

const ended: ((id: string) => void)[] = [];
/** Be told when a job has ended or was deleted: the history has changed. */
export function onHistoryChange(listener: (id: string) => void): void {
  ended.push(listener);
}

client.watch((event) => batch(() => heard(event)));

function heard(event: SessionEvent): void {
  if (event.kind === "activity") hearActivity(event.activity);
  else if (event.kind === "progress") {
    const { phase, step, steps, eta } = event.progress;
    change(event.id, { state: "running", phase, step, steps, eta });
  } else if (event.kind === "preview" && running.value.has(event.id)) {
    const { width, height, channels } = event.preview;
    const id = event.id;
    void pixelsToUrl(event.pixels, [height, width, channels]).then((preview) => {
      const before = running.value.get(id)?.preview;
      if (running.value.has(id)) change(id, { preview });
      if (before) URL.revokeObjectURL(before);
    });
  }
}

function hearActivity(activity: Whole<ActivityMessage>): void {
  const { id, state, kind, prompt, client: from, created, sentence, remedy } = activity;
  if (state === "accepted" || state === "running" || state === "failed") {
    const before = running.value.get(id);
    const fresh: Running = { id, state, kind, prompt, client: from, created, sentence, remedy, phase: "", step: 0, steps: 0, eta: null, preview: null };
    running.value = new Map(running.value).set(id, { ...fresh, ...before, state: before?.state === "running" && state === "accepted" ? "running" : state, sentence, remedy });
    if (state === "failed" && before !== undefined) say(`A job failed: ${sentence}`);
    return;
  }
  dismiss(id);
  for (const listener of ended) listener(id);
}

function change(id: string, fields: Partial<Running>): void {
  const job = running.value.get(id);
  if (job !== undefined) running.value = new Map(running.value).set(id, { ...job, ...fields });
}

/** Take a job out of what is going on. */
export function dismiss(id: string): void {
  const preview = running.value.get(id)?.preview;
  if (preview) URL.revokeObjectURL(preview);
  const left = new Map(running.value);
  if (left.delete(id)) running.value = left;
}

/** After a reconnect the server tells anew what is going on. */
export function forgetRunning(): void {
  for (const id of running.value.keys()) dismiss(id);
}
