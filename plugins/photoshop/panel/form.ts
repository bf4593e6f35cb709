/** The form of a kind of job, drawn from the schema that the server sends: a new option is there without a new plug-in. */

export interface SchemaField {
  name: string;
  type: "text" | "integer" | "number" | "boolean" | "choice" | "array" | "list" | "record";
  doc: string;
  default?: unknown;
  optional?: boolean;
  unit?: string;
  minimum?: number;
  maximum?: number;
  step?: number;
  choices?: string[];
  choices_from?: string;
}

export type Schema = Record<string, { doc: string; fields: SchemaField[] }>;

/** What the panel itself fills in: from the document, or where it has a better place for it than a field. */
const HOSTED = new Set(["image", "mask", "controls", "width", "height", "preview_every", "preview_size", "gltf"]);
/** What is shown first; all else is behind "More". */
const FIRST = new Set(["prompt", "negative_prompt", "model", "denoising_strength", "steps", "scale", "seed"]);

/** The fields that a form shows, those that most people want first. */
export function fieldsOf(schema: Schema, kind: string): { first: SchemaField[]; more: SchemaField[] } {
  const shown = (schema[kind]?.fields ?? []).filter((field) => !HOSTED.has(field.name) && !["array", "list", "record"].includes(field.type));
  const rank = [...FIRST];
  return {
    first: shown.filter((field) => FIRST.has(field.name)).sort((a, b) => rank.indexOf(a.name) - rank.indexOf(b.name)),
    more: shown.filter((field) => !FIRST.has(field.name)),
  };
}

/** What was typed or chosen, as the value that the job holds; undefined: the default. Throws RangeError in words. */
export function valueOf(field: SchemaField, text: string | boolean): unknown {
  if (typeof text === "boolean") return text;
  if (field.type === "text" || field.type === "choice") return text === "" ? undefined : text;
  if (text.trim() === "") return undefined;
  const number = Number(text.replace(",", "."));
  const whole = field.type === "integer";
  if (!Number.isFinite(number) || (whole && !Number.isInteger(number)) || number < (field.minimum ?? -Infinity) || number > (field.maximum ?? Infinity)) {
    const range = field.minimum !== undefined && field.maximum !== undefined ? ` from ${field.minimum} to ${field.maximum}` : "";
    throw new RangeError(`${titleOf(field)} must be a ${whole ? "whole " : ""}number${range}.`);
  }
  return number;
}

export function titleOf(field: Pick<SchemaField, "name" | "unit">): string {
  const words = field.name.replace(/_/g, " ");
  return words[0]!.toUpperCase() + words.slice(1) + (field.unit ? ` (${field.unit})` : "");
}
