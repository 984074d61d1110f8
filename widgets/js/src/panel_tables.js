// The tables of a panel: VMs, links and last events, in tabs; rows keep their place and focus.
import { made, ownKeys } from "./frame.js";

const NS = "http://www.w3.org/2000/svg";
const PAGES = {
  vms: ["VMs", ["name", "state", "flavor", "size", "addresses", "internet", "host"]],
  links: ["Links", ["name", "state", "ends", "impairments"]],
  events: ["Events", ["time", "event", "subject", "detail"]],
};

// The sign of a state, as the picture has it.
export function mark(looks, key, word) {
  const look = looks[key];
  const root = made("span", "labkit-mark", null);
  if (look) {
    const svg = document.createElementNS(NS, "svg");
    svg.setAttribute("width", "14");
    svg.setAttribute("height", "14");
    svg.setAttribute("viewBox", "-8 -8 16 16");
    svg.setAttribute("aria-hidden", "true");
    const ground = document.createElementNS(NS, "rect");
    for (const [name, value] of Object.entries({ x: -8, y: -8, width: 16, height: 16, rx: 4, fill: look.colour })) {
      ground.setAttribute(name, value);
    }
    const sign = document.createElementNS(NS, "path");
    sign.setAttribute("d", look.sign);
    sign.setAttribute("fill", look.filled ? "#fff" : "none");
    sign.setAttribute("stroke", "#fff");
    sign.setAttribute("stroke-width", "1.8");
    sign.setAttribute("stroke-linecap", "round");
    sign.setAttribute("transform", "scale(.8)");
    svg.append(ground, sign);
    root.append(svg);
  }
  root.append(word);
  return root;
}

export class Tables {
  constructor(parent, panel) {
    this.panel = panel;
    this.open = "vms";
    const tabs = made("div", "labkit-tabs", parent);
    tabs.setAttribute("role", "tablist");
    this.page = made("div", "labkit-page", parent);
    this.page.setAttribute("role", "tabpanel");
    this.page.setAttribute("tabindex", "0");
    ownKeys(this.page);
    this.tabs = {};
    for (const [key, [title]] of Object.entries(PAGES)) {
      const tab = made("button", "labkit-tab", tabs, title);
      tab.type = "button";
      tab.setAttribute("role", "tab");
      ownKeys(tab);
      tab.addEventListener("click", () => this.show(key));
      this.tabs[key] = tab;
    }
    tabs.addEventListener("keydown", (event) => this._arrow(event));
    this.bodies = {};
    for (const [key, [title, columns]] of Object.entries(PAGES)) {
      const table = made("table", "", this.page);
      table.setAttribute("aria-label", title);
      const row = made("tr", "", made("thead", "", table));
      for (const column of columns) made("th", "", row, column).scope = "col";
      this.bodies[key] = made("tbody", "", table);
    }
    this.show("vms");
  }

  show(key) {
    this.open = key;
    for (const [name, tab] of Object.entries(this.tabs)) {
      tab.setAttribute("aria-selected", String(name === key));
      tab.tabIndex = name === key ? 0 : -1;
      this.bodies[name].parentElement.hidden = name !== key;
    }
    this.page.setAttribute("aria-label", PAGES[key][0]);
  }

  paintVMs() {
    const looks = this.panel.model.get("looks");
    this._rows("vms", this.panel.model.get("vms"), (row, column) => (
      column === "name" ? this._pick("vm", row.name) : column === "state" ? mark(looks, row.look, row.state) : row[column]
    ));
  }

  paintLinks() {
    this._rows("links", this.panel.model.get("links"), (row, column) => (
      column === "name" ? this._pick("link", row.name) : row[column]
    ));
  }

  paintEvents() {
    const body = this.bodies.events;
    const rows = this.panel.model.get("events").map((row) => {
      const line = made("tr", row.bad ? "labkit-bad" : "", null);
      for (const column of PAGES.events[1]) made("td", "", line, row[column] || "");
      return line;
    });
    body.replaceChildren(...rows);
  }

  mark() {
    const { kind, name } = this.panel.chosen;
    for (const [page, what] of [["vms", "vm"], ["links", "link"]]) {
      for (const row of this.bodies[page].children) {
        row.classList.toggle("labkit-chosen", kind === what && row.dataset.name === name);
      }
    }
  }

  _rows(key, rows, cell) {
    const body = this.bodies[key];
    this.tabs[key].textContent = `${PAGES[key][0]} (${rows.length})`;
    const there = new Map([...body.children].map((row) => [row.dataset.name, row]));
    let place = 0;
    for (const facts of rows) {
      const text = JSON.stringify(facts);
      let row = there.get(facts.name);
      there.delete(facts.name);
      if (!row) row = this._row(key, facts.name);
      if (row.told !== text) this._fill(row, key, facts, cell);
      row.told = text;
      if (body.children[place] !== row) body.insertBefore(row, body.children[place] || null);
      place += 1;
    }
    for (const row of there.values()) row.remove();
    this.mark();
  }

  _row(key, name) {
    const row = made("tr", "", null);
    row.dataset.name = name;
    row.addEventListener("click", () => this.panel.choose(key === "vms" ? "vm" : "link", name));
    for (const _ of PAGES[key][1]) made("td", "", row);
    return row;
  }

  _fill(row, key, facts, cell) {
    row.dataset.state = facts.state;
    PAGES[key][1].forEach((column, place) => {
      const value = cell(facts, column);
      const td = row.children[place];
      if (column === "name" && td.firstChild) return; // it may have the focus
      td.replaceChildren(value ?? "");
    });
  }

  // A button, so that the keyboard reaches it; the click goes on to the row.
  _pick(kind, name) {
    const button = made("button", "labkit-pick", null, name);
    button.type = "button";
    button.title = `Show ${name}`;
    ownKeys(button);
    return this.panel.reach.needs(button);
  }

  _arrow(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    const keys = Object.keys(PAGES);
    const next = keys[(keys.indexOf(this.open) + step + keys.length) % keys.length];
    this.show(next);
    this.tabs[next].focus();
  }
}
