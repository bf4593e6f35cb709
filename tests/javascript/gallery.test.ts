/** The gallery in a real Chromium, with ten thousand pictures and a real server. */
import { createServer } from "node:http";
import { join } from "node:path";
import { readFileSync } from "node:fs";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { describeInChromium, launch, open, openGallery, PICTURES } from "./browser";
import { ROOT, Server, until } from "./python";

const COUNT = 10_000;
const AXE = readFileSync(join(ROOT, "node_modules/axe-core/axe.min.js"), "utf8");
const server = new Server("small", COUNT);
const quick = { steps: 40, width: 64, height: 64 };
let browser: Browser;

describeInChromium("the gallery", () => {
  beforeAll(async () => {
    [browser] = await Promise.all([launch(), server.start()]);
  });
  afterAll(async () => {
    await browser?.close();
    await server.stop();
  });

  const gallery = (options = {}) => openGallery(browser, server, options);

  async function seriousFindings(page: Page): Promise<string[]> {
    // Not as a script element, which the page's own policy refuses.
    await page.evaluate(AXE);
    const { violations } = await page.evaluate(() => (globalThis as any).axe.run());
    return violations.filter((one: any) => ["serious", "critical"].includes(one.impact)).map((one: any) => `${one.id}: ${one.nodes[0].html}`);
  }

  test.each(["light", "dark"] as const)("shows pictures and what is going on, in %s, accessibly, and asks nobody else", async (colorScheme) => {
    const { page, context, requests, problems } = await gallery({ colorScheme });
    const door = join(server.folder, `door-${colorScheme}`);
    const first = await server.do("submit", { kind: "Generate", job: { ...quick, prompt: "a lighthouse above a calm sea, watercolour", negative_prompt: `wait-for ${door}`, seed: 4 } });
    const second = await server.do("submit", { kind: "Generate", job: { ...quick, prompt: "a harbour at dusk, oil on canvas", seed: 11 } });
    await page.locator(".card").nth(1).waitFor();
    await page.locator(".card.running .preview img").waitFor();
    await page.waitForFunction(() => [...document.querySelectorAll<HTMLImageElement>(".tile img")].filter((image) => image.naturalWidth > 0).length >= 8);
    expect(await page.locator(".count").textContent()).toBe("10,000 pictures".replace("10,000", (await count()).toLocaleString("en")));
    await page.screenshot({ path: join(PICTURES, `gallery-${colorScheme}.png`) });
    expect(await seriousFindings(page)).toEqual([]);
    await server.do("touch", { path: door });
    for (const { id } of [first, second]) await server.do("wait", { id });
    expect(problems).toEqual([]);
    const origin = server.url.replace("ws://", "");
    expect(requests.filter((request) => !request.startsWith("blob:") && new URL(request).host !== origin)).toEqual([]);
    expect(page.url()).not.toContain("invitation");
    await context.close();
  });

  const count = async () => (await server.do("query", { what: "history", limit: 0 })).total as number;

  // What is held up once by another program is not held up three times.
  test("a job from Python is there with its progress within 200 ms, and can be cancelled", { retry: 2 }, async () => {
    const { page, context } = await gallery();
    await page.evaluate(() => {
      const seen = ((globalThis as any).seen = { card: 0, progress: 0 });
      new MutationObserver(() => {
        if (document.querySelector(".card")) seen.card ||= Date.now();
        if (document.querySelector(".card.running progress")) seen.progress ||= Date.now();
      }).observe(document.body, { subtree: true, childList: true, attributes: true });
    });
    const { id, at } = await server.do("submit", { kind: "Generate", job: { ...quick, prompt: `wait-for ${server.folder}/never` } });
    await page.locator(".card.running").waitFor();
    const seen = await page.evaluate(() => (globalThis as any).seen);
    console.log(`a job was in the page after ${Math.round(seen.card - at * 1000)} ms, its progress after ${Math.round(seen.progress - at * 1000)} ms`);
    // Five times what is promised of a quiet machine: other programs run beside the tests.
    expect(seen.card - at * 1000).toBeLessThan(1000);
    expect(seen.progress - at * 1000).toBeLessThan(1000);
    await page.getByRole("button", { name: /^Cancel/ }).click();
    expect(await server.do("wait", { id })).toEqual({ code: "cancelled" });
    await page.locator(".card").waitFor({ state: "detached" });
    await context.close();
  });

  test("a failed job says why, and can be dismissed", async () => {
    const { page, context } = await gallery();
    const { id } = await server.do("submit", { kind: "Generate", job: { ...quick, prompt: "memory" } });
    await server.do("wait", { id });
    const problem = page.locator(".card.failed .problem");
    await problem.waitFor();
    expect(await problem.textContent()).toContain("Take 512×512.");
    await page.getByRole("button", { name: "Dismiss memory" }).click();
    await problem.waitFor({ state: "detached" });
    await context.close();
  });

  test("a search among ten thousand answers within 100 ms, and scrolling to the end shows the oldest", { retry: 2 }, async () => {
    const { page, context } = await gallery();
    const answered = (text: string) =>
      page.evaluate(async (text) => {
        const input = document.querySelector<HTMLInputElement>("input[type=search]")!;
        const label = document.querySelector(".count")!;
        const changed = new Promise<void>((resolve) => new MutationObserver(() => resolve()).observe(label, { subtree: true, characterData: true, childList: true }));
        const began = performance.now();
        input.value = text;
        input.dispatchEvent(new Event("input", { bubbles: true }));
        await changed;
        return performance.now() - began - 80; // the pause after the last key in which nothing is asked
      }, text);
    const times: number[] = [];
    for (const text of ["teapot snow", "lighthouse", "oak number 77", ""]) times.push(await answered(text));
    console.log(`searches took ${times.map((time) => Math.round(time)).join(", ")} ms`);
    // Five times what is promised of a quiet machine, and the second best of four.
    expect(times.sort((a, b) => a - b)[1]).toBeLessThan(500);
    await answered("teapot snow");
    const captions = await page.locator(".tile .open").evaluateAll((tiles) => tiles.map((tile) => tile.getAttribute("aria-label")!));
    expect(captions.length).toBeGreaterThan(4);
    expect(captions.every((caption) => caption.includes("teapot") && caption.includes("snow"))).toBe(true);
    await answered("");
    await page.evaluate(() => scrollTo(0, document.documentElement.scrollHeight));
    await page.getByRole("button", { name: /number 0$/, exact: false }).first().waitFor();
    expect(await page.locator(".tile").count()).toBeLessThan(150);
    await context.close();
  });

  test("everything can be done with the keyboard", async () => {
    const { page, context } = await gallery();
    await page.locator(".tile .open").first().focus();
    const label = () => page.evaluate(() => document.activeElement?.getAttribute("aria-label"));
    const first = await label();
    await page.keyboard.press("ArrowRight");
    await until(async () => (await label()) !== first);
    await page.keyboard.press("End");
    await until(async () => /number 0$/.test((await label()) ?? ""));
    await page.keyboard.press("Home");
    await until(async () => (await label()) === first);
    await page.keyboard.press("Enter");
    await page.locator("dialog.detail .large").waitFor();
    expect(await seriousFindings(page)).toEqual([]);
    await page.keyboard.press("Escape");
    await page.locator("dialog").waitFor({ state: "detached" });
    expect(await label()).toBe(first);
    await page.keyboard.press("Tab");
    await page.keyboard.press("Space");
    await page.getByText("Choose another picture").waitFor();
    await context.close();
  });

  test("a picture is shown whole, its job is copied, repeated and deleted", async () => {
    const { page, context, problems } = await gallery({ permissions: ["clipboard-read", "clipboard-write"] });
    const { id } = await server.do("submit", { kind: "Generate", job: { steps: 2, width: 128, height: 96, prompt: "one of its kind", seed: 5 } });
    await server.do("wait", { id });
    await page.getByRole("button", { name: "one of its kind", exact: true }).click();
    const large = page.locator("dialog .large");
    await large.waitFor();
    expect(await large.evaluate((image: HTMLImageElement) => image.decode().then(() => [image.naturalWidth, image.naturalHeight]))).toEqual([128, 96]);
    await page.getByRole("button", { name: "Copy the job" }).click();
    await page.getByText("in the clipboard").waitFor();
    expect(JSON.parse(await page.evaluate(() => navigator.clipboard.readText()))).toMatchObject({ kind: "Generate", prompt: "one of its kind", seed: 5 });
    await page.getByRole("button", { name: "Repeat" }).click();
    const found = () => server.do("query", { what: "history", search: "one of its kind" });
    await until(async () => (await found()).total === 2);
    const [newer, older] = (await found()).jobs;
    expect(newer.thumbnail?.digest ?? "x").toBe(older.thumbnail?.digest ?? "x");
    for (let left = 2; left > 0; left--) {
      await page.getByRole("button", { name: "one of its kind", exact: true }).first().click();
      await page.getByRole("button", { name: "Delete" }).click();
      await page.getByRole("button", { name: "Delete for good" }).click();
      await until(async () => (await found()).total === left - 1);
    }
    await page.getByRole("button", { name: "one of its kind", exact: true }).waitFor({ state: "detached" });
    expect(problems).toEqual([]);
    await context.close();
  });

  test("two pictures are compared", async () => {
    const { page, context } = await gallery({ colorScheme: "dark" });
    for (const index of [6, 9]) {
      await page.locator(`[data-index="${index}"]`).hover();
      await page.locator(`[data-index="${index}"] .choose`).click();
    }
    await page.getByRole("button", { name: "Compare", exact: true }).click();
    const line = page.getByRole("slider");
    await line.waitFor();
    await line.fill("30");
    expect(await page.locator(".pair .over").evaluate((image: HTMLElement) => image.style.clipPath)).toContain("30%");
    await page.locator(".pair .over").evaluate((image: HTMLImageElement) => image.decode());
    await page.screenshot({ path: join(PICTURES, "gallery-compare.png") });
    expect(await seriousFindings(page)).toEqual([]);
    await context.close();
  });

  test("models and the server's health are shown", async () => {
    const { page, context } = await gallery();
    await page.getByRole("link", { name: "Models" }).click();
    await page.getByRole("heading", { name: "Checkpoints" }).waitFor();
    await page.screenshot({ path: join(PICTURES, "gallery-models.png") });
    expect(await seriousFindings(page)).toEqual([]);
    await page.getByRole("link", { name: "Server" }).click();
    await page.getByText("Ready to paint").waitFor();
    await page.screenshot({ path: join(PICTURES, "gallery-server.png") });
    expect(await seriousFindings(page)).toEqual([]);
    await context.close();
  });

  test("a page of another origin gets nothing", async () => {
    const tcp = createServer((_, response) => response.setHeader("Content-Type", "text/html").end("<title>other</title>"));
    await new Promise<void>((resolve) => tcp.listen(0, "127.0.0.1", resolve));
    const { context, page } = await open(browser);
    await page.goto(`http://127.0.0.1:${(tcp.address() as { port: number }).port}/`);
    const got = await page.evaluate(async ({ url, token }) => {
      const http = url.replace("ws", "http");
      const tried = async (name: string, work: () => Promise<unknown>) => [name, await work().then(() => "got it", () => "nothing")];
      const loaded = (tag: "script" | "img" | "iframe", address: string) =>
        new Promise((resolve, reject) => {
          const element = document.createElement(tag);
          element.onload = () => (tag === "iframe" && !(element as HTMLIFrameElement).contentDocument ? reject() : resolve(0));
          element.onerror = reject;
          (element as HTMLImageElement).src = address;
          document.body.append(element);
        });
      return Object.fromEntries([
        await tried("fetch", () => fetch(http + "/")),
        await tried("script", () => loaded("script", http + "/index.js")),
        await tried("image", () => loaded("img", http + "/icon.svg")),
        await tried("frame", () => loaded("iframe", http + "/")),
        await tried("socket", () => new Promise((resolve, reject) => {
          const socket = new WebSocket(url, "brushwire.v1");
          socket.onopen = resolve;
          socket.onerror = reject;
          void token;
        })),
      ]);
    }, { url: server.url, token: server.token });
    expect(got).toEqual({ fetch: "nothing", script: "nothing", image: "nothing", frame: "nothing", socket: "nothing" });
    await context.close();
    tcp.close();
  });

  test("without an invitation nothing is shown, and a reload keeps the window in", async () => {
    const { context, page } = await open(browser);
    await page.goto(server.url.replace("ws", "http"));
    await page.getByText("This window needs an invitation").waitFor();
    await page.screenshot({ path: join(PICTURES, "gallery-invitation.png") });
    await context.close();
    const invited = await gallery();
    await invited.page.reload();
    await invited.page.locator(".tile img").first().waitFor();
    await invited.context.close();
  });
});
