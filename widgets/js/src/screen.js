// The screen of a machine: noVNC on a stream of bytes of the kernel.
import RFB from "@novnc/novnc";

import { Channel } from "./channel.js";
import { Frame, ownKeys } from "./frame.js";
import { hideTwin } from "./twin.js";
import "./frame.css";
import "./screen.css";

const GROUND = "#000";
// noVNC keeps in the document who has captured the mouse, and each kernel's widgets bring a copy of
// it: a page with two of them would lose the mouse to the other one. The first one serves all.
const Client = (document.labkitRFB ??= RFB);

// The kernel follows each answer of the machine with the next question, in our words (screen.py):
// to ask the same again would be a message for nothing. A question is ten bytes that begin with 3,
// then whether only changes are wanted, then the region.
function leaveAskingToTheKernel(channel) {
  const send = channel.send.bind(channel);
  let asked = "";
  channel.send = (data) => {
    const bytes = data instanceof ArrayBuffer ? new Uint8Array(data) : data;
    if (bytes.length === 10 && bytes[0] === 3) {
      const region = bytes.slice(2).join();
      if (bytes[1] === 1 && region === asked) return;
      asked = region;
    }
    send(data);
  };
}

class View {
  constructor(model, el) {
    this.model = model;
    this.frame = new Frame(el, {
      kind: "screen", name: model.get("name"), what: "screen", readOnly: model.get("read_only"),
    });
    this.again = this.frame.button("Reconnect", "Connect again", () => this.connect());
    if (!model.get("read_only")) {
      this.frame.button("Ctrl+Alt+Del", "Send Ctrl+Alt+Delete to the machine", () => {
        this.rfb?.sendCtrlAltDel();
        this.focus();
      });
    }
    this.frame.fullScreenButton(() => this.focus());
    this.noted = () => this.frame.tell(model.get("note"));
    model.on("change:note", this.noted);
    this.noted();
    this.showTwin = hideTwin(model, this.frame.root, ".jp-RenderedImage");
    this.sizes = new MutationObserver(() => this.sized());
    this.connect();
    this.frame.root.labkit = this; // for tests, and for who debugs
  }

  connect() {
    this.leave();
    this.again.hidden = true;
    this.frame.show("connecting");
    const channel = new Channel(this.model, { ackMessages: 3 });
    leaveAskingToTheKernel(channel);
    const rfb = new Client(this.frame.body, channel, { shared: true });
    this.channel = channel;
    this.rfb = rfb;
    rfb.scaleViewport = true;
    rfb.resizeSession = false;
    rfb.viewOnly = this.model.get("read_only");
    rfb.background = GROUND;
    rfb.addEventListener("connect", () => this.frame.show("connected"));
    rfb.addEventListener("disconnect", () => this.closed(channel));
    rfb.addEventListener("securityfailure", (event) => { channel.reason ||= event.detail.reason; });
    this.canvas = this.frame.body.querySelector("canvas");
    this.canvas.setAttribute("aria-label", `screen of ${this.model.get("name")}; Shift+Escape leaves it`);
    this.canvas.setAttribute("role", "img");
    ownKeys(this.canvas);
    this.sizes.disconnect();
    this.sizes.observe(this.canvas, { attributes: true, attributeFilter: ["width", "height"] });
  }

  // As large as the machine's screen, smaller where there is less room.
  sized() {
    const { width, height } = this.canvas;
    if (width < 2 || height < 2) return;
    this.frame.body.style.width = `${width}px`;
    this.frame.body.style.aspectRatio = `${width} / ${height}`;
  }

  focus() {
    this.rfb?.focus();
  }

  closed(channel) {
    if (channel !== this.channel || this.removed) return;
    if (channel.wasAway) return void this.connect();
    this.frame.show("closed", channel.reason);
    this.again.hidden = channel.dead;
  }

  leave() {
    const { rfb, channel } = this;
    this.rfb = this.channel = null;
    if (channel && channel.readyState !== "closed") {
      rfb.disconnect();
      channel.close();
    }
    this.frame.body.replaceChildren();
  }

  remove() {
    this.removed = true;
    this.sizes.disconnect();
    this.showTwin();
    this.model.off("change:note", this.noted);
    this.leave();
    this.frame.root.remove();
  }
}

function render({ model, el }) {
  const view = new View(model, el);
  return () => view.remove();
}

export default { render };
