// What a panel's slice is being worked on: stage, steps, time, who is late, and what went wrong.
import { made, ownKeys } from "./frame.js";
import { workTime, workWords } from "./panel_values.js";

export class Work {
  constructor(parent, panel) {
    this.panel = panel;
    this.root = made("div", "labkit-strip labkit-work", parent);
    const line = made("div", "labkit-work-line", this.root);
    this.words = made("span", "labkit-work-words", line);
    this.words.setAttribute("role", "status");
    this.time = made("span", "labkit-work-time", line);
    const track = made("div", "labkit-track", this.root);
    track.setAttribute("role", "progressbar");
    track.setAttribute("aria-label", "steps done");
    this.track = track;
    this.bar = made("div", "", track);
    this.more = made("div", "", this.root);
    this.trouble = made("div", "labkit-strip labkit-trouble", parent);
    this.trouble.setAttribute("role", "alert");
    this.trouble.hidden = true;
    this.root.hidden = true;
    this.timer = null;
  }

  paint() {
    const work = this.panel.model.get("work");
    const todo = this.panel.model.get("todo");
    if (this.told?.work !== work) this.told = { ...work, work, at: performance.now() };
    const over = work.state === "done" || work.state === "idle";
    this.todo = over && todo.changes && !todo.old ? todo : null;
    this.words.textContent = workWords(work, todo);
    this.words.title = this.words.textContent;
    this.root.hidden = !this.words.textContent;
    this.root.dataset.state = this.todo ? "todo" : work.state;
    this.track.hidden = Boolean(this.todo) || work.state === "idle";
    const part = work.state === "done" ? 1 : work.steps ? Math.min(1, work.done / work.steps) : 0.02;
    this.bar.style.transform = `scaleX(${part})`;
    this.track.setAttribute("aria-valuenow", String(Math.round(part * 100)));
    this._more(work);
    this._tick();
    this.time.title = this.todo ? todo.reasons.join("\n") : "";
    clearInterval(this.timer);
    if (work.state === "working" && !this.panel.reach.why) this.timer = setInterval(() => this._tick(), 1000);
  }

  paintProblem() {
    const { what, why, do: todo, doing } = this.panel.model.get("problem");
    this.trouble.hidden = !what;
    this.trouble.replaceChildren();
    if (!what) return;
    const texts = made("div", "labkit-grow", this.trouble);
    made("p", "labkit-wrong", texts, `While ${doing}: ${what}.`);
    if (why) made("p", "", texts, why);
    if (todo) made("p", "labkit-hint", texts, todo);
    const close = made("button", "labkit-button", this.trouble, "✕");
    close.type = "button";
    close.setAttribute("aria-label", "Close this message");
    ownKeys(close);
    close.addEventListener("click", () => this.panel.act("dismiss"));
    this.panel.reach.needs(close);
  }

  leave() {
    clearInterval(this.timer);
  }

  _more(work) {
    this.more.replaceChildren();
    for (const text of work.failures) made("div", "labkit-wrong", this.more, text);
    for (const { vm, what, seconds, tail } of work.late) {
      made("div", "labkit-late", this.more, `${vm} is late: ${what}, ${seconds} s. On its console:`);
      made("pre", "", this.more, tail || "(nothing yet)");
    }
  }

  // The page counts the seconds itself: no message is needed for that.
  _tick() {
    const { state, at } = this.told;
    if (this.todo) this.time.textContent = this.todo.reasons[0] ?? "";
    else if (state === "idle") this.time.textContent = "";
    else this.time.textContent = workTime(this.told, state === "working" ? (performance.now() - at) / 1000 : 0);
  }
}
