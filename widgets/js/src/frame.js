// The frame around a live view: a bar with the machine's name, its state and buttons, and a body.

const NO_SHORTCUTS = "data-lm-suppress-shortcuts";
const KEYS = ["keydown", "keyup", "keypress"];
const TELLING = { connecting: "connecting …", connected: "", closed: "" };

// The notebook's shortcuts look at the focused element itself, not at its parents.
export function ownKeys(element) {
  element?.setAttribute(NO_SHORTCUTS, "true");
}

export function made(tag, className, parent, text = "") {
  const element = document.createElement(tag);
  element.className = className;
  if (text) element.textContent = text;
  parent?.append(element);
  return element;
}

export class Frame {
  constructor(el, { kind, name, what, readOnly }) {
    this.root = made("section", `labkit-live labkit-${kind}`, el);
    this.root.setAttribute("aria-label", `${what} of ${name}`);
    ownKeys(this.root);
    const bar = made("div", "labkit-bar", this.root);
    made("span", "labkit-dot", bar).setAttribute("aria-hidden", "true");
    made("span", "labkit-name", bar, name);
    made("span", "labkit-what", bar, readOnly ? `${what} · read-only` : what);
    this.status = made("span", "labkit-status", bar);
    this.status.setAttribute("role", "status");
    this.buttons = made("span", "labkit-buttons", bar);
    this.body = made("div", "labkit-body", this.root);
    this.note = made("div", "labkit-note", this.root);
    this.note.hidden = true;
    // What is typed here is not for the notebook's shortcuts that listen on the way up.
    for (const kind of KEYS) this.root.addEventListener(kind, (event) => event.stopPropagation());
    // A way out for those who use no mouse: the body itself takes every key, Tab too.
    this.root.addEventListener("keydown", (event) => this._leave(event), true);
    this.state = "connecting";
    this.show("connecting");
  }

  button(text, title, work) {
    const button = made("button", "labkit-button", this.buttons, text);
    button.type = "button";
    button.title = title;
    ownKeys(button);
    button.addEventListener("click", work);
    return button;
  }

  fullScreenButton(after) {
    if (!document.fullscreenEnabled) return;
    this.button("Full screen", "Fill the whole screen; Esc comes back", () => {
      if (document.fullscreenElement) document.exitFullscreen();
      else this.root.requestFullscreen().then(after);
    });
  }

  // state: connecting, connected or closed; words say why.
  show(state, words = TELLING[state]) {
    this.state = state;
    this.root.dataset.state = state;
    this.status.textContent = words;
    this.status.title = words;
  }

  tell(note) {
    this.note.textContent = note || "";
    this.note.hidden = !note;
  }

  _leave(event) {
    if (event.key !== "Escape" || !event.shiftKey) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    this.buttons.querySelector("button:not([hidden])")?.focus();
  }
}

// Calls `change` now and whenever the notebook turns dark or light; answers how to stop it.
export function watchTheme(change) {
  const dark = () => {
    const told = document.body.dataset.jpThemeLight;
    if (told !== undefined) return told === "false";
    return window.matchMedia("(prefers-color-scheme: dark)").matches;
  };
  const observer = new MutationObserver(() => change(dark()));
  observer.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
  change(dark());
  return () => observer.disconnect();
}
