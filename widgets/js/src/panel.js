// The live panel of a slice: what the kernel tells, painted where it changed; clicks go back.
import { Channel } from "./channel.js";
import { made, ownKeys, Frame } from "./frame.js";
import { Dock } from "./panel_dock.js";
import { Picture } from "./panel_picture.js";
import { Reach } from "./panel_reach.js";
import { Side } from "./panel_side.js";
import { Tables } from "./panel_tables.js";
import { lastSeen, sentence } from "./panel_values.js";
import { Work } from "./panel_work.js";
import "./panel.css";

const HIDDEN = "labkit-twin-hidden";
const TWINS = [".jp-RenderedSVG", ".jp-RenderedHTMLCommon"]; // the picture, then the tables

class Panel {
  constructor(model, el) {
    this.model = model;
    this.frame = new Frame(el, { kind: "panel", name: model.get("name"), what: "slice" });
    this.frame.root.querySelector(".labkit-what").remove();
    this.reach = new Reach(this.frame.root);
    this.act = (what, facts = {}) => this.channel.tell("do", { ...facts, what });
    this._buttons();
    this.ask = made("div", "labkit-strip labkit-ask", null);
    this.ask.setAttribute("role", "alertdialog");
    this.ask.hidden = true;
    this.frame.body.append(this.ask);
    this.last = made("div", "labkit-strip labkit-last-seen", this.frame.body);
    this.last.hidden = true;
    this.work = new Work(this.frame.body, this);
    const main = made("div", "labkit-main", this.frame.body);
    this.picture = new Picture(main, this);
    this.side = new Side(main, this);
    this.tables = new Tables(this.frame.body, this);
    this.dock = new Dock(this.frame.body, this);
    this._watch();
    this.connect();
    this._hideTwins(el);
    this.frame.root.labkit = this; // for tests, and for who debugs
  }

  connect() {
    this.again.hidden = true;
    if (this.reach.why) this.frame.show("connecting");
    this.channel = new Channel(this.model);
    const channel = this.channel;
    channel.onopen = () => {
      this.frame.show("connected", "");
      this._setReach("");
      this._head();
    };
    channel.onclose = ({ reason }) => {
      if (channel !== this.channel) return;
      if (channel.wasAway) return void this.connect();
      this.again.hidden = /kernel is gone/.test(reason);
      this.frame.show("closed", reason);
      this._setReach(sentence(reason));
    };
  }

  // While the kernel is out of reach, what is shown may be old, and nothing can be done about it.
  _setReach(why) {
    this.reach.set(why);
    if (why) this.closeAsk?.();
    this.last.textContent = lastSeen(this.model.get("head"));
    this.last.hidden = !why;
    this.frame.root.classList.toggle("labkit-stale", Boolean(why));
    this.picture.paintReach();
    this.tables.page.title = why;
    this.work.paint();
  }

  choose(kind, name) {
    if (!this.reach.why) this.act("choose", { kind, name });
  }

  get chosen() {
    return this.model.get("chosen");
  }

  // Ask before what cannot be undone.
  confirm(question, verb, work) {
    const before = document.activeElement;
    this.ask.replaceChildren();
    const close = this.closeAsk = () => {
      if (this.ask.hidden) return;
      this.ask.hidden = true;
      before?.focus?.();
    };
    made("span", "labkit-grow", this.ask, question);
    this.ask.setAttribute("aria-label", question);
    const no = this._button(this.ask, "Cancel", close);
    const yes = this._button(this.ask, verb, () => { close(); work(); });
    yes.classList.add("labkit-sure");
    this.ask.onkeydown = (event) => { if (event.key === "Escape") close(); };
    this.ask.hidden = false;
    no.focus();
  }

  _button(parent, text, work, title = "") {
    const button = made("button", "labkit-button", parent, text);
    button.type = "button";
    if (title) button.title = title;
    ownKeys(button);
    button.addEventListener("click", work);
    return button;
  }

  _buttons() {
    const put = (text, title, work) => this.frame.button(text, title, work);
    this.again = put("Reconnect", "Connect again", () => this.connect());
    this.stop = put("Stop", "End the work that runs; deploying goes on from there", () => this.act("stop"));
    this.deploy = put("Deploy", "Make the slice what it is wished to be", () => this.act("deploy"));
    this.reset = put("Reset…", "Start all VMs anew, as if they had never run", () => this.confirm(
      `Start ${this._vms()} of ${this.name} anew? What is on their disks is lost.`, "Reset", () => this.act("reset"),
    ));
    this.remove = put("Delete…", "End all VMs and forget the slice", () => this.confirm(
      `Delete ${this.name} with ${this._vms()} and their disks?`, "Delete", () => this.act("delete"),
    ));
    this.remove.classList.add("labkit-danger");
    for (const button of [this.stop, this.deploy, this.reset, this.remove]) this.reach.needs(button);
  }

  get name() {
    return this.model.get("name");
  }

  _vms() {
    const { vms } = this.model.get("head");
    return vms === 1 ? "its VM" : `all ${vms} VMs`;
  }

  _head() {
    const { summary, is_real: isReal, vms } = this.model.get("head");
    const busy = Boolean(this.model.get("work").job);
    if (!this.reach.why) {
      this.frame.status.textContent = isReal ? summary : `${summary} · simulated`;
    }
    this.stop.hidden = this.model.get("work").state !== "working";
    const { changes, gone, old } = this.model.get("todo");
    this.reach.allow(this.deploy, !busy && !gone);
    this.deploy.classList.toggle("labkit-go", !old && changes !== 0 && !gone);
    this.reach.allow(this.reset, !busy && Boolean(vms));
    this.reach.allow(this.remove, !busy);
  }

  // Repaints once per frame, only what has changed.
  _watch() {
    const paints = {
      head: () => this._head(),
      svg: () => this.picture.paint(),
      vms: () => this.tables.paintVMs(),
      links: () => this.tables.paintLinks(),
      events: () => this.tables.paintEvents(),
      work: () => { this.work.paint(); this._head(); },
      todo: () => { this.work.paint(); this._head(); this.picture.paint(); },
      problem: () => this.work.paintProblem(),
      chosen: () => { this.side.paint(); this.picture.mark(); this.tables.mark(); },
      dock: () => this.dock.paint(),
      note: () => this.frame.tell(this.model.get("note")),
    };
    let waiting = new Set(Object.keys(paints));
    let asked = false;
    const paint = () => {
      asked = false;
      const now = waiting;
      waiting = new Set();
      for (const name of now) paints[name]();
    };
    this._heard = Object.keys(paints).map((name) => {
      const hear = () => {
        waiting.add(name);
        if (!asked) {
          asked = true;
          requestAnimationFrame(paint);
        }
      };
      this.model.on(`change:${name}`, hear);
      return [name, hear];
    });
    paint();
  }

  // What stands for the panel where there is no kernel is beside it in the notebook.
  _hideTwins(el) {
    let hidden = [];
    const look = () => {
      const found = [];
      let next = el.closest(".jp-OutputArea-child")?.nextElementSibling;
      for (const mark of TWINS) {
        if (next?.querySelector(mark)) {
          found.push(next);
          next = next.nextElementSibling;
        }
      }
      if (found.length === hidden.length && found.every((one, place) => one === hidden[place])) return;
      for (const one of hidden) one.classList.remove(HIDDEN);
      for (const one of found) one.classList.add(HIDDEN);
      hidden = found;
    };
    this._twins = new MutationObserver(look);
    requestAnimationFrame(() => {
      const area = el.closest(".jp-OutputArea");
      if (area) this._twins.observe(area, { childList: true, subtree: false });
      look();
    });
    this._showTwins = () => {
      this._twins.disconnect();
      for (const one of hidden) one.classList.remove(HIDDEN);
    };
  }

  leave() {
    for (const [name, hear] of this._heard) this.model.off(`change:${name}`, hear);
    this.work.leave();
    this.dock.leave();
    this._showTwins();
    this.channel.close();
  }
}

function render({ model, el }) {
  const panel = new Panel(model, el);
  return () => panel.leave();
}

export default { render };
