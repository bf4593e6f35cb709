import { copyFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { defineConfig } from "vite";

const panel = new URL("panel/", import.meta.url).pathname;

/** The panel: one script without modules, as Photoshop wants it, beside its page and its styles. */
export default defineConfig({
  root: panel,
  publicDir: false,
  build: {
    outDir: "../archive",
    emptyOutDir: false, // the manifest and the icons are there too
    target: "es2020",
    minify: true,
    lib: { entry: "main.tsx", formats: ["iife"], name: "brushwire", fileName: () => "panel.js" },
  },
  define: { "process.env.NODE_ENV": '"production"' },
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  plugins: [
    {
      name: "page",
      writeBundle({ dir }) {
        mkdirSync(dir!, { recursive: true });
        for (const file of ["index.html", "style.css"]) copyFileSync(join(panel, file), join(dir!, file));
      },
    },
  ],
});
