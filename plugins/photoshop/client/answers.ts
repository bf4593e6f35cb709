/** The answers to queries, which come in pages. */
import { concatenated } from "./bytes";
import { unpackAnswer } from "./codec";
import { ProtocolError } from "./errors";
import type { SessionEvent } from "./events";

const MAX_ANSWER = 2 << 20;

/** The pages of answers whose last one has not come. */
export class Pages {
  private readonly begun = new Map<number, Uint8Array[]>();

  clear(): void {
    this.begun.clear();
  }

  /** Take a page; with the last one the answer is there. Throws ProtocolError where it is too long. */
  take(id: number, more: boolean, payload: Uint8Array): SessionEvent[] {
    const pages = [...(this.begun.get(id) ?? []), payload.slice()];
    if (pages.reduce((sum, page) => sum + page.length, 0) > MAX_ANSWER) {
      throw new ProtocolError("answer_too_large", `An answer has more than ${MAX_ANSWER} bytes.`);
    }
    if (more) {
      this.begun.set(id, pages);
      return [];
    }
    this.begun.delete(id);
    return [{ kind: "answer", id, data: unpackAnswer(concatenated(pages)) }];
  }
}
