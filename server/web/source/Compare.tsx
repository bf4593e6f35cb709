/** Two pictures over each other, with a line between them that can be moved. */
import { useEffect, useState } from "preact/hooks";
import { Dialog } from "./Dialog";
import { whole, type WholeEntry } from "./pictures";
import { blobToUrl, isPicture } from "./pixels";
import { client, comparing } from "./state";

interface Side {
  entry: WholeEntry;
  url: string;
}

export function Compare({ ids }: { ids: [string, string] }) {
  const [sides, setSides] = useState<[Side, Side] | null>(null);
  const [problem, setProblem] = useState("");
  const [split, setSplit] = useState(50);
  useEffect(() => {
    Promise.all(ids.map(sideOf)).then(([left, right]) => setSides([left!, right!]), (error: Error) => setProblem(error.message));
  }, []);
  return (
    <Dialog title="Two pictures compared" class="compare" onClose={() => (comparing.value = false)}>
      {problem && <p class="problem">{problem}</p>}
      {sides && (
        <>
          <div class="pair">
            <img src={sides[0].url} alt={sides[0].entry.prompt} />
            <img class="over" src={sides[1].url} alt={sides[1].entry.prompt} style={{ clipPath: `inset(0 0 0 ${split}%)` }} />
            <span class="line" style={{ left: `${split}%` }} aria-hidden="true" />
            <input type="range" min={0} max={100} value={split} aria-label="Where the second picture begins" onInput={(event) => setSplit(Number(event.currentTarget.value))} />
          </div>
          <div class="asked" tabIndex={0} role="region" aria-label="What the two jobs were asked">
          <table>
            <thead>
              <tr>
                <td />
                <th scope="col">Left</th>
                <th scope="col">Right</th>
              </tr>
            </thead>
            <tbody>
              {differences(sides[0].entry, sides[1].entry).map(([name, left, right]) => (
                <tr key={name} class={left === right ? "" : "differs"}>
                  <th scope="row">{name.replaceAll("_", " ")}</th>
                  <td>{left}</td>
                  <td>{right}</td>
                </tr>
              ))}
            </tbody>
          </table>
          </div>
        </>
      )}
    </Dialog>
  );
}

async function sideOf(id: string): Promise<Side> {
  const entry = await whole(id);
  const output = entry.result.outputs.find((one) => isPicture(one.blob.shape));
  if (output === undefined) throw new Error("Only pictures can be compared.");
  return { entry, url: await blobToUrl(await client.fetch(output.blob)) };
}

/** What two jobs were asked, field by field. */
export function differences(left: WholeEntry, right: WholeEntry): [string, string, string][] {
  const fields = (entry: WholeEntry): Record<string, unknown> => ({ ...entry.job, model: entry.model, seed: entry.result.outputs[0]?.info?.seed ?? entry.job.seed });
  const [a, b] = [fields(left), fields(right)];
  const text = (value: unknown) => (value === undefined || value === null ? "" : typeof value === "object" ? "…" : String(value));
  return [...new Set([...Object.keys(a), ...Object.keys(b)])].map((name) => [name, text(a[name]), text(b[name])]);
}
