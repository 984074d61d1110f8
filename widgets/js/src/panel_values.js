// How a panel writes what it is told, and reads what people type: no page is needed for it.

// Control: its title, the slider's scale and step, the unit of its numbers, and an example.
export const CONTROLS = {
  delay: ["Delay", 500, 1, "ms", "20ms"],
  jitter: ["Jitter", 200, 1, "ms", "5ms"],
  loss: ["Loss", 100, 0.5, "%", "1%"],
  rate: ["Rate", 100, 1, "Mbit", "5Mbit"],
};
const SCALE = { ms: 1, s: 1000, us: 0.001, "%": 1, mbit: 1, kbit: 0.001, gbit: 1000, bit: 1e-6 };

// A text such as "20ms" as the number a slider stands at; nothing, or no number, is 0.
export function number(text) {
  const found = /^\s*([\d.]+)\s*([a-z%]*)/i.exec(text || "");
  return found ? Number(found[1]) * (SCALE[found[2].toLowerCase()] ?? 1) : 0;
}

// The number of a control's slider as text; 0 is none.
export function spelled(key, value) {
  return value ? `${value}${CONTROLS[key][3]}` : "";
}

// What there is to tell of a slice: the work on it while there is some, else what is left to do.
// One that was never deployed says so itself, and needs no words; then the answer is nothing.
export function workWords(work, { changes, deployed, gone, old }) {
  if (work.state === "working") return sentence(work.words || work.job || "working");
  if (work.state === "failed") return work.job ? "Ending what has begun" : "Ended early";
  if (gone) return "The slice is gone: nothing is deployed";
  if (old) return "Looking at what is there";
  if (changes && (deployed || work.state === "done")) return `${changes} change${changes === 1 ? "" : "s"} to deploy`;
  if (work.state !== "done") return "";
  if (!deployed) return "Nothing is deployed";
  return work.steps ? "As wished" : "As wished: nothing was to be done";
}

// What to know of a panel whose kernel is out of reach.
export function lastSeen({ is_real: isReal }) {
  const known = "Not live: this is what was seen last.";
  return isReal ? `${known} The machines run on without the kernel.` : known;
}

export function sentence(words) {
  return words[0].toUpperCase() + words.slice(1);
}

// How far it is and how long it takes, `passed` seconds after the kernel has told of it.
// labkit.progress.Work.time says the same in the same words.
export function workTime({ state, steps, done, seconds, left }, passed) {
  const parts = steps ? [`${done} of ${steps} ${steps === 1 ? "step" : "steps"}`] : [];
  parts.push(`${Math.round(seconds + passed)} s`);
  if (state !== "working" || left === null) return parts.join(" · ");
  const [now, usual] = [left - passed, seconds + left];
  if (now >= 1) parts.push(`about ${Math.round(now)} s left`);
  else if (now < -Math.max(2, 0.2 * usual)) parts.push(`longer than usual (${Math.round(usual)} s)`);
  else parts.push("nearly done");
  return parts.join(" · ");
}
