/** The panel. */
import "./polyfills";
import { signal } from "@preact/signals";
import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { BlobRef } from "../client/blobs";
import { BridgeClient, type Handle, type State } from "../client/client";
import { BridgeError, JobCancelledError } from "../client/errors";
import type { Control, Output } from "../client/protocol";
import { activeDocument, areaOf } from "./canvas";
import { fieldsOf, titleOf, valueOf, type Schema, type SchemaField } from "./form";
import { MODES, prepare, putBack, submit, type ControlLayer, type Mode } from "./modes";
import { pictureUrl } from "./picture";

/** Where `brushwire serve` listens; the manifest names the same port, as Photoshop wants it named beforehand. */
const PORT = 47263;
const KEPT = "brushwire.identity";
const HISTORY = 24;

interface Choice {
  id?: string;
  name: string;
  kind: string;
}

interface Entry {
  id: string;
  prompt: string;
  kind: string;
  thumbnail?: BlobRef;
}

interface Painting {
  handle: Handle | null;
  title: string;
  phase: string;
  part: number | null;
  preview: string;
}

const connection = signal<State>({ phase: "connecting", problem: null });
const schema = signal<Schema | null>(null);
const choices = signal<Choice[]>([]);
const past = signal<Entry[]>([]);
const mode = signal<Mode>("generate");
const values = signal<Record<string, string | boolean>>({});
const controls = signal<ControlLayer[]>([]);
const painting = signal<Painting | null>(null);
const note = signal<{ text: string; problem: boolean }>({ text: "", problem: false });

function kept(): { session?: string; token?: string } {
  try {
    return JSON.parse(localStorage.getItem(KEPT) ?? "{}") as { session: string; token: string };
  } catch {
    return {};
  }
}

const client = new BridgeClient({
  name: "Photoshop",
  url: (globalThis as { brushwireServer?: string }).brushwireServer ?? `ws://127.0.0.1:${PORT}`,
  ...kept(),
  onState(state) {
    connection.value = state;
    if (state.phase === "connected") void refresh();
  },
  onIdentity: (identity) => localStorage.setItem(KEPT, JSON.stringify(identity)),
});

async function refresh(): Promise<void> {
  try {
    schema.value = await client.query<Schema>("schema");
    choices.value = await client.query<Choice[]>("models");
    past.value = (await client.query<{ jobs: Entry[] }>("history", { limit: HISTORY })).jobs;
  } catch (error) {
    tell(error);
  }
}

const refreshPast = async () =>
  (past.value = await client.query<{ jobs: Entry[] }>("history", { limit: HISTORY }).then(({ jobs }) => jobs, () => past.value));

// A job is told as finished when its thumbnail is there, which is after its result.
client.watch((event) => {
  if (event.kind === "activity" && event.activity.state === "finished") void refreshPast();
});

function tell(error: unknown): void {
  if (error instanceof JobCancelledError) note.value = { text: "Cancelled.", problem: false };
  else if (error instanceof BridgeError || error instanceof RangeError) note.value = { text: error.message, problem: true };
  else note.value = { text: `Photoshop says: ${error instanceof Error ? error.message : String(error)}`, problem: true };
}

const busy = () => (note.value = { text: "Photoshop is busy with something else; this waits for it.", problem: false });

async function paint(): Promise<void> {
  const way = mode.value;
  const { kind, title } = MODES[way];
  note.value = { text: "", problem: false };
  try {
    const { first, more } = fieldsOf(schema.value!, kind);
    const form = Object.fromEntries([...first, ...more].filter((field) => values.value[field.name] !== undefined).map((field) => [field.name, valueOf(field, values.value[field.name]!)]));
    const name = String(form.prompt ?? title).slice(0, 60);
    painting.value = { handle: null, title: name, phase: "Reading the document", part: null, preview: "" };
    const prepared = await prepare(way, form, controls.value, busy);
    const handle = submit(client, prepared, {
      onProgress: ({ phase, step, steps }) => (painting.value = { ...painting.value!, phase: steps ? `${phase} ${step} of ${steps}` : phase, part: steps ? step / steps : null }),
      onPreview: ({ width, height, channels }, pixels) => (painting.value = { ...painting.value!, preview: pictureUrl(pixels, width, height, channels) }),
    });
    painting.value = { ...painting.value, handle, phase: "Waiting" };
    const result = await handle.result;
    painting.value = { ...painting.value, phase: "Placing" };
    await putBack(way, name, prepared, result, busy);
    handle.acknowledge(); // not before it is in the document: until then the server keeps it
    const notes = (result.info.fallbacks as string[] | undefined) ?? [];
    note.value = { text: ["Done.", ...notes].join(" "), problem: false };
  } catch (error) {
    tell(error);
  } finally {
    painting.value = null;
    await refreshPast();
  }
}

/** Put something of the history into the document, at its upper left or the selection's. */
async function placeAgain(entry: Entry): Promise<void> {
  try {
    const { result } = await client.query<{ result: { outputs: Output[] } }>("history", { job: entry.id });
    const blobs = await Promise.all(result.outputs.map((output) => client.fetch(output.blob)));
    const document = activeDocument();
    const prepared = { captured: null, bounds: areaOf(document), document: document.id };
    await putBack(entry.kind === "Texture" ? "texture" : "refine", entry.prompt.slice(0, 60) || entry.kind, prepared, { id: entry.id, outputs: result.outputs, blobs, info: {} }, busy);
    note.value = { text: "Placed.", problem: false };
  } catch (error) {
    tell(error);
  }
}

function Connect() {
  const [code, setCode] = useState("");
  const state = connection.value;
  if (state.phase === "connected") return null;
  const refused = state.phase === "refused";
  return (
    <section class="connect">
      <h2>{refused ? "Connect to Brushwire" : "Looking for Brushwire…"}</h2>
      {!refused && <p>Start it: <code>brushwire serve</code></p>}
      {refused && (
        <>
          <p>Once: run <code>brushwire gallery --code</code> in a terminal, and paste here what it prints.</p>
          <label>
            Code
            <input type="text" value={code} onInput={(event) => setCode(event.currentTarget.value)} />
          </label>
          <button class="primary" onClick={() => client.reconnect({ invitation: code.trim(), token: null, session: null })}>
            Connect
          </button>
        </>
      )}
    </section>
  );
}

function Field({ field }: { field: SchemaField }) {
  const value = values.value[field.name];
  const set = (text: string | boolean) => (values.value = { ...values.value, [field.name]: text });
  const title = titleOf(field);
  const id = `field-${field.name}`;
  if (field.type === "boolean") {
    return (
      <label class="check" title={field.doc}>
        <input type="checkbox" checked={value === undefined ? field.default === true : value === true} onChange={(event) => set(event.currentTarget.checked)} />
        {title}
      </label>
    );
  }
  const list = field.choices?.map((name) => ({ id: name, name })) ?? (field.choices_from ? optionsOf(field.choices_from) : null);
  return (
    <div class="field">
      <label for={id} title={field.doc}>
        {title}
      </label>
      {list ? (
        <select id={id} value={String(value ?? "")} onChange={(event) => set(event.currentTarget.value)}>
          <option value="">{field.choices ? String(field.default) : "Best that is there"}</option>
          {list.map((one) => (
            <option key={one.id} value={one.id}>
              {one.name}
            </option>
          ))}
        </select>
      ) : field.name.endsWith("prompt") ? (
        <textarea id={id} rows={field.name === "prompt" ? 3 : 2} value={String(value ?? "")} onInput={(event) => set(event.currentTarget.value)} />
      ) : (
        <input id={id} type="text" placeholder={field.default === null || field.default === undefined ? "automatic" : String(field.default)} value={String(value ?? "")} onInput={(event) => set(event.currentTarget.value)} />
      )}
    </div>
  );
}

/** The models of the kind that a list is named after: `controlnets` are those of the kind `controlnet`. */
function optionsOf(list: string): { id: string; name: string }[] {
  const kind = list === "models" ? "checkpoint" : list.replace(/s$/, "");
  return choices.value.filter((choice) => choice.kind === kind && choice.id).map(({ id, name }) => ({ id: id!, name }));
}

const CONTROLS: Control["kind"][] = ["depth", "normal", "pose", "canny", "softedge", "lineart", "scribble", "segmentation"];

function Controls() {
  const add = () => {
    try {
      const layer = activeDocument().activeLayers[0];
      if (layer === undefined) throw new BridgeError({ code: "no_layer", sentence: "No layer is chosen.", remedy: "Choose the layer to follow." });
      controls.value = [...controls.value, { layer: layer.id, name: layer.name, kind: "depth", weight: 1, detector: "" }];
    } catch (error) {
      tell(error);
    }
  };
  const change = (index: number, fields: Partial<ControlLayer>) => (controls.value = controls.value.map((one, i) => (i === index ? { ...one, ...fields } : one)));
  return (
    <section aria-label="Layers that are followed">
      {controls.value.map((control, index) => (
        <div class="control" key={index}>
          <span class="name">{control.name}</span>
          <select aria-label={`What ${control.name} shows`} value={control.kind} onChange={(event) => change(index, { kind: event.currentTarget.value as Control["kind"] })}>
            {CONTROLS.map((kind) => (
              <option key={kind} value={kind}>
                {kind}
              </option>
            ))}
          </select>
          <input aria-label={`Weight of ${control.name}`} type="range" min={0} max={2} step={0.05} value={control.weight} onInput={(event) => change(index, { weight: Number(event.currentTarget.value) })} />
          <button aria-label={`Follow ${control.name} no more`} onClick={() => (controls.value = controls.value.filter((_, i) => i !== index))}>
            ×
          </button>
        </div>
      ))}
      <button onClick={add}>Follow the chosen layer</button>
    </section>
  );
}

function Running() {
  const now = painting.value;
  if (now === null) return null;
  return (
    <section class="running" aria-label="What is painted">
      <p>{now.phase}</p>
      <div class="bar">
        <div class="done" style={{ width: `${Math.round(100 * (now.part ?? 0))}%` }} />
      </div>
      {now.preview && <img src={now.preview} alt="Preview" />}
      {now.handle && <button onClick={() => now.handle?.cancel()}>Cancel</button>}
    </section>
  );
}

function Past({ entry }: { entry: Entry }) {
  const [url, setUrl] = useState("");
  useEffect(() => {
    if (entry.thumbnail) client.fetch(entry.thumbnail).then(({ data }) => setUrl(dataUrl(data)), () => {});
  }, [entry.id, Boolean(entry.thumbnail)]);
  return (
    <button class="past" title={entry.prompt} aria-label={`Place ${entry.prompt || entry.kind}`} onClick={() => void placeAgain(entry)}>
      {url ? <img src={url} alt="" /> : entry.kind}
    </button>
  );
}

/** Photoshop shows pictures from data addresses; it has no object addresses. */
function dataUrl(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return `data:image/${bytes[0] === 0x89 ? "png" : "jpeg"};base64,${btoa(text)}`;
}

function App() {
  const [more, setMore] = useState(false);
  const way = mode.value;
  const fields = schema.value ? fieldsOf(schema.value, MODES[way].kind) : null;
  const connected = connection.value.phase === "connected";
  return (
    <main>
      <Connect />
      {fields && (
        <>
          <div class="field">
            <label for="mode">What to do</label>
            <select id="mode" value={way} onChange={(event) => (mode.value = event.currentTarget.value as Mode)}>
              {(Object.keys(MODES) as Mode[]).map((name) => (
                <option key={name} value={name}>
                  {MODES[name].title}
                </option>
              ))}
            </select>
            <p class="quiet">{MODES[way].about}</p>
          </div>
          {fields.first.filter((field) => way !== "generate" || field.name !== "denoising_strength").map((field) => (
            <Field key={field.name} field={field} />
          ))}
          {way !== "texture" && way !== "upscale" && <Controls />}
          <button class="fold" aria-expanded={more} onClick={() => setMore(!more)}>
            {more ? "Less" : "More"}
          </button>
          {more && fields.more.map((field) => <Field key={field.name} field={field} />)}
          <button class="primary" disabled={!connected || painting.value !== null} onClick={() => void paint()}>
            Paint
          </button>
          <Running />
          <p class={note.value.problem ? "problem" : "quiet"} role="status">
            {note.value.text}
          </p>
          {past.value.length > 0 && (
            <section aria-labelledby="past-title">
              <h2 id="past-title">Painted before</h2>
              <div class="pasts">
                {past.value.map((entry) => (
                  <Past key={entry.id} entry={entry} />
                ))}
              </div>
            </section>
          )}
        </>
      )}
    </main>
  );
}

render(<App />, document.getElementById("app")!);

