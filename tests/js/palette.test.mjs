// node --test: the terminal's colours can be told from their ground.
import assert from "node:assert/strict";
import test from "node:test";

import { DARK, LIGHT } from "../../widgets/js/src/palette.js";

function luminance(colour) {
  const [red, green, blue] = [1, 3, 5].map((at) => {
    const share = parseInt(colour.slice(at, at + 2), 16) / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

function contrast(one, other) {
  const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}

for (const [name, palette] of Object.entries({ dark: DARK, light: LIGHT })) {
  test(`letters in ${name} notebooks keep 4.5 to 1 on their ground`, () => {
    for (const [key, colour] of Object.entries(palette)) {
      if (/background|accent|black$/i.test(key)) continue; // black is raised by xterm where it is text
      const found = contrast(colour, palette.background);
      assert.ok(found >= 4.5, `${key} ${colour}: ${found.toFixed(2)}`);
    }
  });
}
