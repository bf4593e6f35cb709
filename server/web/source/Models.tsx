/** The models that the server found, and those that it refuses, with the reason. */
import { useEffect, useState } from "preact/hooks";
import { client, connection } from "./state";

interface Model {
  id?: string;
  name: string;
  kind: string;
  family?: string;
  size_bytes?: number;
  native_size?: number;
  control?: string | null;
  reason?: string;
  remedy?: string;
}

const TITLES: [string, string][] = [
  ["checkpoint", "Checkpoints"],
  ["lora", "LoRAs"],
  ["controlnet", "ControlNets"],
  ["vae", "Autoencoders"],
  ["image_adapter", "Image adapters"],
  ["upscaler", "Upscalers"],
  ["detector", "Detectors"],
  ["estimator", "Material estimators"],
  ["refused", "Refused"],
];

export function Models() {
  const [models, setModels] = useState<Model[] | null>(null);
  const connected = connection.value.phase === "connected";
  useEffect(() => {
    if (connected) client.query<Model[]>("models").then(setModels, () => {});
  }, [connected]);
  if (models === null) return <p class="quiet">Loading…</p>;
  return (
    <section class="sheet">
      <h1>Models</h1>
      {TITLES.map(([kind, title]) => {
        const found = models.filter((model) => model.kind === kind);
        return (
          found.length > 0 && (
            <section key={kind} aria-labelledby={`kind-${kind}`}>
              <h2 id={`kind-${kind}`}>{title}</h2>
              <ul class="rows">
                {found.map((model) => (
                  <li key={model.id ?? model.name}>
                    <p class="title">{model.name}</p>
                    <p class="quiet">{kind === "refused" ? `${model.reason} ${model.remedy}` : about(model)}</p>
                  </li>
                ))}
              </ul>
            </section>
          )
        );
      })}
      {models.length === 0 && <p class="empty">No model was found.</p>}
    </section>
  );
}

function about(model: Model): string {
  const size = model.size_bytes ? sizeOf(model.size_bytes) : "";
  const native = model.native_size ? `${model.native_size} × ${model.native_size}` : "";
  return [model.family, model.control, native, size].filter(Boolean).join(" · ");
}

export function sizeOf(bytes: number): string {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  const power = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(1, bytes)) / 3));
  return `${(bytes / 1000 ** power).toLocaleString("en", { maximumFractionDigits: power ? 1 : 0 })} ${units[power]}`;
}
