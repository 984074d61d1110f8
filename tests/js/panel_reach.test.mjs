// node --test: what needs the kernel is disabled while it is out of reach, and as it was afterwards.
import assert from "node:assert/strict";
import test from "node:test";

import { Reach } from "../../widgets/js/src/panel_reach.js";

const GONE = "The kernel is gone: run the cell again";

function panel() {
  const shown = new Set();
  const reach = new Reach({ contains: (element) => shown.has(element) });
  const add = (title = "") => {
    const element = { disabled: false, title };
    shown.add(element);
    return reach.needs(element);
  };
  return { shown, reach, add };
}

test("out of reach, everything is disabled and says why; back in reach, it is as before", () => {
  const { reach, add } = panel();
  const [free, held] = [add("Deploy it"), add()];
  reach.allow(held, false);
  reach.set(GONE);
  assert.deepEqual(free, { disabled: true, title: GONE });
  assert.deepEqual(held, { disabled: true, title: GONE });
  reach.set("");
  assert.deepEqual(free, { disabled: false, title: "Deploy it" });
  assert.deepEqual(held, { disabled: true, title: "" });
});

test("what is painted meanwhile is disabled too, and counts once the kernel is back", () => {
  const { reach, add } = panel();
  const old = add("Deploy it");
  reach.allow(old, false);
  reach.set(GONE);
  reach.allow(old, true);
  const fresh = add("Pause it");
  for (const one of [old, fresh]) assert.deepEqual(one, { disabled: true, title: GONE });
  reach.set("");
  assert.deepEqual(old, { disabled: false, title: "Deploy it" });
  assert.deepEqual(fresh, { disabled: false, title: "Pause it" });
});

test("what is no longer shown is forgotten", () => {
  const { shown, reach, add } = panel();
  shown.delete(add());
  reach.set(GONE);
  assert.equal(reach.needy.size, 0);
});
