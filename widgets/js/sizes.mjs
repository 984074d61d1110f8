// node sizes.mjs [FOLDER]: how large the bundles are; an error when they are over their ceiling.
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { gzipSync } from "node:zlib";

const CEILING = 200_000; // bytes of all bundles together, gzipped
export const STATIC = path.join(path.dirname(fileURLToPath(import.meta.url)), "../labkit_widgets/static");

function scripts(folder) {
  const names = fs.readdirSync(folder).filter((name) => /\.(js|css)$/.test(name));
  return names.sort().map((name) => path.join(folder, name));
}

export function tellSizes(folder) {
  let total = 0;
  const plain = path.join(STATIC, ".."); // what needs no bundling lies beside the Python that loads it
  for (const file of [...scripts(folder), ...scripts(plain)]) {
    const name = path.basename(file);
    const bytes = fs.readFileSync(file);
    const packed = gzipSync(bytes).length;
    total += packed;
    console.log(`${name.padEnd(16)} ${String(bytes.length).padStart(7)} bytes, ${packed} gzipped`);
  }
  console.log(`${"together".padEnd(16)} ${total} gzipped of at most ${CEILING}`);
  if (total > CEILING) throw new Error(`the bundles are ${total - CEILING} bytes over their ceiling`);
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) tellSizes(process.argv[2] || STATIC);
