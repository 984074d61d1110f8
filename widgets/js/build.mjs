// node build.mjs [FOLDER]: one self-contained module (and style sheet) per widget, what is inside and
// its licences, and of which sources they were made. Prints the sizes and minds their ceiling.
import { build } from "esbuild";
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

import { STATIC, tellSizes } from "./sizes.mjs";

const ENTRIES = ["terminal", "screen", "panel"];

const here = path.dirname(fileURLToPath(import.meta.url));
const target = path.resolve(process.argv[2] || STATIC);

const result = await build({
  absWorkingDir: here,
  entryPoints: ENTRIES.map((name) => `src/${name}.js`),
  outdir: target,
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  legalComments: "none", // their licences are in THIRD_PARTY.txt, whole
  banner: { js: "/*! labkit; the licences of what is inside: THIRD_PARTY.txt beside this file */" },
  metafile: true,
  logLevel: "warning",
});

function thirdParty() {
  const names = new Set();
  for (const file of Object.keys(result.metafile.inputs)) {
    const match = /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(file);
    if (match) names.add(match[1]);
  }
  let text = "The bundles in this folder contain these packages, unchanged, put together by esbuild.\n";
  for (const name of [...names].sort()) {
    const folder = path.join(here, "node_modules", name);
    const facts = JSON.parse(fs.readFileSync(path.join(folder, "package.json"), "utf8"));
    const source = (facts.repository?.url || facts.repository || facts.homepage || "")
      .replace(/^git\+/, "").replace(/\.git$/, "");
    text += `\n${"=".repeat(78)}\n${facts.name} ${facts.version}, licence ${facts.license}\n`;
    text += `Source: ${source}\n\n`;
    for (const file of licences(folder)) text += `${fs.readFileSync(file, "utf8").trim()}\n`;
  }
  fs.writeFileSync(path.join(target, "THIRD_PARTY.txt"), text);
}

// Licence files of a package, and of what it carries itself (noVNC: pako).
function licences(folder) {
  const files = fs.readdirSync(folder, { recursive: true })
    .filter((file) => /(^|\/)(licen[sc]e|copying)[^/]*$/i.test(file) && !/BSD|OFL/.test(file)); // of its own pages
  if (!files.length) throw new Error(`${folder} has no licence file`);
  return files.sort().map((file) => path.join(folder, file));
}

// What the bundles were made of, so that an installation can tell whether they are stale.
function sources() {
  const files = ["build.mjs", "package-lock.json", "package.json", "sizes.mjs"];
  files.push(...fs.readdirSync(path.join(here, "src")).map((name) => `src/${name}`));
  const hash = (file) => createHash("sha256").update(fs.readFileSync(path.join(here, file))).digest("hex");
  const facts = Object.fromEntries(files.sort().map((file) => [file, hash(file)]));
  fs.writeFileSync(path.join(target, "sources.json"), `${JSON.stringify(facts, null, 1)}\n`);
}

thirdParty();
tellSizes(target);
sources(); // last: it vouches for all the rest
