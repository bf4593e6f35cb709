/** What ships is what the sources give: nobody needs Node.js to install or to run. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { ROOT } from "./python";

const folder = mkdtempSync(join(tmpdir(), "brushwire-built-"));
afterAll(() => rmSync(folder, { recursive: true }));

function files(at: string): Record<string, string> {
  return Object.fromEntries(readdirSync(at, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()).map((entry) => {
    const path = join(entry.parentPath, entry.name);
    return [path.slice(at.length + 1), readFileSync(path, "utf8")];
  }));
}

test.each([["server/web", "site"], ["plugins/photoshop", "archive"]])("the files that ship in %s/%s are up to date", (place, shipped_in) => {
  const outDir = join(folder, place.replace("/", "-"));
  // As npm run build does it, and not in this process, where NODE_ENV says that this is a test.
  const vite = join(ROOT, "node_modules/vite/bin/vite.js");
  const { NODE_ENV: _, ...env } = process.env;
  execFileSync(process.execPath, [vite, "build", "--config", join(place, "vite.config.ts"), "--outDir", outDir, "--emptyOutDir", "--logLevel", "error"], { cwd: ROOT, env });
  const [made, shipped] = [files(outDir), files(join(ROOT, place, shipped_in))];
  if (shipped_in === "site") expect(Object.keys(shipped).sort()).toEqual(Object.keys(made).sort());
  for (const [name, text] of Object.entries(made)) {
    expect(shipped[name] === text, `${place}/${shipped_in}/${name} is out of date: run npm run build`).toBe(true);
  }
});
