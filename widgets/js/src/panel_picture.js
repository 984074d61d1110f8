// The topology in a panel: the SVG that Python draws, painted anew only where it has changed.
import { made, ownKeys } from "./frame.js";

const PARTS = "g[data-vm], g[data-link]";

export class Picture {
  constructor(parent, panel) {
    this.panel = panel;
    this.root = made("div", "labkit-map", parent);
    this.root.setAttribute("role", "group");
    this.root.setAttribute("aria-label", "Topology");
    this.drawn = null; // as it came, to compare with
  }

  paint() {
    const text = this.panel.model.get("svg");
    // As XML: a strange name cannot become markup, and nothing in it runs before it is cleaned.
    const fresh = new DOMParser().parseFromString(text, "image/svg+xml").documentElement;
    for (const bad of fresh.querySelectorAll("script, foreignObject")) bad.remove();
    if (!this.panel.model.get("head").vms) this._empty();
    else if (!this._patch(fresh)) this._replace(fresh);
    this.drawn = fresh;
    this.mark();
  }

  mark() {
    const { kind, name } = this.panel.chosen;
    for (const part of this.root.querySelectorAll(PARTS)) {
      const mine = Boolean(kind) && part.dataset[kind] === name;
      part.classList.toggle("labkit-chosen", mine);
      part.setAttribute("aria-pressed", String(mine));
    }
  }

  // Parts are buttons: none of them can be pressed while the kernel is out of reach.
  paintReach() {
    this.root.title = this.panel.reach.why;
    for (const part of this.root.querySelectorAll(PARTS)) this._reachable(part);
  }

  _reachable(part) {
    const { why } = this.panel.reach;
    part.setAttribute("tabindex", why ? "-1" : "0");
    part.setAttribute("aria-disabled", String(Boolean(why)));
  }

  // Changes parts in place where the drawing has the same parts; answers whether it could.
  _patch(fresh) {
    const shown = this.root.firstElementChild;
    if (!this.drawn || shown?.localName !== "svg") return false;
    const [old, next] = [[...this.drawn.children], [...fresh.children]];
    const key = (part) => part.id || part.localName;
    const same = old.length === next.length && old.every((part, place) => key(part) === key(next[place]));
    if (!same || this.drawn.getAttribute("viewBox") !== fresh.getAttribute("viewBox")) return false;
    next.forEach((part, place) => {
      if (part.outerHTML === old[place].outerHTML) return;
      const there = shown.children[place];
      const had = there.contains(document.activeElement);
      const put = this._alive(document.importNode(part, true));
      there.replaceWith(put);
      if (had) put.focus();
    });
    return true;
  }

  _replace(fresh) {
    const svg = document.importNode(fresh, true);
    svg.setAttribute("role", "group");
    for (const part of svg.querySelectorAll(PARTS)) this._alive(part);
    this.root.replaceChildren(svg);
  }

  _empty() {
    if (this.panel.model.get("todo").gone) {
      this.root.replaceChildren(made("p", "labkit-empty", null, "It was deleted."));
      return;
    }
    const told = made("p", "labkit-empty", null, "No VMs yet. In a cell: ");
    made("code", "", told, `add_vm("r1")`);
    this.root.replaceChildren(told);
  }

  _alive(part) {
    if (!part.matches(PARTS)) return part;
    const kind = part.dataset.vm ? "vm" : "link";
    const name = part.dataset[kind];
    this._reachable(part);
    part.setAttribute("role", "button");
    part.setAttribute("aria-label", part.querySelector("title")?.textContent || name);
    ownKeys(part);
    const choose = () => this.panel.choose(kind, name);
    part.addEventListener("click", choose);
    part.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      choose();
    });
    return part;
  }
}
