/** One job, whole: what it made, what it was asked, and what can be done with it. */
import { useEffect, useState } from "preact/hooks";
import type { WireBlob } from "../../../plugins/photoshop/client/blobs";
import { hex } from "../../../plugins/photoshop/client/bytes";
import { BridgeError } from "../../../plugins/photoshop/client/errors";
import type { Jobs, Output } from "../../../plugins/photoshop/client/protocol";
import { Dialog } from "./Dialog";
import { whole, type WholeEntry } from "./pictures";
import { blobToUrl, isPicture } from "./pixels";
import { Scene } from "./Scene";
import { chosen, client, say, shown } from "./state";

/** Maps that make a material together. */
const MAPS = ["albedo", "normal", "height", "roughness", "metallic", "ambient_occlusion"];

export function Detail({ id }: { id: string }) {
  const [entry, setEntry] = useState<WholeEntry | null>(null);
  const [problem, setProblem] = useState("");
  const [place, setPlace] = useState(0);
  const close = () => (shown.value = null);
  useEffect(() => {
    whole(id).then(setEntry, (error: unknown) => setProblem(error instanceof BridgeError ? error.message : String(error)));
  }, [id]);
  const outputs = entry?.result.outputs ?? [];
  const isMaterial = outputs.filter((output) => MAPS.includes(output.name)).length > 1;
  const title = entry?.prompt || entry?.kind || "A picture";
  const output = outputs[place - (isMaterial ? 1 : 0)];
  return (
    <Dialog title={title} class="detail" onClose={close}>
      <div class="stage">
        {problem && <p class="problem">{problem}</p>}
        {entry && (isMaterial && place === 0 ? <Material outputs={outputs} /> : output && <Shown key={hex(output.blob.digest)} output={output} title={title} />)}
        {outputs.length + Number(isMaterial) > 1 && (
          <div class="outputs" role="group" aria-label="What the job made">
            {[...(isMaterial ? ["material"] : []), ...outputs.map((one) => one.name)].map((name, index) => (
              <button key={index} aria-pressed={index === place} onClick={() => setPlace(index)}>
                {name.replaceAll("_", " ")}
                {outputs.filter((one) => one.name === name).length > 1 ? ` ${index + 1 - Number(isMaterial)}` : ""}
              </button>
            ))}
          </div>
        )}
      </div>
      <div class="about">
        <h2>{title}</h2>
        {entry && <Facts entry={entry} output={output ?? outputs[0]} />}
        {entry && <Actions entry={entry} onGone={close} />}
      </div>
    </Dialog>
  );
}

function Shown({ output, title }: { output: Output; title: string }) {
  const [blob, setBlob] = useState<WireBlob | null>(null);
  const [url, setUrl] = useState("");
  const [problem, setProblem] = useState("");
  useEffect(() => {
    client.fetch(output.blob).then(setBlob, (error: BridgeError) => setProblem(error.message));
  }, []);
  useEffect(() => {
    if (blob === null || !isPicture(blob.ref.shape)) return;
    let made = "";
    void blobToUrl(blob).then((address) => setUrl((made = address)));
    return () => URL.revokeObjectURL(made);
  }, [blob]);
  if (problem) return <p class="problem">{problem}</p>;
  if (blob === null) return <p class="quiet">Loading…</p>;
  if (!isPicture(blob.ref.shape)) return <Scene what={{ mesh: blob.data }} label={`${output.name} of ${title}`} />;
  return url ? <img class="large" src={url} alt={title} /> : null;
}

function Material({ outputs }: { outputs: Output[] }) {
  const [maps, setMaps] = useState<Map<string, WireBlob> | null>(null);
  useEffect(() => {
    const wanted = outputs.filter((output) => MAPS.includes(output.name));
    void Promise.all(wanted.map(async (output) => [output.name, await client.fetch(output.blob)] as const)).then((found) => setMaps(new Map(found)));
  }, []);
  return maps ? <Scene what={{ maps }} label="The material on a sphere under a light" /> : <p class="quiet">Loading…</p>;
}

function Facts({ entry, output }: { entry: WholeEntry; output: Output | undefined }) {
  const { job } = entry;
  const facts: [string, unknown][] = [
    ["Negative prompt", job.negative_prompt],
    ["Kind", entry.kind],
    ["Model", entry.model],
    ["Size", entry.width && `${entry.width} × ${entry.height}`],
    ["Seed", output?.info?.seed ?? job.seed],
    ["Steps", job.steps],
    ["Guidance", job.guidance_scale],
    ["Sampler", job.sampler],
    ["Strength", job.denoising_strength],
    ["Painted", new Date(entry.ended * 1000).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" })],
    ["Took", `${Math.max(0.1, entry.ended - entry.created).toFixed(1)} s`],
  ];
  const fallbacks = (entry.result.info?.fallbacks as string[] | undefined) ?? [];
  return (
    <>
      <dl>
        {facts
          .filter(([, value]) => value !== undefined && value !== null && value !== "")
          .map(([name, value]) => (
            <div key={name}>
              <dt>{name}</dt>
              <dd>{String(value)}</dd>
            </div>
          ))}
      </dl>
      {fallbacks.map((note) => (
        <p class="quiet" key={note}>
          {note}
        </p>
      ))}
    </>
  );
}

function Actions({ entry, onGone }: { entry: WholeEntry; onGone: () => void }) {
  const [sure, setSure] = useState(false);
  const seed = entry.result.outputs[0]?.info?.seed;
  const repeat = (changes: Record<string, unknown>, said: string) => {
    const handle = client.submit(entry.kind as keyof Jobs, { ...entry.job, ...changes } as never);
    handle.result.catch((error: BridgeError) => say(error.message));
    say(said);
    onGone();
  };
  const copy = async () => {
    await navigator.clipboard.writeText(jobText(entry));
    say("The job is in the clipboard.");
  };
  return (
    <div class="actions">
      <button class="primary" onClick={() => repeat(seed === undefined ? {} : { seed }, "It is painted again, just as it was.")}>
        Repeat
      </button>
      <button onClick={() => repeat({ seed: undefined }, "It is painted again, with a new seed.")}>New seed</button>
      <button onClick={() => void copy()}>Copy the job</button>
      <button
        class="danger"
        onBlur={() => setSure(false)}
        onClick={() => {
          if (!sure) return setSure(true);
          chosen.value = chosen.value.filter((id) => id !== entry.id);
          client.forget(entry.id);
          onGone();
        }}
      >
        {sure ? "Delete for good" : "Delete"}
      </button>
    </div>
  );
}

/** A job as JSON, arrays by their digests. */
export function jobText(entry: Pick<WholeEntry, "kind" | "job">): string {
  return JSON.stringify({ kind: entry.kind, ...entry.job }, (_, value: unknown) => (value instanceof Uint8Array ? hex(value) : value), 2);
}
