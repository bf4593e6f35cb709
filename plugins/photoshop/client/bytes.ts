/** Bytes as text and back. */

export function hex(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += byte.toString(16).padStart(2, "0");
  return text;
}

export function fromHex(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length / 2);
  for (let i = 0; i < bytes.length; i++) bytes[i] = parseInt(text.slice(2 * i, 2 * i + 2), 16);
  return bytes;
}

/** Whether these bytes are UTF-8, strictly: no overlong forms, no surrogates, nothing beyond U+10FFFF. */
export function isUtf8(bytes: Uint8Array): boolean {
  const trails = (from: number, count: number) => {
    for (let i = from; i < from + count; i++) if (((bytes[i] ?? 0) & 0xc0) !== 0x80) return false;
    return true;
  };
  for (let i = 0; i < bytes.length; ) {
    const first = bytes[i]!;
    const second = bytes[i + 1] ?? 0;
    if (first < 0x80) i += 1;
    else if (first >= 0xc2 && first < 0xe0 && trails(i + 1, 1)) i += 2;
    else if (first >= 0xe0 && first < 0xf0 && trails(i + 1, 2)) {
      if ((first === 0xe0 && second < 0xa0) || (first === 0xed && second >= 0xa0)) return false;
      i += 3;
    } else if (first >= 0xf0 && first < 0xf5 && trails(i + 1, 3)) {
      if ((first === 0xf0 && second < 0x90) || (first === 0xf4 && second >= 0x90)) return false;
      i += 4;
    } else return false;
  }
  return true;
}

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

export function concatenated(pieces: Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
}
