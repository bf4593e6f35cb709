/** What the host gives its plugins by `require`; here Node's does. */
import Module from "node:module";

const loader = Module as unknown as { _load(request: string, ...rest: unknown[]): unknown };

/** `require("photoshop")` gives this from now on. */
export function requirePhotoshop(module: () => unknown): void {
  const load = loader._load;
  loader._load = (request, ...rest) => (request === "photoshop" ? module() : load(request, ...rest));
}
