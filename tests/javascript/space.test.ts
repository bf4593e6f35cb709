/** Meshes and materials in the gallery, in a real Chromium whose graphics are computed without a graphics card. */
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { describeInChromium, launch, openGallery, PICTURES } from "./browser";
import { Server, until } from "./python";

const PATIENCE = 120_000;
const server = new Server("small", 30);
let browser: Browser;

describeInChromium("in space", () => {
  beforeAll(async () => {
    [browser] = await Promise.all([launch(), server.start()]);
  });
  afterAll(async () => {
    await browser?.close();
    await server.stop();
  });

  const gallery = (options = {}) => openGallery(browser, server, options);

  /** What is not painted here but shown: a mesh, a material. Put into the history as a job's outputs. */
  async function shownJob(page: Page, name: string) {
    await page.getByRole("searchbox").fill(name);
    await page.getByRole("button", { name, exact: true }).click();
    const canvas = page.locator("canvas.scene");
    await canvas.waitFor();
    const colours = () =>
      canvas.evaluate(
        (element: HTMLCanvasElement) =>
          new Promise<number>((resolve) =>
            requestAnimationFrame(() => {
              const copy = document.createElement("canvas");
              copy.width = copy.height = 64;
              const context = copy.getContext("2d")!;
              context.drawImage(element, 0, 0, 64, 64);
              const { data } = context.getImageData(0, 0, 64, 64);
              const seen = new Set<number>();
              for (let i = 0; i < data.length; i += 4) if (data[i + 3]! > 0) seen.add((data[i]! >> 3) * 4096 + (data[i + 1]! >> 3) * 64 + (data[i + 2]! >> 3));
              resolve(seen.size);
            }),
          ),
      );
    await until(async () => (await colours()) > 20, PATIENCE);
    return canvas;
  }

  test("a mesh turns when it is dragged", async () => {
    await server.do("add_mesh", { prompt: "a mesh of a hill" });
    const { page, context, problems } = await gallery({ reducedMotion: "reduce", viewport: { width: 960, height: 620 } });
    const canvas = await shownJob(page, "a mesh of a hill");
    await page.waitForTimeout(300); // damping comes to rest
    const before = await canvas.screenshot();
    const box = (await canvas.boundingBox())!;
    await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width / 2 + 50, box.y + box.height / 2, { steps: 8 });
    await page.mouse.up();
    await until(async () => !(await canvas.screenshot()).equals(before));
    const dragged = await canvas.screenshot();
    await canvas.focus();
    await page.keyboard.press("ArrowLeft");
    await until(async () => !(await canvas.screenshot()).equals(dragged));
    await page.screenshot({ path: join(PICTURES, "gallery-mesh.png") });
    expect(problems).toEqual([]);
    await context.close();
  }, PATIENCE);

  test("a material is shown on a lit sphere", async () => {
    await server.do("add_material", { prompt: "a wall of old bricks" });
    const { page, context, problems } = await gallery({ reducedMotion: "reduce", colorScheme: "dark", viewport: { width: 960, height: 620 } });
    await shownJob(page, "a wall of old bricks");
    await page.screenshot({ path: join(PICTURES, "gallery-material.png") });
    await page.getByRole("button", { name: "normal" }).click();
    await page.locator("dialog .large").waitFor();
    expect(problems).toEqual([]);
    await context.close();
  }, PATIENCE);
});
