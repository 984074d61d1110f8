// What is open below a panel: a shell, console or screen; buttons close them, and a click that
// opened one in this page goes on into it.
import { made, ownKeys } from "./frame.js";

export class Dock {
  constructor(parent, panel) {
    this.panel = panel;
    this.root = made("div", "labkit-docked", parent);
    this.goal = null; // what was asked for here: its key, and what had the focus then
    this.watch = new MutationObserver(() => this._follow());
  }

  open(face, name) {
    this.goal = { key: `${face} of ${name}`, from: document.activeElement };
    this.panel.act("open", { face, name });
    const box = this.root.closest(".labkit-panel-box");
    if (!box) return;
    this.watch.observe(box, { childList: true, subtree: true, attributeFilter: ["data-state"] });
    this._follow();
  }

  paint() {
    const items = this.panel.model.get("dock");
    this.root.replaceChildren();
    this.root.hidden = !items.length;
    for (const { key, title } of items) {
      const button = made("button", "labkit-button", this.root, `✕ ${title}`);
      button.type = "button";
      button.title = `Close the ${title}`;
      button.setAttribute("aria-label", button.title);
      ownKeys(button);
      button.addEventListener("click", () => this.panel.act("close", { key }));
      this.panel.reach.needs(button);
    }
  }

  leave() {
    this.watch.disconnect();
  }

  // Brings what was asked for into view as soon as it is there, and the keys to it as soon as it can
  // take them. Who has gone elsewhere meanwhile stays there.
  _follow() {
    const { key, from, live: before } = this.goal;
    const stayed = [from, document.body].includes(document.activeElement);
    const docked = this.root.closest(".labkit-panel-box").querySelectorAll(".labkit-dock .labkit-live");
    const live = [...docked].find((one) => one.getAttribute("aria-label") === key);
    const state = live?.dataset.state ?? "connecting";
    if (state !== "connecting" || !stayed) this.watch.disconnect();
    if (!live || !stayed) return;
    if (state !== "connecting" || live !== before) live.scrollIntoView({ block: "nearest" });
    this.goal.live = live;
    if (state === "connected") live.labkit.focus();
  }
}
