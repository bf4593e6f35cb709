// Prints Khronos's glTF validator's report on the file named, as JSON.
// NODE_PATH-free: the package's folder is the second argument.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
const validator = createRequire(process.argv[3] + "/")("gltf-validator");
const report = await validator.validateBytes(new Uint8Array(readFileSync(process.argv[2])), { maxIssues: 20 });
console.log(JSON.stringify(report.issues));
