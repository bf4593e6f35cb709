/** A mesh, or a material on a sphere, under a light; it turns slowly, by dragging, and by the arrow keys. */
import { useEffect, useRef, useState } from "preact/hooks";
import type { WireBlob } from "../../../plugins/photoshop/client/blobs";
import type { Viewer } from "./viewer";

export type What = { mesh: Uint8Array } | { maps: Map<string, WireBlob> };

export function Scene({ what, label }: { what: What; label: string }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [problem, setProblem] = useState("");
  const viewer = useRef<Viewer>(undefined);
  useEffect(() => {
    let wanted = true;
    // three.js is as large as all else together: it comes when something is to be seen in space.
    void import("./viewer").then(async ({ Viewer }) => {
      if (!wanted) return;
      try {
        viewer.current = new Viewer(canvas.current!);
        await viewer.current.show(what);
      } catch (error) {
        setProblem(`This cannot be shown (${error instanceof Error ? error.message : String(error)}).`);
      }
    });
    return () => {
      wanted = false;
      viewer.current?.dispose();
    };
  }, []);
  const turn = (event: KeyboardEvent) => {
    const turns: Record<string, [number, number]> = { ArrowLeft: [-0.2, 0], ArrowRight: [0.2, 0], ArrowUp: [0, -0.2], ArrowDown: [0, 0.2] };
    const by = turns[event.key];
    if (by === undefined) return;
    event.preventDefault();
    viewer.current?.turn(...by);
  };
  return problem ? (
    <p class="problem">{problem}</p>
  ) : (
    <canvas class="scene" ref={canvas} tabIndex={0} role="img" aria-label={`${label}. Turn it by dragging, or with the arrow keys.`} onKeyDown={turn} />
  );
}
