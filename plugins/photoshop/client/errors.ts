/** What can go wrong, as types. Codes are stable; sentences and remedies are for people. */

/** What the server says of a failure, or of a message that it could not take. */
export interface Problem {
  code: string;
  sentence: string;
  remedy?: string;
  retryable?: boolean;
  field?: string;
}

/** What arrived is not a frame, or says something that nobody may say. */
export class ProtocolError extends Error {
  constructor(
    readonly code: string,
    readonly sentence: string,
    readonly about = "",
    readonly field = "",
  ) {
    super(sentence);
  }
}

/** A job made nothing, or the server could not be reached. retryable: whether the same may succeed later. */
export class BridgeError extends Error {
  readonly code: string;
  readonly sentence: string;
  readonly remedy: string;
  readonly retryable: boolean;
  readonly field: string;

  constructor(problem: Problem) {
    super(`${problem.sentence} ${problem.remedy ?? ""}`.trim());
    this.code = problem.code;
    this.sentence = problem.sentence;
    this.remedy = problem.remedy ?? "";
    this.retryable = problem.retryable ?? false;
    this.field = problem.field ?? "";
  }
}

/** The job was cancelled, or a newer one took its slot. */
export class JobCancelledError extends BridgeError {
  constructor(reason: string) {
    super({ code: reason, sentence: `The job was ${reason}.` });
  }
}
