import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["tests/javascript/**/*.test.ts"],
    testTimeout: 120_000,
    // A job that nobody lets go on would hold up all that follow.
    bail: 1,
    hookTimeout: 180_000,
    // Real servers and a browser on few cores: one file after the other.
    fileParallelism: false,
  },
});
