/**
 * A stand-in for Photoshop's modules, as strict as the real ones are said to be: pixels are trimmed to what is not
 * empty, 16 bit runs to 32768 unless the full range is asked for, a picture without transparency has three components,
 * whatever changes or reads a document outside of the modal state throws, images must be disposed of, buffers must have
 * the right length, the host may be busy, and one history step is one step.
 */
import type { Bounds } from "../../plugins/photoshop/panel/host";

type Depth = 8 | 16 | 32;
type Numbers = Uint8Array | Uint16Array | Float32Array;

const FULL: Record<Depth, number> = { 8: 255, 16: 32768, 32: 1 };
const arrayOf = (depth: Depth, length: number): Numbers => (depth === 8 ? new Uint8Array(length) : depth === 16 ? new Uint16Array(length) : new Float32Array(length));

export class FakeLayer {
  static next = 100;
  readonly id = FakeLayer.next++;
  mask: Uint8Array | null = null;
  parent: string | null = null;
  constructor(
    public name: string,
    /** RGBA of the whole document, in Photoshop's own range. */
    public data: Numbers,
  ) {}
}

export class FakeDocument {
  static next = 1;
  readonly id = FakeDocument.next++;
  layers: FakeLayer[] = [];
  active: FakeLayer[] = [];
  history: string[] = [];
  suspended: { name: string; before: FakeLayer[] } | null = null;
  /** (height × width) from 0 to 255, or nothing selected. */
  selected: Uint8Array | null = null;

  constructor(
    private readonly host: FakePhotoshop,
    readonly width: number,
    readonly height: number,
    readonly depth: Depth = 8,
    readonly mode = "RGBColorMode",
    readonly title = "Untitled",
  ) {}

  get bitsPerChannel(): string {
    return `bitDepth${this.depth}`;
  }

  get activeLayers(): FakeLayer[] {
    return this.active;
  }

  get selection(): { bounds: Bounds | null } {
    return { bounds: this.selected === null ? null : trimmed({ left: 0, top: 0, right: this.width, bottom: this.height }, (x, y) => this.selected![y * this.width + x]! > 0) };
  }

  async createLayer({ name }: { name: string }): Promise<FakeLayer> {
    this.host.mustBeModal("createLayer");
    const layer = new FakeLayer(name, arrayOf(this.depth, this.width * this.height * 4));
    this.layers.push(layer);
    this.step("New Layer");
    return layer;
  }

  async createLayerGroup({ name, fromLayers = [] }: { name: string; fromLayers?: FakeLayer[] }): Promise<void> {
    this.host.mustBeModal("createLayerGroup");
    for (const layer of fromLayers) layer.parent = name;
    this.step("New Group");
  }

  step(name: string): void {
    if (this.suspended === null) this.history.push(name);
  }

  /** What is seen, layer over layer. */
  composite(): Numbers {
    const out = arrayOf(this.depth, this.width * this.height * 4);
    const full = FULL[this.depth];
    for (const { data, mask } of this.layers) {
      for (let i = 0; i < this.width * this.height; i++) {
        const alpha = (data[4 * i + 3]! / full) * (mask === null ? 1 : mask[i]! / 255);
        if (alpha === 0) continue;
        for (let c = 0; c < 3; c++) out[4 * i + c] = alpha === 1 ? data[4 * i + c]! : data[4 * i + c]! * alpha + out[4 * i + c]! * (1 - alpha);
        out[4 * i + 3] = Math.max(out[4 * i + 3]!, alpha * full);
      }
    }
    return out;
  }
}

function trimmed(bounds: Bounds, isThere: (x: number, y: number) => boolean): Bounds {
  let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
  for (let y = bounds.top; y < bounds.bottom; y++)
    for (let x = bounds.left; x < bounds.right; x++)
      if (isThere(x, y)) [left, top, right, bottom] = [Math.min(left, x), Math.min(top, y), Math.max(right, x + 1), Math.max(bottom, y + 1)];
  return right < left ? { left: bounds.left, top: bounds.top, right: bounds.left, bottom: bounds.top } : { left, top, right, bottom };
}

class FakeImage {
  disposed = false;
  constructor(
    private readonly host: FakePhotoshop,
    readonly width: number,
    readonly height: number,
    readonly components: number,
    readonly componentSize: Depth,
    /** In Photoshop's own range. */
    readonly inside: Numbers,
  ) {
    host.images.add(this);
  }

  async getData({ chunky = true, fullRange = false }): Promise<Numbers> {
    if (this.disposed) throw new Error("the image was disposed of");
    if (!chunky) throw new Error("this stand-in knows chunky data alone");
    if (this.componentSize !== 16 || !fullRange) return this.inside.slice();
    return Uint16Array.from(this.inside, (value) => Math.round((value * 65535) / 32768));
  }

  dispose(): void {
    this.disposed = true;
    this.host.images.delete(this);
  }
}

export class FakePhotoshop {
  documents: FakeDocument[] = [];
  active: FakeDocument | null = null;
  images = new Set<FakeImage>();
  /** How often entering the modal state fails because something else is going on. */
  busyTimes = 0;
  private depth = 0;

  open(width: number, height: number, depth: Depth = 8, mode?: string): FakeDocument {
    const document = new FakeDocument(this, width, height, depth, mode);
    this.documents.push(document);
    this.active = document;
    return document;
  }

  close(document: FakeDocument): void {
    this.documents = this.documents.filter((one) => one !== document);
    if (this.active === document) this.active = this.documents[0] ?? null;
  }

  mustBeModal(what: string): void {
    if (this.depth === 0) throw Object.assign(new Error(`${what} was called outside of the modal state`), { number: -1 });
  }

  private find(id: unknown): FakeDocument {
    const document = this.documents.find((one) => one.id === id);
    if (document === undefined) throw new Error(`there is no document ${String(id)}`);
    return document;
  }

  /** The module `photoshop`. */
  get module(): Record<string, unknown> {
    const host = this;
    return {
      app: {
        get activeDocument() {
          return host.active;
        },
        get documents() {
          return host.documents;
        },
        async createDocument({ width, height, depth }: { width: number; height: number; depth: Depth }) {
          host.mustBeModal("createDocument");
          return host.open(width, height, depth);
        },
      },
      core: {
        async executeAsModal<T>(work: (context: unknown) => Promise<T>, { commandName }: { commandName: string }): Promise<T> {
          if (!commandName) throw new Error("a command needs a name");
          if (host.busyTimes > 0) {
            host.busyTimes -= 1;
            throw Object.assign(new Error("host is in a modal state"), { number: 9 });
          }
          host.depth += 1;
          try {
            return await work({ hostControl: host.control });
          } finally {
            host.depth -= 1;
            if (host.images.size > 0) throw new Error(`${host.images.size} images were not disposed of`);
          }
        },
      },
      action: {
        async batchPlay(commands: any[]) {
          host.mustBeModal("batchPlay");
          for (const command of commands) {
            if (command._obj !== "make" || command.new?._class !== "channel") throw new Error(`unknown command ${JSON.stringify(command)}`);
            const id = command.at._ref[1]._id;
            const document = host.documents.find((one) => one.layers.some((layer) => layer.id === id))!;
            document.layers.find((layer) => layer.id === id)!.mask = new Uint8Array(document.width * document.height);
            document.step("Add Layer Mask");
          }
          return [];
        },
      },
      imaging: host.imaging,
    };
  }

  private readonly control = {
    suspendHistory: async ({ documentID, name }: { documentID: number; name: string }) => {
      const document = this.find(documentID);
      if (document.suspended) throw new Error("the history is suspended already");
      document.suspended = { name, before: [...document.layers] };
      return documentID;
    },
    resumeHistory: async (id: number, commit = true) => {
      const document = this.find(id);
      const { name, before } = document.suspended!;
      document.suspended = null;
      if (commit) document.history.push(name);
      else document.layers = before;
    },
  };

  private readonly imaging = {
    getPixels: async ({ documentID, layerID, sourceBounds, componentSize, colorSpace, colorProfile }: any) => {
      this.mustBeModal("getPixels");
      const document = this.find(documentID);
      if (componentSize !== document.depth) throw new Error("this stand-in converts no depths");
      if (colorSpace !== "RGB" || !colorProfile) throw new Error("ask for RGB and a profile, or a CMYK document gives four inks");
      const layer = document.layers.find((one) => one.id === layerID);
      if (layerID !== undefined && layer === undefined) throw new Error("there is no such layer");
      const seen = layer?.data ?? document.composite();
      const bounds = trimmed(sourceBounds, (x, y) => seen[4 * (y * document.width + x) + 3]! > 0);
      const [width, height] = [bounds.right - bounds.left, bounds.bottom - bounds.top];
      let opaque = true;
      for (let y = bounds.top; y < bounds.bottom; y++) for (let x = bounds.left; x < bounds.right; x++) opaque &&= seen[4 * (y * document.width + x) + 3] === FULL[document.depth];
      const components = opaque ? 3 : 4;
      const data = arrayOf(document.depth, width * height * components);
      for (let y = 0; y < height; y++)
        for (let x = 0; x < width; x++)
          for (let c = 0; c < components; c++) data[(y * width + x) * components + c] = seen[4 * ((y + bounds.top) * document.width + x + bounds.left) + c]!;
      return { imageData: new FakeImage(this, width, height, components, document.depth, data), sourceBounds: bounds, level: 0 };
    },
    getSelection: async ({ documentID, sourceBounds }: any) => {
      this.mustBeModal("getSelection");
      const document = this.find(documentID);
      if (document.selected === null) throw new Error("nothing is selected");
      const bounds = trimmed(sourceBounds, (x, y) => document.selected![y * document.width + x]! > 0);
      const [width, height] = [bounds.right - bounds.left, bounds.bottom - bounds.top];
      const data = new Uint8Array(width * height);
      for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) data[y * width + x] = document.selected[(y + bounds.top) * document.width + x + bounds.left]!;
      return { imageData: new FakeImage(this, width, height, 1, 8, data), sourceBounds: bounds };
    },
    createImageDataFromBuffer: async (buffer: Numbers, { width, height, components, chunky, colorSpace, colorProfile, fullRange }: any) => {
      if (buffer.length !== width * height * components) throw new Error(`a buffer of ${buffer.length} numbers for ${width} × ${height} × ${components}`);
      if (!chunky || !colorProfile || (components === 1) !== (colorSpace === "Grayscale")) throw new Error("the image's layout is not right");
      const depth = (buffer.BYTES_PER_ELEMENT * 8) as Depth;
      let inside: Numbers = buffer.slice();
      if (depth === 16) {
        if (!fullRange && inside.some((value) => value > 32768)) throw new Error("16 bit goes to 32768 unless the full range is named");
        if (fullRange) inside = Uint16Array.from(inside, (value) => Math.round((value * 32768) / 65535));
      }
      return new FakeImage(this, width, height, components, depth, inside);
    },
    putPixels: async ({ documentID, layerID, imageData, targetBounds }: any) => {
      this.mustBeModal("putPixels");
      const document = this.find(documentID);
      const layer = document.layers.find((one) => one.id === layerID)!;
      const image = imageData as FakeImage;
      if (image.componentSize !== document.depth) throw new Error("the image has another depth than the document");
      this.put(document, image, targetBounds, (at, from) => {
        for (let c = 0; c < 4; c++) layer.data[4 * at + c] = c < image.components ? image.inside[from + c]! : FULL[document.depth];
      });
      document.step("Put Pixels");
    },
    putLayerMask: async ({ documentID, layerID, imageData, targetBounds, kind }: any) => {
      this.mustBeModal("putLayerMask");
      const document = this.find(documentID);
      const layer = document.layers.find((one) => one.id === layerID)!;
      if (layer.mask === null || kind !== "user") throw new Error("the layer has no mask");
      const image = imageData as FakeImage;
      this.put(document, image, targetBounds, (at, from) => void (layer.mask![at] = image.inside[from]!));
      document.step("Put Mask");
    },
  };

  private put(document: FakeDocument, image: FakeImage, { left, top }: Bounds, write: (at: number, from: number) => void): void {
    if (image.disposed) throw new Error("the image was disposed of");
    for (let y = 0; y < image.height; y++)
      for (let x = 0; x < image.width; x++)
        if (x + left < document.width && y + top < document.height) write((y + top) * document.width + x + left, (y * image.width + x) * image.components);
  }
}
