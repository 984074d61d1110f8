// What a panel shows of the VM or link that was clicked on, and what can be done with it.
import { made, ownKeys } from "./frame.js";
import { mark } from "./panel_tables.js";
import { CONTROLS, number, spelled } from "./panel_values.js";

const FACES = [
  ["shell", "Shell", "A shell in its system"],
  ["console", "Console", "Its serial console, from its start on"],
  ["screen", "Screen", "Its screen, with keyboard and pointer"],
];
const DRAG = 250; // ms between two settings while a slider is dragged

export class Side {
  constructor(parent, panel) {
    this.panel = panel;
    this.root = made("aside", "labkit-side", parent);
    this.root.hidden = true;
    this.shown = "";
  }

  paint() {
    const facts = this.panel.chosen;
    this.root.hidden = !facts.kind;
    if (!facts.kind) {
      this.shown = "";
      return;
    }
    const key = `${facts.kind} ${facts.name}`;
    if (key !== this.shown) this._build(facts);
    this.shown = key;
    this.root.setAttribute("aria-label", `${facts.kind === "vm" ? "VM" : "Link"} ${facts.name}`);
    if (facts.kind === "vm") this._paintVM(facts);
    else this._paintLink(facts);
  }

  _build(facts) {
    this.root.replaceChildren();
    const head = made("div", "labkit-side-head", this.root);
    made("strong", "", head, facts.name);
    this.state = made("span", "", head);
    const close = this._button(head, "✕", () => this.panel.choose("", ""));
    close.classList.add("labkit-plain");
    close.setAttribute("aria-label", "Close");
    this.facts = made("dl", "labkit-facts", this.root);
    if (facts.kind === "vm") this._buildVM(facts);
    else this._buildLink(facts);
  }

  _button(parent, text, work, title = "") {
    const button = made("button", "labkit-button", parent, text);
    button.type = "button";
    button.title = title;
    ownKeys(button);
    button.addEventListener("click", work);
    return this.panel.reach.needs(button);
  }

  _tell(pairs) {
    const text = JSON.stringify(pairs);
    if (this.facts.told === text) return;
    this.facts.told = text;
    this.facts.replaceChildren();
    for (const [name, value] of pairs) {
      made("dt", "", this.facts, name);
      made("dd", "", this.facts, value);
    }
  }

  // a VM

  _buildVM({ name }) {
    this.facts.told = "";
    const act = (what, facts) => () => this.panel.act(what, { name, ...facts });
    const faces = made("div", "labkit-row", this.root);
    this.faces = Object.fromEntries(FACES.map(([face, title, told]) => (
      [face, this._button(faces, title, () => this.panel.dock.open(face, name), told)]
    )));
    const power = made("div", "labkit-row", this.root);
    this.pause = this._button(power, "Pause", () => act("power", { verb: this.panel.chosen.is_paused ? "resume" : "pause" })());
    this.reboot = this._button(power, "Reboot", act("power", { verb: "reboot" }), "Ask its system to start again");
    this.off = this._button(power, "Power off…", () => this.panel.confirm(
      `Pull the plug of ${name}? Its system is not asked.`, "Power off", act("power", { verb: "power_off" }),
    ));
    this.anew = this._button(power, "Reset…", () => this.panel.confirm(
      `Start ${name} anew? What is on its disk is lost.`, "Reset", () => this.panel.act("reset", { names: [name] }),
    ));
    for (const button of [this.off, this.anew]) button.classList.add("labkit-danger");
    this.hint = made("div", "labkit-hint", this.root);
  }

  _paintVM(facts) {
    this.state.replaceChildren(mark(this.panel.model.get("looks"), facts.look, facts.state));
    this._tell(facts.facts);
    const { reach } = this.panel;
    reach.allow(this.faces.shell, facts.is_there && !facts.is_paused);
    reach.allow(this.faces.console, facts.is_alive);
    reach.allow(this.faces.screen, facts.is_alive && facts.has_screen);
    this.faces.screen.hidden = !facts.has_screen;
    this.pause.textContent = facts.is_paused ? "Resume" : "Pause";
    for (const button of [this.pause, this.reboot, this.off]) reach.allow(button, facts.is_there);
    reach.allow(this.anew, facts.is_alive || facts.is_there);
    this.hint.hidden = facts.is_alive;
    this.hint.textContent = facts.is_alive ? "" : "It does not run: deploy the slice to start it.";
  }

  // a link

  _buildLink({ name }) {
    this.facts.told = "";
    this.name = name;
    const send = (settings) => this.panel.act("link", { name, settings });
    const line = made("div", "labkit-row", this.root);
    this.upDown = this._button(line, "Take down", () => send({ up: !this.panel.chosen.up }));
    this.clear = this._button(line, "Clear", () => send({ delay: "", jitter: "", loss: "", rate: "" }), "Take all of these away");
    const fields = made("div", "labkit-fields", this.root);
    this.controls = Object.fromEntries(Object.keys(CONTROLS).map((key) => [key, this._control(fields, key, send)]));
    this.differs = made("div", "labkit-hint", this.root);
    this.trouble = made("div", "labkit-wrong", this.root);
    this.trouble.setAttribute("role", "alert");
    const capture = made("div", "labkit-row", this.root);
    this.capture = this._button(capture, "Capture", () => this.panel.act("capture", { name, on: !this.panel.chosen.capture.running }));
    this.count = made("span", "labkit-hint", capture);
    this.packets = made("div", "labkit-packets", this.root);
  }

  _control(parent, key, send) {
    const [title, most, step, , example] = CONTROLS[key];
    const id = `labkit-${Math.random().toString(36).slice(2)}`;
    const label = made("label", "", parent, title);
    label.htmlFor = id;
    const slider = made("input", "", parent);
    Object.assign(slider, { type: "range", min: 0, max: most, step, value: 0 });
    slider.setAttribute("aria-label", `${title}, slider`);
    const field = made("input", "", parent);
    Object.assign(field, { type: "text", id, placeholder: "none", spellcheck: false, title: `such as ${example}` });
    for (const one of [slider, field]) {
      ownKeys(one);
      this.panel.reach.needs(one);
    }
    let last = 0;
    slider.addEventListener("input", () => {
      field.value = spelled(key, Number(slider.value));
      if (performance.now() - last < DRAG) return;
      last = performance.now();
      send({ [key]: field.value });
    });
    slider.addEventListener("change", () => send({ [key]: spelled(key, Number(slider.value)) }));
    field.addEventListener("change", () => send({ [key]: field.value.trim() }));
    return { slider, field };
  }

  _paintLink(facts) {
    this.state.textContent = facts.state;
    this._tell([["ends", facts.ends.join(" — ")]]);
    this.upDown.textContent = facts.up ? "Take down" : "Bring up";
    for (const [key, { slider, field }] of Object.entries(this.controls)) {
      // What is just being typed or dragged is newer than what the kernel knows.
      if (slider.matches(":active")) continue;
      if (field !== document.activeElement) field.value = facts.values[key];
      slider.value = String(number(facts.values[key]));
    }
    this.differs.hidden = !facts.differs;
    this.differs.textContent = facts.differs ? `Now, by end: ${facts.differs}. What is set here is set for all.` : "";
    this.trouble.hidden = !facts.trouble;
    this.trouble.textContent = facts.trouble;
    const { running, count, dropped, rows } = facts.capture;
    this.capture.textContent = running ? "Stop capture" : "Capture";
    this.panel.reach.allow(this.capture, facts.is_there || running);
    const lost = dropped ? `, ${dropped} dropped` : "";
    this.count.textContent = running || count ? `${count} packets${lost}` : facts.is_there ? "" : "not deployed";
    this._paintPackets(rows);
  }

  _paintPackets(rows) {
    const text = JSON.stringify(rows);
    if (this.packets.told === text) return;
    this.packets.told = text;
    this.packets.replaceChildren();
    if (!rows.length) return;
    const table = made("table", "", this.packets);
    table.setAttribute("aria-label", "Last packets");
    const head = made("tr", "", made("thead", "", table));
    for (const title of ["from", "to", "protocol"]) made("th", "", head, title).scope = "col";
    const body = made("tbody", "", table);
    for (const [source, destination, protocol, length, info] of [...rows].reverse()) {
      const row = made("tr", "", body);
      row.title = `${length} bytes: ${info}`;
      for (const value of [source, destination, protocol]) made("td", "", row, value);
    }
  }
}
