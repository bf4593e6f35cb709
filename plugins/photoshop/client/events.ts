/** What a session tells the client whose it is, and the client its caller. */
import type { WireBlob } from "./blobs";
import type { Whole } from "./codec";
import type { Problem } from "./errors";
import type {
  AcceptedMessage,
  ActivityMessage,
  ErrorMessage,
  FailedMessage,
  PreviewMessage,
  ProgressMessage,
  ResultMessage,
  WelcomeMessage,
} from "./protocol";
import type { Incoming } from "./transfer";

export type SessionEvent =
  | { kind: "connected"; welcome: Whole<WelcomeMessage> }
  | { kind: "accepted"; id: string; accepted: Whole<AcceptedMessage> }
  | { kind: "progress"; id: string; progress: Whole<ProgressMessage> }
  | { kind: "preview"; id: string; preview: Whole<PreviewMessage>; pixels: Uint8Array }
  | { kind: "finished"; id: string; result: Whole<ResultMessage>; blobs: Map<string, WireBlob> }
  | { kind: "failed"; id: string; problem: Whole<FailedMessage> }
  | { kind: "cancelled"; id: string; reason: string }
  | { kind: "refused"; id: string; problem: Problem }
  | { kind: "activity"; activity: Whole<ActivityMessage> }
  | { kind: "answer"; id: number; data: unknown }
  | { kind: "pong"; id: number }
  | { kind: "fetched"; digest: string; blob: WireBlob }
  | { kind: "unfetched"; digest: string; problem: Problem }
  | { kind: "arrived"; incoming: Incoming }
  | { kind: "error"; error: Whole<ErrorMessage> };

/** Tell a caller some news. What its callback throws is logged: the caller's mistake must not end the connection. */
export function callBack<News extends unknown[]>(callback: ((...news: News) => void) | null | undefined, ...news: News): void {
  try {
    callback?.(...news);
  } catch (error) {
    console.error("Brushwire: a callback failed:", error);
  }
}
