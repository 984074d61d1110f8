// node --test: the channel's page side against a model that remembers what it was sent.
import assert from "node:assert/strict";
import test from "node:test";

import { Channel } from "../../widgets/js/src/channel.js";

class Model {
  constructor() {
    this.sent = [];
    this.heard = new Map();
  }
  on(event, listener) {
    if (!this.heard.has(event)) this.heard.set(event, new Set());
    this.heard.get(event).add(listener);
  }
  off(event, listener) {
    this.heard.get(event)?.delete(listener);
  }
  send(message, _callbacks, buffers) {
    this.sent.push({ message, buffers });
  }
  emit(event, ...words) {
    for (const listener of [...(this.heard.get(event) || [])]) listener(...words);
  }
  kinds() {
    return this.sent.map(({ message }) => message.k);
  }
}

function opened(options) {
  const model = new Model();
  const channel = new Channel(model, options);
  model.emit("msg:custom", { k: "opened", ch: channel.ch }, []);
  return { model, channel };
}

function data(model, channel, ...sizes) {
  for (const size of sizes) {
    model.emit("msg:custom", { k: "data", ch: channel.ch }, [new DataView(new ArrayBuffer(size))]);
  }
}

const acks = (model) => model.sent.filter(({ message }) => message.k === "ack").map(({ message }) => [message.n, message.m]);
const soon = () => new Promise((done) => { setTimeout(done, 5); });

test("it asks for a stream, opens, and closes with a reason", async () => {
  const model = new Model();
  const channel = new Channel(model, { hello: { columns: 80 } });
  assert.deepEqual(model.sent[0].message, { columns: 80, k: "open", ch: channel.ch });
  assert.equal(channel.readyState, "connecting");
  model.emit("msg:custom", { k: "opened", ch: channel.ch }, []);
  assert.equal(channel.readyState, "open");
  let why;
  channel.onclose = (event) => { why = event.reason; };
  model.emit("msg:custom", { k: "closed", ch: channel.ch, reason: "it has ended" });
  assert.equal(channel.readyState, "closed");
  await null;
  assert.equal(why, "it has ended");
});

test("a stream that the kernel does not know is told from one that has ended", () => {
  for (const [reason, away] of [["the view was away for too long", true], ["it has ended", false]]) {
    const { model, channel } = opened();
    model.emit("msg:custom", { k: "closed", ch: channel.ch, reason });
    assert.equal(channel.wasAway, away);
  }
});

test("it has what noVNC wants of a connection", () => {
  const { channel } = opened();
  for (const name of ["send", "close", "binaryType", "onerror", "onmessage", "onopen", "protocol", "readyState"]) {
    assert.ok(name in channel, name);
  }
  channel.close();
});

test("a buffer that is a view into a larger one is read as what it shows", () => {
  const { model, channel } = opened();
  const got = [];
  channel.onmessage = (event) => { got.push(...new Uint8Array(event.data)); };
  const all = Uint8Array.from([9, 9, 1, 2, 3, 9]);
  model.emit("msg:custom", { k: "data", ch: channel.ch }, [new DataView(all.buffer, 2, 3)]);
  assert.deepEqual(got, [1, 2, 3]);
  channel.close();
});

test("what is for another view is not ours", () => {
  const { model, channel } = opened();
  channel.onmessage = () => assert.fail();
  model.emit("msg:custom", { k: "data", ch: "another" }, [new DataView(new ArrayBuffer(1))]);
  model.emit("msg:custom", { k: "closed", ch: "another" });
  assert.equal(channel.readyState, "open");
  channel.close();
});

test("it acknowledges by messages, and by bytes", () => {
  const { model, channel } = opened({ ackMessages: 3 });
  data(model, channel, 4, 4);
  assert.deepEqual(acks(model), []);
  data(model, channel, 4);
  assert.deepEqual(acks(model), [[12, 3]]);
  data(model, channel, 65536);
  assert.deepEqual(acks(model), [[12, 3], [65536, 1]]);
  channel.close();
});

test("bytes are acknowledged when they were used, not when they came", async () => {
  const { model, channel } = opened({ ackMessages: 100 });
  let use;
  channel.onmessage = () => new Promise((done) => { use = done; });
  data(model, channel, 70000);
  assert.deepEqual(acks(model), []);
  use();
  await soon();
  assert.deepEqual(acks(model), [[70000, 1]]);
  channel.close();
});

test("what is sent is a copy, and after the end nothing is", () => {
  const { model, channel } = opened();
  const bytes = Uint8Array.from([7, 1, 2, 7]);
  channel.send(bytes.subarray(1, 3));
  bytes[1] = 9;
  assert.deepEqual([...new Uint8Array(model.sent.at(-1).buffers[0])], [1, 2]);
  channel.close();
  assert.equal(model.kinds().at(-1), "close");
  const count = model.sent.length;
  channel.send(bytes);
  channel.close();
  assert.equal(model.sent.length, count);
});

test("messages of the widget's own reach it", () => {
  const { model, channel } = opened();
  const heard = [];
  channel.onother = (message) => heard.push(message.k);
  model.emit("msg:custom", { k: "size", ch: channel.ch, columns: 90 });
  model.emit("msg:custom", { k: "beat", ch: channel.ch });
  assert.deepEqual(heard, ["size"]);
  channel.close();
});

test("a kernel that was restarted, or answers no beat, ends it", async () => {
  const restarted = opened();
  restarted.model.emit("comm_live_update");
  assert.equal(restarted.channel.readyState, "closed");
  assert.match(restarted.channel.reason, /gone/);
  const silent = opened({ beat: 100 });
  await new Promise((done) => { silent.channel.onclose = done; });
  assert.match(silent.channel.reason, /does not answer/);
  assert.ok(silent.model.kinds().includes("beat"));
});

test("who closes it is told afterwards, as by a WebSocket", async () => {
  const { channel } = opened();
  let why = "";
  channel.onclose = (event) => { why = event.reason; };
  channel.close();
  assert.equal(why, "");
  await null;
  assert.equal(why, "closed here");
});

test("a comm that is closed ends it with the reason", () => {
  const { model, channel } = opened();
  model.send = () => { throw new Error("comm is closed"); };
  channel.send(Uint8Array.from([1]));
  assert.equal(channel.readyState, "closed");
  assert.match(channel.reason, /comm is closed/);
});
