// node --test: what a panel writes of work, and how its sliders and texts become one another.
import assert from "node:assert/strict";
import test from "node:test";

import { CONTROLS, lastSeen, number, spelled, workTime, workWords } from "../../widgets/js/src/panel_values.js";

test("what a slider spells is read as the same number", () => {
  for (const [key, [, most, step]] of Object.entries(CONTROLS)) {
    for (let value = 0; value <= most; value += step) {
      assert.equal(number(spelled(key, value)), value, `${key} ${value}`);
    }
  }
});

test("units are those of the slider, whatever people type", () => {
  const typed = { "20ms": 20, "0.5 s": 500, "250us": 0.25, "1.5Gbit": 1500, "500KBIT": 0.5, " 7 %": 7, 12: 12 };
  for (const [text, value] of Object.entries(typed)) assert.equal(number(text), value, text);
  for (const nothing of ["", undefined, null, "none", "ms"]) assert.equal(number(nothing), 0);
});

test("a control that is set to nothing is taken away", () => {
  assert.equal(spelled("loss", 0), "");
  assert.equal(spelled("loss", 0.5), "0.5%");
});

test("the words say what is done, how it ended, and what is left to do", () => {
  const so = { changes: 0, deployed: true, gone: false };
  assert.equal(workWords({ state: "working", words: "starting r1", job: "deploying" }, so), "Starting r1");
  assert.equal(workWords({ state: "working", words: "", job: "deploying" }, so), "Deploying");
  assert.equal(workWords({ state: "done", steps: 2 }, so), "As wished");
  assert.equal(workWords({ state: "done", steps: 2 }, { ...so, changes: null }), "As wished");
  assert.equal(workWords({ state: "done", steps: 0 }, so), "As wished: nothing was to be done");
  assert.equal(workWords({ state: "failed", job: "" }, so), "Ended early");
  assert.equal(workWords({ state: "idle" }, so), "");
  assert.equal(workWords({ state: "idle" }, { ...so, changes: 1 }), "1 change to deploy");
  assert.equal(workWords({ state: "done", steps: 2 }, { ...so, changes: 3 }), "3 changes to deploy");
  assert.equal(workWords({ state: "done", steps: 2 }, { ...so, changes: 9, old: true }), "Looking at what is there");
  const not = { changes: 4, deployed: false, gone: false };
  assert.equal(workWords({ state: "idle" }, not), "");
  assert.equal(workWords({ state: "done", steps: 9 }, { ...not, changes: 0 }), "Nothing is deployed");
  const gone = { changes: 0, deployed: false, gone: true };
  assert.equal(workWords({ state: "done", steps: 9 }, gone), "The slice is gone: nothing is deployed");
});

test("machines that are real run on without the kernel, simulated ones do not", () => {
  assert.match(lastSeen({ is_real: true }), /^Not live: .* run on/);
  assert.doesNotMatch(lastSeen({ is_real: false }), /run on/);
});

test("the page counts on from what the kernel has told", () => {
  const told = { state: "working", steps: 12, done: 3, seconds: 3, left: 7 };
  assert.equal(workTime(told, 0), "3 of 12 steps · 3 s · about 7 s left");
  assert.equal(workTime(told, 2), "3 of 12 steps · 5 s · about 5 s left");
  assert.equal(workTime(told, 7), "3 of 12 steps · 10 s · nearly done");
  assert.equal(workTime(told, 8.9), "3 of 12 steps · 12 s · nearly done");
  assert.equal(workTime(told, 9.1), "3 of 12 steps · 12 s · longer than usual (10 s)");
  assert.equal(workTime({ ...told, left: null }, 2), "3 of 12 steps · 5 s");
  assert.equal(workTime({ ...told, steps: 1, done: 0 }, 0), "0 of 1 step · 3 s · about 7 s left");
  assert.equal(workTime({ ...told, state: "done" }, 0), "3 of 12 steps · 3 s");
});
