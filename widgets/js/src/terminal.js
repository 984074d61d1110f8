// A terminal on a stream of bytes of the kernel: a serial console, or a shell.
import { FitAddon } from "@xterm/addon-fit";
import { Unicode11Addon } from "@xterm/addon-unicode11";
import { Terminal } from "@xterm/xterm";

import { Channel } from "./channel.js";
import { Frame, ownKeys, watchTheme } from "./frame.js";
import { DARK, LIGHT } from "./palette.js";
import { hideTwin } from "./twin.js";
import "./frame.css";
import "./terminal.css";

const SCROLLBACK = 5000;
const EDGE = { height: 13, width: 29 }; // of the body around the text: padding, and the scroll bar
const FONT = 'ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, "Liberation Mono", monospace';

function emulator(model) {
  const term = new Terminal({
    cols: model.get("columns"),
    rows: model.get("rows"),
    scrollback: SCROLLBACK,
    fontSize: 13,
    fontFamily: FONT,
    minimumContrastRatio: 4.5,
    disableStdin: model.get("read_only"),
    screenReaderMode: model.get("screen_reader"),
    allowProposedApi: true, // the widths of Unicode 11 are behind it
  });
  term.loadAddon(new Unicode11Addon());
  term.unicode.activeVersion = "11";
  return term;
}

// Copy and paste as in the terminals of the desktop; everything else is for the machine.
function clipboardKeys(term) {
  return (event) => {
    if (event.type !== "keydown" || !event.ctrlKey || event.altKey || event.metaKey) return true;
    const key = event.key.toLowerCase();
    if (key === "v") return false; // the browser pastes
    if (key !== "c" || !(term.hasSelection() || event.shiftKey)) return true;
    event.preventDefault();
    copy(term.getSelection());
    term.clearSelection();
    return false;
  };
}

function copy(text) {
  if (!text) return;
  const holder = document.createElement("textarea"); // works where there is no secure context too
  holder.value = text;
  holder.style.position = "fixed";
  holder.style.opacity = "0";
  const focused = document.activeElement;
  document.body.append(holder);
  holder.select();
  document.execCommand("copy");
  holder.remove();
  focused?.focus();
}

class View {
  constructor(model, el) {
    this.model = model;
    this.frame = new Frame(el, {
      kind: "terminal", name: model.get("name"), what: model.get("what"), readOnly: model.get("read_only"),
    });
    this.term = emulator(model);
    this.fit = new FitAddon();
    this.term.loadAddon(this.fit);
    this.frame.root.toggleAttribute("data-resizable", model.get("resizable"));
    this.encoder = new TextEncoder();
    this.term.onData((text) => this.channel.send(this.encoder.encode(text)));
    this.term.onBinary((text) => this.channel.send(Uint8Array.from(text, (one) => one.charCodeAt(0) & 255)));
    this.makeButtons();
    this.stopTheme = watchTheme((dark) => { this.term.options.theme = dark ? DARK : LIGHT; });
    this.showTwin = hideTwin(model, this.frame.root, ".labkit-twin");
    this.observer = new ResizeObserver(() => this.resized());
    this.observer.observe(this.frame.body);
    this.noted = () => this.frame.tell(model.get("note"));
    model.on("change:note", this.noted);
    this.noted();
    this.frame.root.labkit = this; // for tests, and for who debugs
  }

  // Only what is in the page can be measured, and it is put there after it was made.
  appeared() {
    const { term, model } = this;
    term.open(this.frame.body);
    term.attachCustomKeyEventHandler(clipboardKeys(term));
    ownKeys(term.textarea);
    term.textarea.setAttribute("aria-label", `${model.get("what")} of ${model.get("name")}; Shift+Escape leaves it`);
    this.settle();
    this.fitted();
    this.connect();
  }

  focus() {
    this.term.focus();
  }

  makeButtons() {
    this.again = this.frame.button("Reconnect", "Connect again", () => this.connect());
    this.frame.button("Copy all", "Copy all lines that are kept", () => {
      this.term.selectAll();
      copy(this.term.getSelection());
      this.term.clearSelection();
    });
    this.frame.fullScreenButton(() => this.term.focus());
  }

  connect() {
    this.channel?.close();
    this.again.hidden = true;
    this.frame.show("connecting");
    const { cols: columns, rows } = this.term;
    const channel = new Channel(this.model, { hello: { columns, rows } });
    this.channel = channel;
    channel.onopen = () => {
      this.term.reset(); // the kernel tells the past again
      this.frame.show("connected");
    };
    channel.onmessage = (event) => new Promise((done) => {
      this.term.write(new Uint8Array(event.data), done);
    });
    channel.onother = (message) => {
      if (message.k === "size") this.follow(message.columns, message.rows);
    };
    channel.onclose = () => this.closed(channel);
  }

  closed(channel) {
    if (channel !== this.channel || this.removed) return;
    if (channel.wasAway) return void this.connect();
    this.frame.show("closed", channel.reason);
    this.again.hidden = channel.dead;
  }

  // As high as the rows asked for. A serial line cannot tell its other side of a width: there one
  // takes 80 columns, whatever is shown, so a console is as wide as these and no wider.
  settle() {
    const screen = this.frame.body.querySelector(".xterm-screen");
    const cell = screen.clientHeight / this.term.rows;
    this.frame.body.style.height = `${Math.ceil(cell * this.model.get("rows")) + EDGE.height}px`;
    if (!this.model.get("resizable")) this.frame.body.style.width = `${screen.clientWidth + EDGE.width}px`;
  }

  resized() {
    if (!this.frame.body.clientWidth || this.removed) return;
    if (!this.term.element) this.appeared();
    else if (this.fitted() && this.model.get("resizable")) {
      this.channel.tell("size", { columns: this.term.cols, rows: this.term.rows });
    }
  }

  // Take the size for which there is room; answers whether it has changed.
  fitted() {
    const room = this.fit.proposeDimensions();
    if (!room || Number.isNaN(room.rows)) return false;
    const columns = this.model.get("resizable") ? Math.max(room.cols, 20) : this.model.get("columns");
    const rows = Math.max(room.rows, 2);
    if (columns === this.term.cols && rows === this.term.rows) return false;
    this.term.resize(columns, rows);
    return true;
  }

  // Another view of the same shell has another size: what is drawn is drawn for that one.
  follow(columns, rows) {
    if (columns !== this.term.cols || rows !== this.term.rows) this.term.resize(columns, rows);
  }

  remove() {
    this.removed = true;
    this.observer.disconnect();
    this.stopTheme();
    this.showTwin();
    this.model.off("change:note", this.noted);
    this.channel?.close();
    this.term.dispose();
    this.frame.root.remove();
  }
}

function render({ model, el }) {
  const view = new View(model, el);
  return () => view.remove();
}

export default { render };
