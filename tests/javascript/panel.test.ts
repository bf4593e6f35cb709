/** The panel's own page in a real Chromium, with the stand-in for Photoshop and the real server. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { build } from "vite";
import { describeInChromium, launch, open, PICTURES } from "./browser";
import { ROOT, Server } from "./python";

const ARCHIVE = join(ROOT, "plugins/photoshop/archive");
const PANEL = "http://panel.test"; // the test server knows this origin; what Photoshop sends, its documentation leaves open
const TYPES: Record<string, string> = { html: "text/html", js: "text/javascript", css: "text/css" };
const server = new Server();
let browser: Browser;
let fake = "";

async function bundled(): Promise<string> {
  const lib = { entry: join(ROOT, "tests/javascript/fake_photoshop.ts"), formats: ["iife" as const], name: "fakePhotoshop" };
  const [made] = [await build({ configFile: false, logLevel: "error", build: { write: false, lib } })].flat() as { output: { code: string }[] }[];
  return made!.output[0]!.code;
}

async function panel(): Promise<Page> {
  const { page, problems } = await open(browser, { viewport: { width: 320, height: 900 } });
  await page.route(`${PANEL}/**`, (route) => {
    const name = new URL(route.request().url()).pathname.slice(1) || "index.html";
    return route.fulfill({ body: readFileSync(join(ARCHIVE, name)), contentType: TYPES[name.split(".").pop()!] });
  });
  await page.addInitScript(`${fake};
    globalThis.host = new fakePhotoshop.FakePhotoshop();
    globalThis.require = (name) => { if (name !== "photoshop") throw new Error(name); return host.module; };
    globalThis.brushwireServer = ${JSON.stringify(server.url)};
    // Photoshop has neither.
    delete globalThis.TextEncoder; delete globalThis.TextDecoder; delete URL.createObjectURL;`);
  await page.goto(`${PANEL}/index.html`);
  (page as any).problems = problems;
  return page;
}

describeInChromium("the panel", () => {
  beforeAll(async () => {
    [browser, fake] = await Promise.all([launch(), bundled(), server.start()]);
  });
  afterAll(async () => {
    await browser?.close();
    await server.stop();
  });

  test("comes in with a code, paints into the document, and places from the history", async () => {
    const page = await panel();
    await page.getByText("brushwire gallery --code").waitFor();
    await page.screenshot({ path: join(PICTURES, "photoshop-connect.png") });
    const { code } = await server.do("invitation");
    await page.getByLabel("Code").fill(code);
    await page.getByRole("button", { name: "Connect" }).click();
    await page.getByLabel("Prompt", { exact: true }).fill("a calm bay with two islands");
    await page.getByLabel("Seed").fill("4");
    await page.getByRole("button", { name: "Paint" }).click();
    await page.getByText("No document is open.").waitFor();
    await page.evaluate("host.open(256, 192)");
    const door = join(server.folder, "panel-door");
    await page.getByLabel("Negative prompt").fill(`wait-for ${door}`);
    await page.getByRole("button", { name: "Paint" }).click();
    await page.getByAltText("Preview").waitFor();
    await page.getByLabel("Negative prompt").fill("");
    await page.waitForFunction(() => [...document.querySelectorAll<HTMLImageElement>(".running img")].every((image) => image.naturalWidth === 96));
    await page.screenshot({ path: join(PICTURES, "photoshop-panel.png") });
    await server.do("touch", { path: door });
    await page.getByText("Done.").waitFor();
    expect(await page.evaluate("[host.active.layers.length, host.active.history.join()]")).toEqual([1, "a calm bay with two islands"]);
    await page.locator(".past img").first().waitFor();
    await page.screenshot({ path: join(PICTURES, "photoshop-history.png") });
    await page.getByRole("button", { name: "Place a calm bay" }).click();
    await page.getByText("Placed.").waitFor();
    expect(await page.evaluate("host.active.layers.length")).toBe(2);
    await page.reload(); // what Photoshop keeps lets it in again
    await page.getByLabel("Prompt", { exact: true }).waitFor();
    expect((page as any).problems).toEqual([]);
    await page.context().close();
  });

  test("offers every way of working, and cancels", async () => {
    const page = await panel();
    const { code } = await server.do("invitation");
    await page.getByLabel("Code").fill(code);
    await page.getByRole("button", { name: "Connect" }).click();
    await page.evaluate("host.open(64, 64)");
    await page.locator("#mode").waitFor();
    const ways = await page.locator("#mode option").allTextContents();
    for (const way of ways) {
      await page.locator("#mode").selectOption({ label: way });
      await page.getByLabel("Prompt", { exact: true }).waitFor();
    }
    expect(ways).toHaveLength(6);
    await page.locator("#mode").selectOption({ label: "New picture" });
    await page.getByRole("button", { name: "More" }).click();
    await page.getByText("Sampler").waitFor();
    await page.getByLabel("Prompt", { exact: true }).fill(`wait-for ${server.folder}/never`);
    await page.getByRole("button", { name: "Paint" }).click();
    await page.getByRole("button", { name: "Cancel" }).click();
    await page.getByText("Cancelled.").waitFor();
    await page.context().close();
  });
});
