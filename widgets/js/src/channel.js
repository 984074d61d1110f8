// Bytes both ways over a widget's comm, as a WebSocket look-alike (noVNC takes it for one).
//
// Each view has a stream of its own, named by `ch`; messages are {k, ch, ...} with binary buffers:
//   to the kernel    open, data, ack {n bytes, m messages}, beat, close, and what a widget adds
//   from the kernel  opened, data, beat, closed {reason}, and what a widget adds
// The kernel sends no more than was acknowledged plus its window, so nothing is lost on the way.

const ACK_BYTES = 64 * 1024;
const AWAY = "the view was away for too long"; // the kernel knows of no such stream (channel.py)
const BEAT = 10_000; // ms; after three beats without an answer the kernel is taken for gone

let count = 0;
const unique = () => `${Date.now().toString(36)}-${(count++).toString(36)}-${Math.random().toString(36).slice(2, 8)}`;

export class Channel {
  // onmessage may return a promise: the bytes are acknowledged when it is fulfilled.
  constructor(model, { hello = {}, ackMessages = 4, beat = BEAT } = {}) {
    this.model = model;
    this.ch = unique();
    this.binaryType = "arraybuffer";
    this.protocol = "";
    this.readyState = "connecting"; // the words of RTCDataChannel
    this.reason = "";
    this.onopen = this.onmessage = this.onerror = this.onclose = null;
    this.onother = null; // messages that only the widget knows
    this.received = { bytes: 0, messages: 0 };
    this._ackMessages = ackMessages;
    this._owed = { bytes: 0, messages: 0 };
    this._heard = performance.now();
    this._hear = (message, buffers) => this._arrived(message, buffers);
    this.dead = false; // no other stream can be opened either
    this._gone = () => {
      this.dead = true;
      this._finish("the kernel is gone: run the cell again");
    };
    model.on("msg:custom", this._hear);
    model.on("comm_live_update", this._gone); // the kernel was restarted: nothing else tells
    model.on("destroy", this._gone);
    this._timer = setInterval(() => this._beat(beat), beat);
    this.tell("open", hello);
  }

  send(data) {
    if (this.readyState !== "open") return;
    // A copy: noVNC uses its buffer again at once.
    const bytes = data instanceof ArrayBuffer
      ? new Uint8Array(data.slice(0))
      : new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice();
    this.tell("data", {}, [bytes.buffer]);
  }

  // Whether it ended only because the kernel let go of it, or has not heard its first word yet, which
  // may wait behind a cell: another stream is to be opened.
  get wasAway() {
    return this.reason === AWAY;
  }

  // Say something to the kernel's side of this view.
  tell(kind, facts = {}, buffers = undefined) {
    try {
      this.model.send({ ...facts, k: kind, ch: this.ch }, undefined, buffers);
    } catch (error) {
      this._finish(`the kernel cannot be reached (${error.message})`);
    }
  }

  close() {
    if (this.readyState === "closed") return;
    this.tell("close");
    this._finish("closed here");
  }

  _beat(beat) {
    if (performance.now() - this._heard > 3 * beat) this._finish("the kernel does not answer");
    else this.tell("beat");
  }

  _arrived(message, buffers) {
    if (message?.ch !== this.ch) return;
    this._heard = performance.now();
    if (message.k === "data") {
      for (const buffer of buffers || []) this._data(buffer);
      this._owed.messages += 1;
      this.received.messages += 1;
      this._acknowledge();
    } else if (message.k === "opened") {
      this.readyState = "open";
      this.onopen?.(message);
    } else if (message.k === "closed") {
      this._finish(message.reason || "it has ended");
    } else if (message.k !== "beat") {
      this.onother?.(message);
    }
  }

  _data(buffer) {
    // A buffer is a view into a larger one: never hand over `buffer.buffer`.
    const bytes = new Uint8Array(buffer.buffer ?? buffer, buffer.byteOffset ?? 0, buffer.byteLength).slice();
    this.received.bytes += bytes.length;
    const used = this.onmessage?.({ data: bytes.buffer });
    const took = () => {
      this._owed.bytes += bytes.length;
      this._acknowledge();
    };
    if (used instanceof Promise) used.then(took);
    else this._owed.bytes += bytes.length;
  }

  _acknowledge() {
    const { bytes, messages } = this._owed;
    if (this.readyState === "closed" || (bytes < ACK_BYTES && messages < this._ackMessages)) return;
    this._owed = { bytes: 0, messages: 0 };
    this.tell("ack", { n: bytes, m: messages });
  }

  _finish(reason) {
    if (this.readyState === "closed") return;
    this.readyState = "closed";
    this.reason = reason;
    clearInterval(this._timer);
    this.model.off("msg:custom", this._hear);
    this.model.off("comm_live_update", this._gone);
    this.model.off("destroy", this._gone);
    // Later, as a WebSocket does: noVNC takes a close within its own disconnect for none at all.
    queueMicrotask(() => this.onclose?.({ code: 1000, reason, wasClean: true }));
  }
}
