// Made by bridge_protocol/typescript.py from messages.py and jobs.py; run it again after a change of those.
import type { BlobRef, WireBlob } from "./blobs";

/** What a field may hold. A field without `default` is required; `record` names an entry of RECORDS. */
export interface Field {
  type: "text" | "integer" | "number" | "boolean" | "choice" | "bytes" | "list" | "map" | "any" | "blob" | "record";
  optional?: true;
  default?: unknown;
  minimum?: number;
  maximum?: number;
  max_length?: number;
  choices?: readonly string[];
  items?: Field;
  record?: string;
}

export const VERSION = 1;
export const SUBPROTOCOL = "brushwire.v1";
export const MESSAGES: Record<string, Record<string, Field>> = {
  "hello": {
    "versions": {
      "type": "list",
      "items": {
        "type": "integer"
      },
      "max_length": 16
    },
    "client": {
      "type": "text",
      "max_length": 200,
      "default": ""
    },
    "token": {
      "type": "text",
      "optional": true,
      "max_length": 200,
      "default": null
    },
    "session": {
      "type": "text",
      "optional": true,
      "max_length": 64,
      "default": null
    },
    "invitation": {
      "type": "text",
      "optional": true,
      "max_length": 64,
      "default": null
    }
  },
  "lane_proof": {
    "nonce": {
      "type": "text",
      "max_length": 128
    },
    "probe": {
      "type": "text",
      "max_length": 128
    },
    "written": {
      "type": "text",
      "max_length": 128
    }
  },
  "submit": {
    "id": {
      "type": "text",
      "max_length": 64
    },
    "kind": {
      "type": "text",
      "max_length": 64
    },
    "job": {
      "type": "map"
    },
    "priority": {
      "type": "choice",
      "choices": [
        "live",
        "interactive",
        "batch"
      ],
      "default": "interactive"
    },
    "slot": {
      "type": "text",
      "max_length": 64,
      "default": ""
    },
    "on_disconnect": {
      "type": "choice",
      "choices": [
        "keep",
        "cancel"
      ],
      "default": "keep"
    }
  },
  "cancel": {
    "id": {
      "type": "text",
      "max_length": 64
    }
  },
  "ack": {
    "id": {
      "type": "text",
      "max_length": 64
    }
  },
  "query": {
    "id": {
      "type": "integer",
      "minimum": 0
    },
    "what": {
      "type": "choice",
      "choices": [
        "models",
        "loras",
        "controlnets",
        "vaes",
        "image_adapters",
        "upscalers",
        "detectors",
        "estimators",
        "jobs",
        "history",
        "schema",
        "status",
        "invitation"
      ]
    },
    "job": {
      "type": "text",
      "max_length": 64,
      "default": ""
    },
    "search": {
      "type": "text",
      "max_length": 1000,
      "default": ""
    },
    "model": {
      "type": "text",
      "max_length": 200,
      "default": ""
    },
    "kind": {
      "type": "text",
      "max_length": 64,
      "default": ""
    },
    "since": {
      "type": "number",
      "optional": true,
      "default": null
    },
    "until": {
      "type": "number",
      "optional": true,
      "default": null
    },
    "offset": {
      "type": "integer",
      "minimum": 0,
      "default": 0
    },
    "limit": {
      "type": "integer",
      "minimum": 0,
      "maximum": 1000,
      "default": 100
    }
  },
  "claim": {
    "id": {
      "type": "text",
      "max_length": 64
    }
  },
  "watch": {
    "on": {
      "type": "boolean",
      "default": true
    }
  },
  "forget": {
    "id": {
      "type": "text",
      "max_length": 64
    }
  },
  "ping": {
    "id": {
      "type": "integer",
      "minimum": 0
    }
  },
  "offer": {
    "blob": {
      "type": "blob"
    }
  },
  "have": {
    "digest": {
      "type": "bytes",
      "max_length": 32
    }
  },
  "need": {
    "digest": {
      "type": "bytes",
      "max_length": 32
    },
    "offset": {
      "type": "integer",
      "minimum": 0,
      "default": 0
    },
    "parts": {
      "type": "list",
      "items": {
        "type": "integer"
      },
      "max_length": 16384,
      "default": []
    }
  },
  "chunk": {
    "digest": {
      "type": "bytes",
      "max_length": 32
    },
    "offset": {
      "type": "integer",
      "minimum": 0,
      "default": 0
    },
    "part": {
      "type": "integer",
      "optional": true,
      "minimum": 0,
      "default": null
    }
  },
  "mapped": {
    "digest": {
      "type": "bytes",
      "max_length": 32
    },
    "file": {
      "type": "text",
      "max_length": 128
    }
  },
  "release": {
    "file": {
      "type": "text",
      "max_length": 128
    }
  },
  "welcome": {
    "version": {
      "type": "integer"
    },
    "session": {
      "type": "text"
    },
    "epoch": {
      "type": "text"
    },
    "server": {
      "type": "text",
      "default": ""
    },
    "resumed": {
      "type": "boolean",
      "default": false
    },
    "shared_folder": {
      "type": "text",
      "optional": true,
      "default": null
    },
    "probe": {
      "type": "text",
      "optional": true,
      "default": null
    },
    "limits": {
      "type": "map",
      "default": {}
    },
    "token": {
      "type": "text",
      "optional": true,
      "default": null
    }
  },
  "lane_ready": {},
  "accepted": {
    "seq": {
      "type": "integer"
    },
    "id": {
      "type": "text"
    },
    "position": {
      "type": "integer",
      "default": 0
    }
  },
  "progress": {
    "seq": {
      "type": "integer"
    },
    "id": {
      "type": "text"
    },
    "phase": {
      "type": "text",
      "default": ""
    },
    "step": {
      "type": "integer",
      "default": 0
    },
    "steps": {
      "type": "integer",
      "default": 0
    },
    "eta": {
      "type": "number",
      "optional": true,
      "default": null
    }
  },
  "preview": {
    "seq": {
      "type": "integer"
    },
    "id": {
      "type": "text"
    },
    "step": {
      "type": "integer"
    },
    "width": {
      "type": "integer",
      "minimum": 1,
      "maximum": 512
    },
    "height": {
      "type": "integer",
      "minimum": 1,
      "maximum": 512
    },
    "channels": {
      "type": "integer",
      "minimum": 3,
      "maximum": 4,
      "default": 3
    }
  },
  "result": {
    "seq": {
      "type": "integer"
    },
    "id": {
      "type": "text"
    },
    "outputs": {
      "type": "list",
      "items": {
        "type": "record",
        "record": "Output"
      },
      "default": []
    },
    "info": {
      "type": "map",
      "default": {}
    }
  },
  "failed": {
    "seq": {
      "type": "integer"
    },
    "id": {
      "type": "text"
    },
    "code": {
      "type": "text"
    },
    "sentence": {
      "type": "text"
    },
    "remedy": {
      "type": "text",
      "default": ""
    },
    "retryable": {
      "type": "boolean",
      "default": false
    }
  },
  "cancelled": {
    "seq": {
      "type": "integer"
    },
    "id": {
      "type": "text"
    },
    "reason": {
      "type": "text",
      "default": "cancelled"
    }
  },
  "activity": {
    "seq": {
      "type": "integer"
    },
    "id": {
      "type": "text"
    },
    "state": {
      "type": "choice",
      "choices": [
        "accepted",
        "running",
        "finished",
        "failed",
        "cancelled",
        "forgotten"
      ]
    },
    "kind": {
      "type": "text",
      "default": ""
    },
    "prompt": {
      "type": "text",
      "default": ""
    },
    "model": {
      "type": "text",
      "default": ""
    },
    "priority": {
      "type": "choice",
      "choices": [
        "live",
        "interactive",
        "batch"
      ],
      "default": "interactive"
    },
    "client": {
      "type": "text",
      "default": ""
    },
    "created": {
      "type": "number",
      "default": 0.0
    },
    "sentence": {
      "type": "text",
      "default": ""
    },
    "remedy": {
      "type": "text",
      "default": ""
    }
  },
  "answer": {
    "id": {
      "type": "integer",
      "minimum": 0
    },
    "more": {
      "type": "boolean",
      "default": false
    }
  },
  "pong": {
    "id": {
      "type": "integer"
    }
  },
  "error": {
    "code": {
      "type": "text"
    },
    "sentence": {
      "type": "text"
    },
    "remedy": {
      "type": "text",
      "default": ""
    },
    "retryable": {
      "type": "boolean",
      "default": false
    },
    "about": {
      "type": "text",
      "default": ""
    },
    "field": {
      "type": "text",
      "default": ""
    }
  }
};
export const RECORDS: Record<string, Record<string, Field>> = {
  "Output": {
    "name": {
      "type": "text"
    },
    "blob": {
      "type": "blob"
    },
    "info": {
      "type": "map",
      "default": {}
    }
  }
};

/** One thing that a job made. */
export interface Output {
  /** What it is: image, albedo, mesh, … */
  name: string;
  /** Its bytes; they are fetched with Need. */
  blob: BlobRef;
  /** What belongs to it alone, such as its seed. */
  info?: Record<string, unknown>;
}

/** A LoRA and how much of it. */
export interface Lora {
  /** Its id. */
  model: string;
  /** How much of it. */
  weight?: number;
}

/** A picture, or an exact array, that the painting follows. */
export interface Control {
  /** What the array shows. */
  kind: "depth" | "normal" | "pose" | "canny" | "softedge" | "lineart" | "scribble" | "segmentation" | "mlsd" | "tile" | "inpaint" | "shuffle" | "color" | "face";
  /** uint8 (h, w, 3) as the ControlNet expects it; or exact data: depth as float32 (h, w), z along the camera's axis in scene units, +inf where nothing is; normals as float32 (h, w, 3) in camera space; poses as float32 (n·people, 3) of x, y in pixels and visibility, n = 18, or 60 with hands, or 130 with hands and face. */
  image: WireBlob | BlobRef;
  /** How strongly it is followed. */
  weight?: number;
  /** From which part of the steps on. */
  start?: number;
  /** Up to which part of the steps. */
  end?: number;
  /** Which ControlNet; empty: the one that fits kind and model. */
  model?: string;
  /** Makes the control image out of the given picture first; empty: it is one already. */
  detector?: string;
  /** For exact depth: what is painted white, so that several views share one range; none: the map's own. */
  near?: number | null;
  /** For exact depth: what is painted black; none: the map's own. */
  far?: number | null;
  /** For exact poses: keypoints of one person. */
  points?: number;
}

/** A picture that says what to paint, as words do (IP-Adapter). */
export interface ImagePrompt {
  /** uint8 (h, w, 3 or 4). */
  image: WireBlob | BlobRef;
  /** How strongly it is followed. */
  weight?: number;
  /** Which IP-Adapter; empty: the one that fits the model. */
  model?: string;
}

/** A part of the picture with words of its own. */
export interface Region {
  /** What to paint there. */
  prompt: string;
  /** Where, (h, w): the maximum is all of it, 0 nothing. */
  mask: WireBlob | BlobRef;
  /** How strongly, beside the picture's own words. */
  weight?: number;
}

/** What holds from a frame on; numbers change evenly from one keyframe to the next. */
export interface Keyframe {
  /** Which frame, counted from 0. */
  frame: number;
  /** The words from here on; none: as before. */
  prompt?: string | null;
  /** How much is painted anew at this frame; none: as the neighbours say. */
  denoising_strength?: number | null;
  /** The seed from here on; none: as before. */
  seed?: number | null;
}

/** Paint a picture from words, from a picture, or into a part of a picture. */
export interface Generate {
  /** What to paint. (word:1.2) weighs, [from:to:0.4] changes on the way, [a|b] takes turns, BREAK parts, {a|b} and __name__ draw one of several. */
  prompt?: string;
  /** What to keep out. */
  negative_prompt?: string;
  /** Which model; empty: the server's default. */
  model?: string;
  /** LoRAs on top of the model. */
  loras?: Lora[];
  /** Another autoencoder than the model's own. */
  vae?: string;
  /** How many of the text encoder's last layers are left out. */
  clip_skip?: number;
  /** The same seed paints the same picture; none: a new one each time. */
  seed?: number | null;
  /** Another seed, towards which the picture varies; none: a new one. */
  variation_seed?: number | null;
  /** How far towards the other seed: 0 not at all, 1 all the way. */
  variation_strength?: number;
  /** How many denoising steps. */
  steps?: number;
  /** How strictly the prompt is followed; none: the model's own. */
  guidance_scale?: number | null;
  /** How the steps are taken; auto: the model's own. */
  sampler?: "auto" | "Euler" | "Euler a" | "DPM++ 2M" | "DPM++ 2M Karras" | "DPM++ SDE" | "UniPC" | "LCM" | "DDIM" | "Heun";
  /** What the painting follows. */
  controls?: Control[];
  /** Where words and controls disagree, the controls win: they speak to the words' half of the guidance alone, which then strengthens them as it does the words. */
  favor_controls?: boolean;
  /** Pictures that say what to paint, as words do. */
  image_prompts?: ImagePrompt[];
  /** A preview every so many steps; 0: none. */
  preview_every?: number;
  /** A preview's longer side at most. */
  preview_size?: number;
  /** The picture to start from, (h, w, 3 or 4); none: start from noise. */
  image?: WireBlob | BlobRef | null;
  /** Where to paint, (h, w): 0 keeps every pixel as it is, the maximum paints, between them blends. */
  mask?: WireBlob | BlobRef | null;
  /** Grows the mask (or shrinks it). */
  mask_grow?: number;
  /** Softens the mask's edge. */
  mask_feather?: number;
  /** How much around the mask the model sees; none: the whole picture. */
  mask_padding?: number | null;
  /** Parts with words of their own. */
  regions?: Region[];
  /** Width; none: the image's, or the model's own. */
  width?: number | null;
  /** Height; none: the image's, or the model's own. */
  height?: number | null;
  /** How much of the image is painted anew: 0 nothing, 1 everything. */
  denoising_strength?: number;
  /** How many pictures at once, with seeds that count up. */
  batch?: number;
  /** Along which axes the picture continues at its opposite edge. */
  seamless?: "none" | "x" | "y" | "both";
  /** Paints small first, then this much larger with the details painted anew; 1: off. */
  hires_scale?: number;
  /** How much of the enlarged picture is painted anew. */
  hires_strength?: number;
  /** What enlarges between the two; empty: Lanczos. */
  hires_upscaler?: string;
}

/** One direction of a grid: a field of the job, and the values that it takes along it. */
export interface Axis {
  /** Which field of the job, such as steps; `prompt` may be split by | into a matrix. */
  field: string;
  /** Its values as texts, one for each row or column. */
  values: string[];
}

/** A camera with its picture's size. */
export interface Camera {
  /** Its picture's width. */
  width: number;
  /** Its picture's height. */
  height: number;
  /** Focal length along x in pixels; orthographic: pixels a scene unit; equirectangular: a radian. */
  fx: number;
  /** The same along y. */
  fy: number;
  /** The principal point's x. */
  cx: number;
  /** The principal point's y. */
  cy: number;
  /** How it projects. */
  projection?: "perspective" | "orthographic" | "equirectangular";
  /** 4×4, row by row, for column vectors. */
  world_to_camera?: number[];
}

/** One camera of a rig, with what it sees. */
export interface View {
  /** Where it stands. */
  camera: Camera;
  /** (h, w) float32 z of everything that it sees, +inf where nothing is; none: the mesh alone is seen. */
  depth?: WireBlob | BlobRef | null;
  /** (h, w, 3) float32 in camera space, as a control. */
  normal?: WireBlob | BlobRef | null;
  /** A picture that was painted already, (h, w, 3 or 4); it is baked as it is. */
  image?: WireBlob | BlobRef | null;
  /** (h, w): how much each pixel of its picture counts. */
  mask?: WireBlob | BlobRef | null;
  /** Words for this view alone, behind the job's own. */
  prompt?: string;
  /** How much it counts where several see the same. */
  weight?: number;
}

/** The first message. With `session`, the client comes back to it and is told again what it did not acknowledge. */
export interface HelloMessage {
  type: "hello";
  /** The protocol versions that it speaks. */
  versions: number[];
  /** Its name and version, for people to read. */
  client?: string;
  /** For hosts that cannot send the Authorization header. */
  token?: string | null;
  /** The session to come back to. */
  session?: string | null;
  /** Instead of a token: a code of the query `invitation`, which is good once. */
  invitation?: string | null;
}

/** The nonce that the client read from the server's shared folder; the client's own probe lies there too. */
export interface LaneProofMessage {
  type: "lane_proof";
  /** What stood in the server's probe. */
  nonce: string;
  /** The name of the client's probe file. */
  probe: string;
  /** The nonce that the client wrote into it. */
  written: string;
}

/** Asks for a job. `id` is the client's own; the same id again is the same job, not a second one. */
export interface SubmitMessage {
  type: "submit";
  /** A UUID of the client's. */
  id: string;
  /** The kind of job. */
  kind: string;
  /** Its fields. */
  job: Record<string, unknown>;
  /** live before interactive before batch. */
  priority?: "live" | "interactive" | "batch";
  /** For live jobs: a newer job in the same slot replaces an older one. */
  slot?: string;
  /** What becomes of it when the client's socket closes. */
  on_disconnect?: "keep" | "cancel";
}

/** Ends one job, queued or running; the answer is its `Cancelled` (or its result, if that came first). A session that watches may end any session's job. */
export interface CancelMessage {
  type: "cancel";
  /** The job's id. */
  id: string;
}

/** The client holds the job's last word (result, failure or cancellation); the server may forget it. */
export interface AckMessage {
  type: "ack";
  /** The job's id. */
  id: string;
}

/** Asks for a list. The fields from `job` on are for `history` alone, and narrow it. */
export interface QueryMessage {
  type: "query";
  /** Comes back in the answer. */
  id: number;
  /** Which list. */
  what: "models" | "loras" | "controlnets" | "vaes" | "image_adapters" | "upscalers" | "detectors" | "estimators" | "jobs" | "history" | "schema" | "status" | "invitation";
  /** That job alone, with all that is known of it. */
  job?: string;
  /** Words that its prompt or its model's name holds, all of them. */
  search?: string;
  /** The model that painted it. */
  model?: string;
  /** The kind of job. */
  kind?: string;
  /** Not before that time, counted from 1970. */
  since?: number | null;
  /** Before that time. */
  until?: number | null;
  /** How many of the newest are skipped. */
  offset?: number;
  /** How many are told at most. */
  limit?: number;
}

/** Takes over another session's job, whose client is gone; its last word then comes to this session. */
export interface ClaimMessage {
  type: "claim";
  /** The job's id. */
  id: string;
}

/** Asks to be told what becomes of all jobs, whosesoever they are, as `Activity`, `Progress` and `Preview`. Those that have not been delivered are told at once. Watching ends with the socket. */
export interface WatchMessage {
  type: "watch";
  /** Whether to watch from now on. */
  on?: boolean;
}

/** Deletes a job from the history, with what it made; the answer is an `Activity` of the state `forgotten`. */
export interface ForgetMessage {
  type: "forget";
  /** The job's id. */
  id: string;
}

/** Answered by Pong at once, however much payload is on its way. */
export interface PingMessage {
  type: "ping";
  /** Comes back in the answer. */
  id: number;
}

/** A blob that the sender has. Payload: the digests of its parts, or nothing. */
export interface OfferMessage {
  type: "offer";
  /** The blob. */
  blob: BlobRef;
}

/** The blob is here, whole and verified; nothing (more) of it need be sent. */
export interface HaveMessage {
  type: "have";
  /** The blob's digest. */
  digest: Uint8Array;
}

/** Send the blob: from byte `offset` on, or, where `parts` is not empty, those parts alone. */
export interface NeedMessage {
  type: "need";
  /** The blob's digest. */
  digest: Uint8Array;
  /** From which byte on; what lies before it has arrived. */
  offset?: number;
  /** Indices of parts. */
  parts?: number[];
}

/** Bytes of a blob as payload: from byte `offset` on, or part `part`. */
export interface ChunkMessage {
  type: "chunk";
  /** The blob's digest. */
  digest: Uint8Array;
  /** Where the payload begins in the blob. */
  offset?: number;
  /** The part that the payload is. */
  part?: number | null;
}

/** The whole blob lies in a file of the shared folder; `Release` gives the file back. */
export interface MappedMessage {
  type: "mapped";
  /** The blob's digest. */
  digest: Uint8Array;
  /** The file's name in the shared folder. */
  file: string;
}

/** The receiver of a `Mapped` reads its file no more. */
export interface ReleaseMessage {
  type: "release";
  /** The file's name. */
  file: string;
}

/** The answer to Hello. */
export interface WelcomeMessage {
  type: "welcome";
  /** The version that both speak from here on. */
  version: number;
  /** The session's id; only servers make them. */
  session: string;
  /** This run of the server; events are numbered anew with it. */
  epoch: string;
  /** The server's name and version. */
  server?: string;
  /** Whether the session that was asked for goes on. */
  resumed?: boolean;
  /** Where payloads can lie for this session, if on the same machine. */
  shared_folder?: string | null;
  /** The name of the server's probe file in it. */
  probe?: string | null;
  /** Of this server, by name. */
  limits?: Record<string, unknown>;
  /** For a client that came by invitation: the token with which it comes back to this session, and to no other. */
  token?: string | null;
}

/** Both sides have read each other's probe: payloads may go through the shared folder. */
export interface LaneReadyMessage {
  type: "lane_ready";
}

/** The job is in the journal and will not be lost. Or is known already, if it was submitted before. */
export interface AcceptedMessage {
  type: "accepted";
  /** The event's number. */
  seq: number;
  /** The job's id. */
  id: string;
  /** How many jobs are before it. */
  position?: number;
}

/** How far a job is. Of several that wait, only the newest is sent. */
export interface ProgressMessage {
  type: "progress";
  /** The event's number. */
  seq: number;
  /** The job's id. */
  id: string;
  /** queued, loading, encoding, sampling, decoding, … */
  phase?: string;
  /** Steps done. */
  step?: number;
  /** Steps in all; 0 where that is not known. */
  steps?: number;
  /** Time left. */
  eta?: number | null;
}

/** A small picture of what is being painted. Payload: its uint8 sRGB pixels. Only the newest is sent. */
export interface PreviewMessage {
  type: "preview";
  /** The event's number. */
  seq: number;
  /** The job's id. */
  id: string;
  /** After how many steps. */
  step: number;
  /** Its width. */
  width: number;
  /** Its height. */
  height: number;
  /** 3 or 4. */
  channels?: number;
}

/** A job's end: what it made. Kept until it is acknowledged. */
export interface ResultMessage {
  type: "result";
  /** The event's number. */
  seq: number;
  /** The job's id. */
  id: string;
  /** What it made. */
  outputs?: Output[];
  /** Model, timings, fallbacks, … */
  info?: Record<string, unknown>;
}

/** A job's end: why it made nothing. Kept until it is acknowledged. */
export interface FailedMessage {
  type: "failed";
  /** The event's number. */
  seq: number;
  /** The job's id. */
  id: string;
  /** Stable, for programs. */
  code: string;
  /** What went wrong, for people. */
  sentence: string;
  /** What to do about it. */
  remedy?: string;
  /** Whether the same job may succeed later. */
  retryable?: boolean;
}

/** A job's end: it was cancelled, or a newer one took its slot. Kept until it is acknowledged. */
export interface CancelledMessage {
  type: "cancelled";
  /** The event's number. */
  seq: number;
  /** The job's id. */
  id: string;
  /** cancelled, replaced or disconnected. */
  reason?: string;
}

/** What became of any session's job, for those that watch. Of several that wait, only the newest is sent. */
export interface ActivityMessage {
  type: "activity";
  /** The event's number. */
  seq: number;
  /** The job's id. */
  id: string;
  /** What has become of it. */
  state: "accepted" | "running" | "finished" | "failed" | "cancelled" | "forgotten";
  /** The kind of job. */
  kind?: string;
  /** The beginning of its prompt. */
  prompt?: string;
  /** The model that it names. */
  model?: string;
  /** As it was submitted. */
  priority?: "live" | "interactive" | "batch";
  /** The name of the client that submitted it, while it is known. */
  client?: string;
  /** When it was accepted, counted from 1970. */
  created?: number;
  /** Failed: what went wrong. */
  sentence?: string;
  /** Failed: what to do about it. */
  remedy?: string;
}

/** A page of the answer to a Query. Payload: the next bytes of the list, which is msgpack. */
export interface AnswerMessage {
  type: "answer";
  /** The query's id. */
  id: number;
  /** Whether another page follows. */
  more?: boolean;
}

/** The answer to a Ping. */
export interface PongMessage {
  type: "pong";
  /** The ping's id. */
  id: number;
}

/** Something that was said could not be taken. `about` names the job, query or blob that it was about. */
export interface ErrorMessage {
  type: "error";
  /** Stable, for programs. */
  code: string;
  /** What went wrong, for people. */
  sentence: string;
  /** What to do about it. */
  remedy?: string;
  /** Whether the same may succeed later. */
  retryable?: boolean;
  /** The id of the job or query, or the digest of the blob in hex. */
  about?: string;
  /** The field that was wrong. */
  field?: string;
}

export type Message =
  | HelloMessage
  | LaneProofMessage
  | SubmitMessage
  | CancelMessage
  | AckMessage
  | QueryMessage
  | ClaimMessage
  | WatchMessage
  | ForgetMessage
  | PingMessage
  | OfferMessage
  | HaveMessage
  | NeedMessage
  | ChunkMessage
  | MappedMessage
  | ReleaseMessage
  | WelcomeMessage
  | LaneReadyMessage
  | AcceptedMessage
  | ProgressMessage
  | PreviewMessage
  | ResultMessage
  | FailedMessage
  | CancelledMessage
  | ActivityMessage
  | AnswerMessage
  | PongMessage
  | ErrorMessage;

/** Paint a picture from words, from a picture, or into a part of a picture. */
export interface GenerateJob {
  /** What to paint. (word:1.2) weighs, [from:to:0.4] changes on the way, [a|b] takes turns, BREAK parts, {a|b} and __name__ draw one of several. */
  prompt?: string;
  /** What to keep out. */
  negative_prompt?: string;
  /** Which model; empty: the server's default. */
  model?: string;
  /** LoRAs on top of the model. */
  loras?: Lora[];
  /** Another autoencoder than the model's own. */
  vae?: string;
  /** How many of the text encoder's last layers are left out. */
  clip_skip?: number;
  /** The same seed paints the same picture; none: a new one each time. */
  seed?: number | null;
  /** Another seed, towards which the picture varies; none: a new one. */
  variation_seed?: number | null;
  /** How far towards the other seed: 0 not at all, 1 all the way. */
  variation_strength?: number;
  /** How many denoising steps. */
  steps?: number;
  /** How strictly the prompt is followed; none: the model's own. */
  guidance_scale?: number | null;
  /** How the steps are taken; auto: the model's own. */
  sampler?: "auto" | "Euler" | "Euler a" | "DPM++ 2M" | "DPM++ 2M Karras" | "DPM++ SDE" | "UniPC" | "LCM" | "DDIM" | "Heun";
  /** What the painting follows. */
  controls?: Control[];
  /** Where words and controls disagree, the controls win: they speak to the words' half of the guidance alone, which then strengthens them as it does the words. */
  favor_controls?: boolean;
  /** Pictures that say what to paint, as words do. */
  image_prompts?: ImagePrompt[];
  /** A preview every so many steps; 0: none. */
  preview_every?: number;
  /** A preview's longer side at most. */
  preview_size?: number;
  /** The picture to start from, (h, w, 3 or 4); none: start from noise. */
  image?: WireBlob | BlobRef | null;
  /** Where to paint, (h, w): 0 keeps every pixel as it is, the maximum paints, between them blends. */
  mask?: WireBlob | BlobRef | null;
  /** Grows the mask (or shrinks it). */
  mask_grow?: number;
  /** Softens the mask's edge. */
  mask_feather?: number;
  /** How much around the mask the model sees; none: the whole picture. */
  mask_padding?: number | null;
  /** Parts with words of their own. */
  regions?: Region[];
  /** Width; none: the image's, or the model's own. */
  width?: number | null;
  /** Height; none: the image's, or the model's own. */
  height?: number | null;
  /** How much of the image is painted anew: 0 nothing, 1 everything. */
  denoising_strength?: number;
  /** How many pictures at once, with seeds that count up. */
  batch?: number;
  /** Along which axes the picture continues at its opposite edge. */
  seamless?: "none" | "x" | "y" | "both";
  /** Paints small first, then this much larger with the details painted anew; 1: off. */
  hires_scale?: number;
  /** How much of the enlarged picture is painted anew. */
  hires_strength?: number;
  /** What enlarges between the two; empty: Lanczos. */
  hires_upscaler?: string;
}

/** A seamless material from words, or from a picture: its colours and its surface, each as a map. */
export interface TextureJob {
  /** What to paint. (word:1.2) weighs, [from:to:0.4] changes on the way, [a|b] takes turns, BREAK parts, {a|b} and __name__ draw one of several. */
  prompt?: string;
  /** What to keep out. */
  negative_prompt?: string;
  /** Which model; empty: the server's default. */
  model?: string;
  /** LoRAs on top of the model. */
  loras?: Lora[];
  /** Another autoencoder than the model's own. */
  vae?: string;
  /** How many of the text encoder's last layers are left out. */
  clip_skip?: number;
  /** The same seed paints the same picture; none: a new one each time. */
  seed?: number | null;
  /** Another seed, towards which the picture varies; none: a new one. */
  variation_seed?: number | null;
  /** How far towards the other seed: 0 not at all, 1 all the way. */
  variation_strength?: number;
  /** How many denoising steps. */
  steps?: number;
  /** How strictly the prompt is followed; none: the model's own. */
  guidance_scale?: number | null;
  /** How the steps are taken; auto: the model's own. */
  sampler?: "auto" | "Euler" | "Euler a" | "DPM++ 2M" | "DPM++ 2M Karras" | "DPM++ SDE" | "UniPC" | "LCM" | "DDIM" | "Heun";
  /** What the painting follows. */
  controls?: Control[];
  /** Where words and controls disagree, the controls win: they speak to the words' half of the guidance alone, which then strengthens them as it does the words. */
  favor_controls?: boolean;
  /** Pictures that say what to paint, as words do. */
  image_prompts?: ImagePrompt[];
  /** A preview every so many steps; 0: none. */
  preview_every?: number;
  /** A preview's longer side at most. */
  preview_size?: number;
  /** A photograph or picture to make the material of, (h, w, 3 or 4). */
  image?: WireBlob | BlobRef | null;
  /** Which maps to make. */
  maps?: ("albedo" | "normal" | "height" | "roughness" | "metallic" | "ambient_occlusion")[];
  /** Width; none: the image's, or the model's own. */
  width?: number | null;
  /** Height; none: the image's, or the model's own. */
  height?: number | null;
  /** Along which axes the material continues at its opposite edge. */
  seamless?: "none" | "x" | "y" | "both";
  /** With an image: how much of it is painted anew; 0 only makes it seamless. */
  denoising_strength?: number;
  /** Which way the normal map's green points: up or down. */
  normals?: "opengl" | "directx";
  /** The height of the surface over the width of the texture, for normals and occlusion. */
  relief?: number;
  /** How much of the light and shade of the picture is taken out of the colours. */
  flatten_light?: number;
  /** Which model reads the maps from the picture; empty: the best that is there. */
  estimator?: string;
  /** Whether to make one glTF material file too. */
  gltf?: boolean;
}

/** Enlarge a picture; on request, paint its details anew, tile by tile. */
export interface UpscaleJob {
  /** What to paint. (word:1.2) weighs, [from:to:0.4] changes on the way, [a|b] takes turns, BREAK parts, {a|b} and __name__ draw one of several. */
  prompt?: string;
  /** What to keep out. */
  negative_prompt?: string;
  /** Which model; empty: the server's default. */
  model?: string;
  /** LoRAs on top of the model. */
  loras?: Lora[];
  /** Another autoencoder than the model's own. */
  vae?: string;
  /** How many of the text encoder's last layers are left out. */
  clip_skip?: number;
  /** The same seed paints the same picture; none: a new one each time. */
  seed?: number | null;
  /** Another seed, towards which the picture varies; none: a new one. */
  variation_seed?: number | null;
  /** How far towards the other seed: 0 not at all, 1 all the way. */
  variation_strength?: number;
  /** How many denoising steps. */
  steps?: number;
  /** How strictly the prompt is followed; none: the model's own. */
  guidance_scale?: number | null;
  /** How the steps are taken; auto: the model's own. */
  sampler?: "auto" | "Euler" | "Euler a" | "DPM++ 2M" | "DPM++ 2M Karras" | "DPM++ SDE" | "UniPC" | "LCM" | "DDIM" | "Heun";
  /** What the painting follows. */
  controls?: Control[];
  /** Where words and controls disagree, the controls win: they speak to the words' half of the guidance alone, which then strengthens them as it does the words. */
  favor_controls?: boolean;
  /** Pictures that say what to paint, as words do. */
  image_prompts?: ImagePrompt[];
  /** A preview every so many steps; 0: none. */
  preview_every?: number;
  /** A preview's longer side at most. */
  preview_size?: number;
  /** The picture, (h, w, 3 or 4). */
  image: WireBlob | BlobRef;
  /** How much larger. */
  scale?: number;
  /** What enlarges it; empty: the best that is there. */
  upscaler?: string;
  /** How much of the enlarged picture is painted anew; 0 nothing. */
  denoising_strength?: number;
  /** The side of a tile. */
  tile?: number;
  /** How much tiles overlap. */
  overlap?: number;
  /** Along which axes the picture continues at its opposite edge. */
  seamless?: "none" | "x" | "y" | "both";
}

/** Read a control map from a picture: its depth, normals, pose, edges, … */
export interface AnnotateJob {
  /** The picture, (h, w, 3 or 4). */
  image: WireBlob | BlobRef;
  /** What reads it; depth, normal or edges: the best that is there. */
  detector: string;
  /** The shorter side that the detector sees; 0: its own choice. */
  resolution?: number;
  /** For edges: what is weaker is none. */
  low_threshold?: number | null;
  /** For edges: what is stronger is one. */
  high_threshold?: number | null;
  /** For poses: hands too. */
  hands?: boolean;
  /** For poses: the face too. */
  face?: boolean;
  /** For detectors that draw lots. */
  seed?: number;
}

/** Paint the frames of an animation, one after the other, with keyframes for words, strength and seed. */
export interface FramesJob {
  /** What to paint. (word:1.2) weighs, [from:to:0.4] changes on the way, [a|b] takes turns, BREAK parts, {a|b} and __name__ draw one of several. */
  prompt?: string;
  /** What to keep out. */
  negative_prompt?: string;
  /** Which model; empty: the server's default. */
  model?: string;
  /** LoRAs on top of the model. */
  loras?: Lora[];
  /** Another autoencoder than the model's own. */
  vae?: string;
  /** How many of the text encoder's last layers are left out. */
  clip_skip?: number;
  /** The same seed paints the same picture; none: a new one each time. */
  seed?: number | null;
  /** Another seed, towards which the picture varies; none: a new one. */
  variation_seed?: number | null;
  /** How far towards the other seed: 0 not at all, 1 all the way. */
  variation_strength?: number;
  /** How many denoising steps. */
  steps?: number;
  /** How strictly the prompt is followed; none: the model's own. */
  guidance_scale?: number | null;
  /** How the steps are taken; auto: the model's own. */
  sampler?: "auto" | "Euler" | "Euler a" | "DPM++ 2M" | "DPM++ 2M Karras" | "DPM++ SDE" | "UniPC" | "LCM" | "DDIM" | "Heun";
  /** What the painting follows. */
  controls?: Control[];
  /** Where words and controls disagree, the controls win: they speak to the words' half of the guidance alone, which then strengthens them as it does the words. */
  favor_controls?: boolean;
  /** Pictures that say what to paint, as words do. */
  image_prompts?: ImagePrompt[];
  /** A preview every so many steps; 0: none. */
  preview_every?: number;
  /** A preview's longer side at most. */
  preview_size?: number;
  /** The picture to start from, (h, w, 3 or 4); none: start from noise. */
  image?: WireBlob | BlobRef | null;
  /** Where to paint, (h, w): 0 keeps every pixel as it is, the maximum paints, between them blends. */
  mask?: WireBlob | BlobRef | null;
  /** Grows the mask (or shrinks it). */
  mask_grow?: number;
  /** Softens the mask's edge. */
  mask_feather?: number;
  /** How much around the mask the model sees; none: the whole picture. */
  mask_padding?: number | null;
  /** Parts with words of their own. */
  regions?: Region[];
  /** Width; none: the image's, or the model's own. */
  width?: number | null;
  /** Height; none: the image's, or the model's own. */
  height?: number | null;
  /** How much of the image is painted anew: 0 nothing, 1 everything. */
  denoising_strength?: number;
  /** How many pictures at once, with seeds that count up. */
  batch?: number;
  /** Along which axes the picture continues at its opposite edge. */
  seamless?: "none" | "x" | "y" | "both";
  /** Paints small first, then this much larger with the details painted anew; 1: off. */
  hires_scale?: number;
  /** How much of the enlarged picture is painted anew. */
  hires_strength?: number;
  /** What enlarges between the two; empty: Lanczos. */
  hires_upscaler?: string;
  /** The pictures to start from, in order. */
  frames: (WireBlob | BlobRef)[];
  /** What changes on the way. */
  keyframes?: Keyframe[];
}

/** Paint one job many times with a field or two changed, onto one labelled sheet. */
export interface GridJob {
  /** What is painted everywhere. */
  job: Generate;
  /** What changes from column to column. */
  x: Axis;
  /** What changes from row to row. */
  y?: Axis | null;
}

/** Paint a mesh from a rig of cameras, and bake what was painted into its texture. */
export interface ViewsJob {
  /** What to paint. (word:1.2) weighs, [from:to:0.4] changes on the way, [a|b] takes turns, BREAK parts, {a|b} and __name__ draw one of several. */
  prompt?: string;
  /** What to keep out. */
  negative_prompt?: string;
  /** Which model; empty: the server's default. */
  model?: string;
  /** LoRAs on top of the model. */
  loras?: Lora[];
  /** Another autoencoder than the model's own. */
  vae?: string;
  /** How many of the text encoder's last layers are left out. */
  clip_skip?: number;
  /** The same seed paints the same picture; none: a new one each time. */
  seed?: number | null;
  /** Another seed, towards which the picture varies; none: a new one. */
  variation_seed?: number | null;
  /** How far towards the other seed: 0 not at all, 1 all the way. */
  variation_strength?: number;
  /** How many denoising steps. */
  steps?: number;
  /** How strictly the prompt is followed; none: the model's own. */
  guidance_scale?: number | null;
  /** How the steps are taken; auto: the model's own. */
  sampler?: "auto" | "Euler" | "Euler a" | "DPM++ 2M" | "DPM++ 2M Karras" | "DPM++ SDE" | "UniPC" | "LCM" | "DDIM" | "Heun";
  /** What the painting follows. */
  controls?: Control[];
  /** Where words and controls disagree, the controls win: they speak to the words' half of the guidance alone, which then strengthens them as it does the words. */
  favor_controls?: boolean;
  /** Pictures that say what to paint, as words do. */
  image_prompts?: ImagePrompt[];
  /** A preview every so many steps; 0: none. */
  preview_every?: number;
  /** A preview's longer side at most. */
  preview_size?: number;
  /** (n, 3) float32, in the scene's axes and units; flat (3·n,) where n is above 32768. */
  vertices: WireBlob | BlobRef;
  /** (m, 3) uint32, indices of vertices, or flat (3·m,). */
  triangles: WireBlob | BlobRef;
  /** (3·m, 2) float32, for each corner of each triangle, u right, v up; or flat (6·m,). */
  uvs: WireBlob | BlobRef;
  /** The cameras, in the order of painting. */
  views: View[];
  /** Each view paints what is not covered yet; all views in one picture; each paints over what is there; or nothing is painted and the given pictures are baked. */
  mode?: "sequential" | "grid" | "refine" | "bake";
  /** (h, w, 3 or 4): what is on the mesh already; kept where no camera sees. */
  texture?: WireBlob | BlobRef | null;
  /** The texture's width. */
  width?: number;
  /** The texture's height. */
  height?: number;
  /** How much is painted anew, in the refine mode. */
  denoising_strength?: number;
  /** How strongly the depth is followed; 0: not at all. */
  follow_depth?: number;
  /** How strongly the normals are followed; 0: not at all. */
  follow_normal?: number;
  /** A surface that is seen under a flatter angle than this gets nothing. */
  max_angle?: number;
  /** How far colours go beyond the islands' edges. */
  dilation?: number;
}

/** Turn a depth map, or a picture whose depth is read first, into a textured mesh. The file is y up and in scene units; an unmoved camera stands at its origin and looks down -z. */
export interface MeshJob {
  /** (h, w) numbers of the kind below; none: read from the image. */
  depth?: WireBlob | BlobRef | null;
  /** The picture that becomes the texture, (h, w, 3 or 4), of the depth's aspect. */
  image?: WireBlob | BlobRef | null;
  /** What the depth map holds: z in scene units, disparity in pixels (calibrated by baseline, doffs and camera), relative inverse depth (near is large; integers over their range, floats over their own), the radius along the ray, or a height field. */
  kind?: "metric" | "disparity" | "relative" | "radius" | "height";
  /** One step of the map's numbers, in scene units; disparity: in pixels. */
  unit?: number;
  /** What the map was seen by; none: fov and the map's size say it. */
  camera?: Camera | null;
  /** The horizontal field of view where no camera is given. */
  fov?: number;
  /** Disparity: the distance of the two cameras. */
  baseline?: number | null;
  /** Disparity: the difference of the principal points. */
  doffs?: number;
  /** Relative depth: where its largest value lies; none: at 1. */
  near?: number | null;
  /** Relative depth: where its smallest value lies; none: ten times as far as near. */
  far?: number | null;
  /** Reads the depth from the image; empty: the best there is. */
  detector?: string;
  /** What is built: the seen surface, its points (as PLY), a relief to print, or a terrain. */
  shape?: "surface" | "points" | "relief" | "terrain";
  /** Give what was not measured a depth: that of the farther surface around it. */
  fill_holes?: boolean;
  /** Put the hidden background behind the foreground. */
  layers?: boolean;
  /** Let the model paint the hidden background; else its colours are continued. */
  inpaint?: boolean;
  /** What the hidden background shows, for inpaint. */
  prompt?: string;
  /** The checkpoint that inpaints; empty: the server's default. */
  model?: string;
  /** For inpaint: the same seed paints the same background. */
  seed?: number;
  /** Simplify to about so many. */
  triangles?: number | null;
  /** How many times farther the neighbour may be before the surface is cut; none: 1.02. */
  edge_ratio?: number | null;
  /** Whether blurred depth edges are made steps. */
  sharpening?: "auto" | "always" | "never";
  /** Bake the full depth's normals onto the simplified mesh. */
  normal_map?: boolean;
  /** Relief and terrain: the width of what is built; none: 100 as STL, else 1. */
  width?: number | null;
  /** Relief and terrain: the height over the width. */
  relief_height?: number;
  /** Relief: the thickness of the base over the width. */
  base?: number;
  /** Which file is made. */
  format?: "glb" | "obj" | "ply" | "stl" | "usdz";
  /** The file's name, without its suffix. */
  name?: string;
  /** The axis of the camera's world that points up; an unmoved camera's own is -y. */
  scene_up?: "-y" | "+y" | "+z";
  /** The axis that points up in the file; none: y, and z for a relief as STL. A glb is always y up. */
  up?: "+y" | "+z" | null;
  /** The longer side of the preview. */
  preview_size?: number;
  /** How far beside the camera the preview is seen from. */
  preview_turn?: number;
}

export interface Jobs {
  Generate: GenerateJob;
  Texture: TextureJob;
  Upscale: UpscaleJob;
  Annotate: AnnotateJob;
  Frames: FramesJob;
  Grid: GridJob;
  Views: ViewsJob;
  Mesh: MeshJob;
}
