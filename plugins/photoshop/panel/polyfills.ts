/** What the msgpack library expects of a platform and Photoshop's does not have. To be imported before everything else. */

if (typeof globalThis.TextEncoder === "undefined") {
  globalThis.TextEncoder = class {
    readonly encoding = "utf-8";
    encode(text = ""): Uint8Array {
      const escaped = unescape(encodeURIComponent(text));
      return Uint8Array.from(escaped, (character) => character.charCodeAt(0));
    }
    encodeInto(text: string, into: Uint8Array): { read: number; written: number } {
      const bytes = this.encode(text);
      into.set(bytes);
      return { read: text.length, written: bytes.length };
    }
  } as unknown as typeof TextEncoder;
}

if (typeof globalThis.TextDecoder === "undefined") {
  globalThis.TextDecoder = class {
    decode(bytes: Uint8Array): string {
      let escaped = "";
      for (const byte of bytes) escaped += `%${byte.toString(16).padStart(2, "0")}`;
      return decodeURIComponent(escaped);
    }
  } as unknown as typeof TextDecoder;
}
