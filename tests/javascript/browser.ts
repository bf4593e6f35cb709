/** A real Chromium, alone with this machine. */
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { chromium, type Browser, type BrowserContext, type Page } from "playwright-core";
import { describe } from "vitest";
import { ROOT, type Server } from "./python";

const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
/** Where screenshots go; the documentation's pictures are these. */
export const PICTURES = process.env.BRUSHWIRE_PICTURES ?? join(ROOT, "out/screenshots");
mkdirSync(PICTURES, { recursive: true });

/** Tests that need a browser. Without one they are skipped, and their name says why. */
export function describeInChromium(name: string, tests: () => void): void {
  if (existsSync(CHROMIUM)) describe(name, tests);
  else describe.skip(`${name}: there is no Chromium at ${CHROMIUM}; set CHROMIUM to where it is`, tests);
}

export function launch(): Promise<Browser> {
  return chromium.launch({
    executablePath: CHROMIUM,
    args: [
      "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
      "--disable-sync", "--disable-dev-shm-usage",
      // A stand-in's page has an address that is not this machine's.
      "--disable-features=LocalNetworkAccessChecks,LocalNetworkAccessChecksWebSockets,LocalNetworkAccessForWebSockets", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    ],
  });
}

/** A page, and every request that it makes. */
export async function open(browser: Browser, options: Parameters<Browser["newContext"]>[0] = {}): Promise<{ context: BrowserContext; page: Page; requests: string[]; problems: string[] }> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, locale: "en-GB", ...options });
  context.setDefaultTimeout(90_000); // other programs use the cores too
  const page = await context.newPage();
  const requests: string[] = [];
  const problems: string[] = [];
  context.on("request", (request) => requests.push(request.url()));
  page.on("websocket", (socket) => requests.push(socket.url()));
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error") problems.push(message.text());
  });
  return { context, page, requests, problems };
}

/** The gallery in a window of its own, its pictures in sight. */
export async function openGallery(browser: Browser, server: Server, options: Parameters<Browser["newContext"]>[0] = {}) {
  const opened = await open(browser, options);
  const { url } = await server.do<{ url: string }>("invitation");
  await opened.page.goto(url);
  await opened.page.locator(".tile img").first().waitFor();
  return opened;
}
