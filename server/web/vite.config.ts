import { defineConfig } from "vite";

/** The gallery: source/ becomes site/, which ships; names without hashes, so that a rebuild of the same is the same. */
export default defineConfig({
  root: new URL("source", import.meta.url).pathname,
  base: "./",
  build: {
    outDir: "../site",
    emptyOutDir: true,
    target: "es2022",
    modulePreload: false,
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 1200,
    rolldownOptions: {
      output: { entryFileNames: "[name].js", chunkFileNames: "[name].js", assetFileNames: "[name][extname]" },
    },
  },
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
});
