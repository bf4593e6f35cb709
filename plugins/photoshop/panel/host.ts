/** What of Photoshop's API is used: the shapes of the modules `photoshop` and `uxp`, which the host gives by `require`. */

export interface Bounds {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

export interface ImageData {
  readonly width: number;
  readonly height: number;
  readonly components: number;
  readonly componentSize: 8 | 16 | 32;
  getData(options: { chunky?: boolean; fullRange?: boolean }): Promise<Uint8Array | Uint16Array | Float32Array>;
  dispose(): void;
}

export interface Layer {
  readonly id: number;
  name: string;
  move(relative: Layer, placement: unknown): void;
}

export interface Document {
  readonly id: number;
  readonly title: string;
  readonly width: number;
  readonly height: number;
  readonly mode: string;
  readonly bitsPerChannel: string;
  readonly selection: { readonly bounds: Bounds | null };
  readonly activeLayers: readonly Layer[];
  createLayer(options: { name: string }): Promise<Layer>;
  createLayerGroup(options: { name: string; fromLayers?: Layer[] }): Promise<Layer>;
}

export interface ExecutionContext {
  hostControl: {
    suspendHistory(options: { documentID: number; name: string }): Promise<number>;
    resumeHistory(id: number, commit?: boolean): Promise<void>;
  };
}

export interface Photoshop {
  app: {
    readonly activeDocument: Document | null;
    readonly documents: readonly Document[];
    createDocument(options: Record<string, unknown>): Promise<Document>;
  };
  core: { executeAsModal<T>(work: (context: ExecutionContext) => Promise<T>, options: { commandName: string }): Promise<T> };
  action: { batchPlay(commands: unknown[], options: Record<string, unknown>): Promise<unknown[]> };
  imaging: {
    getPixels(options: Record<string, unknown>): Promise<{ imageData: ImageData; sourceBounds: Bounds; level?: number }>;
    getSelection(options: Record<string, unknown>): Promise<{ imageData: ImageData; sourceBounds: Bounds }>;
    putPixels(options: Record<string, unknown>): Promise<void>;
    putLayerMask(options: Record<string, unknown>): Promise<void>;
    createImageDataFromBuffer(buffer: ArrayBufferView, options: Record<string, unknown>): Promise<ImageData>;
  };
}

/** The host's own, which gives its modules; by another name, or the bundler would look for those modules. */
declare const require: (module: string) => unknown;
const hostModule = (name: string): unknown => {
  const load = require;
  return load(name);
};

export function photoshop(): Photoshop {
  return hostModule("photoshop") as Photoshop;
}
