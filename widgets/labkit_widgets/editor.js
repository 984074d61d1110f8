// The page of the slice editor: shows what Python has checked, and tells it what a person does.

const IMPAIRMENTS = [
  ["delay", "Delay", "20ms"],
  ["jitter", "Jitter", "5ms"],
  ["loss", "Loss", "1%"],
  ["rate", "Rate", "5Mbit"],
  ["duplicate", "Duplicates", "1%"],
  ["corrupt", "Corruption", "1%"],
];
const KEYS = "Arrow keys move, Enter selects, C connects, E edits, Delete removes.";
let ids = 0;

/** An element; what takes keys is kept from the notebook's shortcuts. */
function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  if (/^(input|select|textarea|button|pre)$/.test(tag)) {
    element.setAttribute("data-lm-suppress-shortcuts", "true");
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

const button = (text, onclick, props = {}) => h("button", { type: "button", onclick, ...props }, text);

/** Set only what differs, so that nothing flickers and nothing is read out twice. */
function set(element, name, value) {
  const text = value === true ? "" : value;
  if (value === false || value == null) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(text)) element.setAttribute(name, text);
}

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Options as wanted, and one of them chosen. */
function offer(select, options, chosen) {
  const now = [...select.options].map((one) => `${one.value} ${one.textContent}`).join("\n");
  if (now !== options.map(([value, text]) => `${value} ${text}`).join("\n")) {
    select.replaceChildren(...options.map(([value, text]) => h("option", { value }, text)));
  }
  if (select.value !== chosen) select.value = chosen;
}

/** One row for each item, in their order; rows of items that stay are kept, with their focus. */
function keyed(parent, items, make) {
  const rows = (parent.labkitRows ??= new Map());
  const keys = new Set(items.map((item) => item.key));
  for (const [key, row] of rows) {
    if (!keys.has(key)) {
      row.nodes.forEach((node) => node.remove());
      rows.delete(key);
    }
  }
  let last = null;
  for (const item of items) {
    if (!rows.has(item.key)) rows.set(item.key, make(item));
    const row = rows.get(item.key);
    for (const node of row.nodes) {
      const place = last ? last.nextSibling : parent.firstChild;
      if (place !== node) parent.insertBefore(node, place);
      last = node;
    }
    row.update(item);
  }
}

class Editor {
  constructor(model, el) {
    this.model = model;
    this.chosen = null; // the key of a VM or link
    this.from = null; // the key of the VM that is being connected
    this.tab = "python";
    this.epoch = -1;
    this.choices = model.get("choices");
    this.root = this.build();
    el.append(this.root);
    this.root.addEventListener("keydown", (event) => this.pressed(event));
  }

  send(what, rest = {}) {
    this.model.send({ do: what, ...rest });
  }

  get active() {
    return this.root.getRootNode().activeElement;
  }

  // what there is on the page

  build() {
    const { has_lab: hasLab, templates } = this.choices;
    this.title = h("h3", { id: `labkit-editor-${++ids}` });
    this.nameField = this.field("Slice", (value, final) => this.send("rename", { value, final }), { class: "wide" });
    this.shape = h("select", { "aria-label": "Template", onchange: () => this.suggest() });
    offer(this.shape, templates.map((one) => [one.name, one.title]), templates[0].name);
    this.count = h("input", { type: "number", "aria-label": "Number of VMs in the template", class: "count" });
    this.undo = button("Undo", () => this.send("undo"), { title: "Undo (Ctrl+Z)" });
    this.redo = button("Redo", () => this.send("redo"), { title: "Redo (Ctrl+Shift+Z)" });
    const head = h("div", { class: "bar head" }, this.title, this.nameField.node,
      h("span", { class: "space" }),
      h("span", { class: "group" }, this.shape, this.count,
        button("Use template", () => this.use(), { class: "use" })),
      h("span", { class: "group" }, this.undo, this.redo));
    this.suggest();

    this.add = button("Add VM", () => { this.wantNewest = true; this.send("add-vm"); }, { class: "primary" });
    this.connect = button("Connect", () => this.startConnecting(), { "aria-pressed": "false" });
    this.remove = button("Remove", () => this.removeChosen());
    this.said = h("p", { role: "status", class: "said" });
    this.above = h("span", { class: "busy", "aria-hidden": "true" }); // what `busy` says below, out of sight
    this.frame = h("div", { class: "frame" });
    const stage = h("div", { class: "stage" },
      h("div", { class: "bar" }, this.add, this.connect, this.remove, this.said, this.above), this.frame,
      h("p", { class: "keys note", "aria-hidden": "true" }, KEYS));

    this.vmRows = h("tbody");
    this.vmTable = this.table("VMs", ["Name", "Flavor", "Interfaces", "Internet", "Addresses", ""], this.vmRows);
    this.linkRows = h("tbody");
    const columns = ["Name", "Ends", "Up", "Delay", "Jitter", "Loss", "Rate", ""];
    this.linkTable = this.table("Links", columns, this.linkRows);
    this.one = h("select", { "aria-label": "First VM to connect" });
    this.two = h("select", { "aria-label": "Second VM to connect" });
    this.joiner = h("div", { class: "bar joiner" }, h("span", {}, "Connect"), this.one, h("span", {}, "and"),
      this.two, button("Connect these", () => this.send("connect", { one: this.one.value, two: this.two.value })));

    this.plan = button("Preview plan", () => this.send("plan"), { class: "primary" });
    this.deploy = button("Deploy", () => this.send("deploy"), { class: "primary" });
    this.wrong = h("span", { class: "wrong" });
    this.busy = h("span", { class: "busy", role: "status" });
    this.failure = h("div", {});
    this.outcome = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Plan and outcome", hidden: true });
    const actions = h("div", { class: "actions" },
      h("div", { class: "bar" }, hasLab ? this.plan : null, hasLab ? this.deploy : null, this.busy, this.wrong),
      this.failure, this.outcome);

    this.tabs = {};
    for (const [name, text] of [["python", "Python"], ["yaml", "YAML"]]) {
      this.tabs[name] = button(text, () => { this.tab = name; this.showCode(); });
    }
    this.copy = button("Copy", () => this.copyCode(), { class: "copy" });
    this.copied = h("span", { role: "status", class: "note" });
    this.code = h("pre", { tabindex: "0", role: "region" });
    const code = h("div", { class: "code" },
      h("div", { class: "bar" }, h("span", { class: "group", role: "group", "aria-label": "The same as" },
        this.tabs.python, this.tabs.yaml), this.copy, this.copied), this.code);
    return h("section", { class: "labkit-editor", "aria-labelledby": this.title.id },
      head, stage, this.vmTable, this.linkTable, this.joiner, actions, code);
  }

  table(caption, columns, body) {
    const heads = columns.map((text) => text
      ? h("th", { scope: "col" }, text)
      : h("th", { scope: "col" }, h("span", { class: "unseen" }, "Actions")));
    return h("div", { class: "scroll rows" }, h("table", {}, h("caption", {}, caption), h("thead", {}, h("tr", {}, ...heads)), body));
  }

  /** A field with its message below; `change(value, final)` is told of each letter and of the end. */
  field(label, change, props = {}, tag = "input") {
    const message = h("span", { class: "problem", id: `labkit-editor-${++ids}` });
    const input = h(tag, { type: tag === "input" ? "text" : null, "aria-label": label, autocomplete: "off",
      spellcheck: "false", oninput: () => change(input.value, false), onchange: () => change(input.value, true), ...props });
    const node = h("span", { class: "field" }, input, message);
    const update = (value, problem, name) => {
      if (this.force || this.active !== input) {
        if (input.value !== value) input.value = value;
      }
      if (name) set(input, "aria-label", name);
      this.blame(input, message, problem);
    };
    return { node, input, update };
  }

  blame(input, message, problem) {
    set(input, "aria-invalid", problem ? "true" : null);
    set(input, "aria-describedby", problem ? message.id : null);
    set(message, "role", problem ? "alert" : null);
    write(message, problem ?? "");
  }

  check(label, change) {
    const input = h("input", { type: "checkbox", "aria-label": label, onchange: () => change(input.checked, true) });
    const message = h("span", { class: "problem", id: `labkit-editor-${++ids}` });
    const update = (value, problem, name) => {
      input.checked = value;
      if (name) set(input, "aria-label", name);
      this.blame(input, message, problem);
    };
    return { node: h("span", { class: "field" }, input, message), input, update };
  }

  /** A list to choose from, with the message of what is wrong with the choice. */
  choice(change) {
    const message = h("span", { class: "problem", id: `labkit-editor-${++ids}` });
    const input = h("select", { onchange: () => change(input.value, true) });
    const update = (options, chosen, problem, name) => {
      offer(input, options, chosen);
      set(input, "aria-label", name);
      this.blame(input, message, problem);
    };
    return { node: h("span", { class: "field" }, input, message), input, update };
  }

  vmRow(vm) {
    const key = vm.key;
    const to = (field) => (value, final) => this.send("set-vm", { key, field, value, final });
    const name = this.field("Name", to("name"), { class: "name" });
    const flavor = this.choice(to("flavor"));
    const count = this.field("Interfaces", to("interfaces"), { type: "number", min: 0, max: 255, class: "count" });
    const internet = this.check("Internet", to("internet"));
    const forwarding = this.check("Forwarding", to("forwarding"));
    const routes = this.field("Routes", to("routes"), { rows: 3, placeholder: "default via 10.0.1.1" }, "textarea");
    const also = h("span", { class: "note" });
    const addresses = h("td", { class: "addresses" });
    const more = button("More", () => { set(more, "aria-expanded", String(details.hidden)); details.hidden = !details.hidden; },
      { class: "quiet", "aria-expanded": "false" });
    const remove = button("✕", () => this.removeKey("vm", key), { class: "quiet" });
    const row = h("tr", { onfocusin: () => this.choose(key) }, h("td", {}, name.node), h("td", {}, flavor.node),
      h("td", {}, count.node), h("td", {}, internet.node), addresses, h("td", { class: "doing" }, more, remove));
    const details = h("tr", { class: "details", hidden: true }, h("td", { colspan: "6" }, h("div", { class: "bar top" },
      h("label", {}, forwarding.node, "Forwards packets (a router)"),
      h("label", { class: "routes" }, h("span", {}, "Routes, one in a line"), routes.node), also)));
    const update = (now) => {
      const { problems, name: called } = now;
      name.update(now.name, problems.name, `Name of ${called}`);
      flavor.input.title = this.choices.flavors.find((one) => one.name === now.flavor)?.about ?? "";
      flavor.update(this.choices.flavors.map((one) => [one.name, one.name]), now.flavor, problems.flavor, `Flavor of ${called}`);
      count.update(now.interfaces, problems.interfaces, `Interfaces of ${called}`);
      internet.update(now.internet, problems.internet, `Internet of ${called}`);
      forwarding.update(now.forwarding, problems.forwarding, `Forwarding of ${called}`);
      routes.update(now.routes, problems.routes, `Routes of ${called}`);
      write(also, now.also ? `Kept as it is: ${now.also}` : "");
      keyed(addresses, now.addresses.map((one) => ({ ...one, key: one.name, vm: called, problem: problems[`address:${one.name}`] })),
        (one) => this.addressRow(key, one));
      set(more, "aria-label", `More of ${called}`);
      set(remove, "aria-label", `Remove ${called}`);
      set(remove, "title", `Remove ${called}`);
      if (problems.routes && details.hidden) more.click();
      set(row, "aria-current", this.chosen === key ? "true" : null);
    };
    return { nodes: [row, details], update, focus: () => { name.input.focus(); name.input.select(); } };
  }

  addressRow(key, address) {
    const field = `address:${address.name}`;
    const text = this.field("Address", (value, final) => this.send("set-vm", { key, field, value, final }),
      { placeholder: "no address", class: "address" });
    const link = h("span", { class: "note" });
    const node = h("div", { class: "line" }, h("span", { class: "eth" }, address.name), text.node, link);
    const update = (now) => {
      text.update(now.text, now.problem, `Address of ${now.vm} ${now.name}`);
      write(link, now.link ? `in ${now.link}` : "");
    };
    return { nodes: [node], update };
  }

  linkRow(link) {
    const key = link.key;
    const to = (field) => (value, final) => this.send("set-link", { key, field, value, final });
    const name = this.field("Name", to("name"), { class: "name" });
    const up = this.check("Up", to("up"));
    const ends = h("td", { class: "ends" });
    const plain = IMPAIRMENTS.map(([kind, , hint]) => this.field(kind, to(kind), { placeholder: "–", title: `Such as ${hint}`, class: "short" }));
    const rare = h("span", { class: "group" }, h("label", {}, "Duplicates", plain[4].node), h("label", {}, "Corruption", plain[5].node));
    const apart = this.check("Each direction by itself", to("apart"));
    const each = h("div", { class: "each" });
    const other = h("select", { "aria-label": "VM to add" });
    const join = button("Add to this link", () => this.send("join", { key, vm: other.value }));
    const more = button("More", () => { set(more, "aria-expanded", String(details.hidden)); details.hidden = !details.hidden; },
      { class: "quiet", "aria-expanded": "false" });
    const remove = button("✕", () => this.removeKey("link", key), { class: "quiet" });
    const row = h("tr", { onfocusin: () => this.choose(key) }, h("td", {}, name.node), ends, h("td", {}, up.node),
      ...plain.slice(0, 4).map((one) => h("td", {}, one.node)), h("td", { class: "doing" }, more, remove));
    const details = h("tr", { class: "details", hidden: true }, h("td", { colspan: "8" },
      h("div", { class: "bar" }, rare, h("label", {}, apart.node, "Each direction by itself"), h("span", { class: "group" }, other, join)), each));
    const update = (now) => {
      const { problems, name: called, texts } = now;
      name.update(now.name, problems.name, `Name of link ${called}`);
      up.update(now.up, problems.up, `Link ${called} is up`);
      keyed(ends, now.ends.map((end, number) => ({ ...end, key: end.vm, number, link: now, problem: problems[`end:${number}`] })),
        () => this.endRow(key));
      plain.forEach((field, place) => {
        const [kind, label] = IMPAIRMENTS[place];
        field.update(now.apart ? "" : texts[0]?.[kind] ?? "", now.apart ? "" : problems[kind], `${label} of ${called}`);
        field.input.disabled = now.apart;
        set(field.input, "placeholder", now.apart ? "…" : "–");
      });
      apart.update(now.apart, "", `Each direction of ${called} by itself`);
      keyed(each, now.apart ? now.ends.map((end, number) => ({ key: end.vm, end, number, texts: texts[number], problems })) : [],
        () => this.directionRow(key));
      const there = new Set(now.ends.map((end) => end.vm));
      const rest = this.view.vms.filter((vm) => !there.has(vm.key)).map((vm) => [vm.key, vm.name]);
      offer(other, rest, rest.some(([one]) => one === other.value) ? other.value : rest[0]?.[0] ?? "");
      set(other, "aria-label", `VM to add to ${called}`);
      other.disabled = join.disabled = !rest.length;
      set(more, "aria-label", `More of ${called}`);
      set(remove, "aria-label", `Remove link ${called}`);
      set(remove, "title", `Remove link ${called}`);
      if (details.hidden && (now.apart || problems.duplicate || problems.corrupt)) more.click();
      set(row, "aria-current", this.chosen === key ? "true" : null);
    };
    return { nodes: [row, details], update, focus: () => name.input.focus() };
  }

  endRow(key) {
    let number = 0;
    const end = this.choice((value) => this.send("set-end", { key, end: number, value }));
    const leave = button("✕", () => this.send("leave", { key, end: number }), { class: "quiet" });
    const update = (now) => {
      number = now.number;
      const own = this.view.free.filter((one) => one.value.startsWith(`${now.vm}:`));
      const options = [now, ...own].map((one) => [one.value, one.text]).sort(([, a], [, b]) => a.localeCompare(b, "en", { numeric: true }));
      end.update(options, now.value, now.problem, `End ${number + 1} of ${now.link.name}`);
      leave.hidden = now.link.ends.length < 3;
      set(leave, "aria-label", `Take ${now.text} off ${now.link.name}`);
    };
    return { nodes: [h("div", { class: "line" }, end.node, leave)], update };
  }

  directionRow(key) {
    let number = 0;
    const fields = IMPAIRMENTS.map(([kind, , hint]) =>
      this.field(kind, (value, final) => this.send("set-link", { key, field: kind, end: number, value, final }), { placeholder: "–", title: `Such as ${hint}`, class: "short" }));
    const who = h("span", { class: "who" });
    const labels = IMPAIRMENTS.map(([, label], place) => h("label", {}, label, fields[place].node));
    const update = (now) => {
      number = now.number;
      write(who, `${now.end.text} sends`);
      fields.forEach((field, place) => {
        const [kind, label] = IMPAIRMENTS[place];
        field.update(now.texts[kind] ?? "", now.problems[`${kind}:${number}`], `${label} of what ${now.end.text} sends`);
      });
    };
    return { nodes: [h("div", { class: "bar" }, who, ...labels)], update };
  }

  // what Python says

  show() {
    const view = (this.view = this.model.get("view"));
    this.force = view.epoch !== this.epoch;
    this.epoch = view.epoch;
    const known = [...view.vms, ...view.links].map((one) => one.key);
    if (this.wantNewest && view.vms.length) this.chosen = view.vms.at(-1).key;
    this.wantNewest = false;
    if (!known.includes(this.chosen)) this.chosen = null;
    if (!known.includes(this.from)) this.from = null;
    const lost = this.active;
    write(this.title, `Slice ${view.slice}`);
    this.title.classList.toggle("unseen", view.renamable);
    this.nameField.node.hidden = !view.renamable;
    this.nameField.update(view.slice, view.slice_problem, "Name of the slice");
    this.undo.disabled = !view.can_undo;
    this.redo.disabled = !view.can_redo;
    keyed(this.vmRows, view.vms, (vm) => this.vmRow(vm));
    keyed(this.linkRows, view.links, (link) => this.linkRow(link));
    this.vmTable.hidden = !view.vms.length;
    this.linkTable.hidden = !view.links.length;
    this.joiner.hidden = view.vms.length < 2;
    const vms = view.vms.map((vm) => [vm.key, vm.name]);
    const keep = (select, other) => {
      const now = vms.some(([key]) => key === select.value) ? select.value : vms[other]?.[0] ?? "";
      offer(select, vms, now);
    };
    keep(this.one, 0);
    keep(this.two, 1);
    const wrong = view.problems;
    write(this.wrong, wrong ? `${wrong} field${wrong > 1 ? "s" : ""} to correct; picture and code show the last valid slice.` : view.advice.join(" "));
    this.wrong.classList.toggle("problem", wrong > 0);
    this.showWork();
    this.showChosen();
    write(this.said, this.from ? this.said.textContent : view.said);
    if (lost && lost !== document.body && !lost.isConnected) this.add.focus();
    this.force = false;
  }

  showPicture() {
    const parsed = new DOMParser().parseFromString(this.model.get("svg"), "image/svg+xml"); // as XML: a name cannot become markup
    const svg = document.importNode(parsed.documentElement, true);
    const held = this.active?.closest?.("g[data-vm], g[data-link]");
    const had = held && this.frame.contains(held) ? held.id : null;
    svg.setAttribute("role", "group");
    svg.setAttribute("aria-label", `Topology. ${KEYS}`);
    svg.querySelector(":scope > title")?.remove();
    this.nodes = [...svg.querySelectorAll("g[data-vm], g[data-link]")];
    this.nodes.sort((a, b) => ("vm" in b.dataset) - ("vm" in a.dataset));
    this.nodes.forEach((node, place) => {
      node.setAttribute("role", "button");
      node.setAttribute("tabindex", place ? "-1" : "0");
      node.setAttribute("data-lm-suppress-shortcuts", "true");
      node.setAttribute("aria-label", node.querySelector("title")?.textContent ?? "");
      node.addEventListener("click", () => { node.focus(); this.clicked(node); });
      node.addEventListener("keydown", (event) => this.pressedOn(node, event));
    });
    this.frame.replaceChildren(svg);
    if (had) this.nodes.find((node) => node.id === had)?.focus();
    this.showChosen();
  }

  showChosen() {
    for (const node of this.nodes ?? []) {
      const key = this.keyOf(node);
      node.setAttribute("aria-pressed", String(key === this.chosen));
      node.classList.toggle("from", key === this.from);
    }
    for (const rows of [this.vmRows.labkitRows, this.linkRows.labkitRows]) {
      for (const [key, row] of rows ?? []) set(row.nodes[0], "aria-current", key === this.chosen ? "true" : null);
    }
    set(this.connect, "aria-pressed", String(this.from !== null));
    this.connect.disabled = this.from === null && !this.isVM(this.chosen);
    this.remove.disabled = this.chosen === null;
  }

  showWork() {
    const work = this.model.get("work");
    for (const place of [this.busy, this.above]) write(place, work.busy ? `${work.busy}…` : "");
    const { table, error } = work;
    const isPlan = table?.of === "plan";
    const steps = isPlan ? table.rows.length : 0;
    this.plan.disabled = Boolean(work.busy || this.view.problems);
    this.plan.classList.toggle("primary", !(steps && work.is_current));
    this.deploy.hidden = !steps;
    this.deploy.disabled = Boolean(work.busy || this.view.problems || !work.is_current);
    write(this.deploy, steps === 1 ? "Deploy: do this step" : `Deploy: do these ${steps} steps`);
    this.failure.replaceChildren(...(error ? [h("div", { role: "alert", class: "failure" },
      h("strong", {}, `${error.what}.`), ...[error.why, error.fix].filter(Boolean).map((text) => h("p", {}, text)))] : []));
    const text = JSON.stringify([table, work.is_current]);
    if (text === this.shownTable) return;
    this.shownTable = text;
    this.outcome.replaceChildren();
    this.outcome.hidden = !table?.rows.length;
    if (this.outcome.hidden) return;
    const heads = table.columns.map((name) => h("th", { scope: "col" }, name));
    const rows = table.rows.map((row) => h("tr", { "data-action": isPlan ? row[0] : null }, ...row.map((cell) => h("td", {}, cell))));
    const caption = isPlan ? (work.is_current ? "What Deploy will do" : "Outdated: the slice was changed since") : "VMs";
    this.outcome.append(h("table", { class: `result${isPlan && !work.is_current ? " outdated" : ""}` },
      h("caption", {}, caption), h("thead", {}, h("tr", {}, ...heads)), h("tbody", {}, ...rows)));
  }

  showCode() {
    const name = this.tab === "python" ? "Python" : "YAML";
    for (const [tab, element] of Object.entries(this.tabs)) set(element, "aria-pressed", String(tab === this.tab));
    write(this.code, this.model.get(this.tab));
    set(this.code, "aria-label", `The same in ${name}`);
    write(this.copy, `Copy ${name}`);
    write(this.copied, "");
  }

  // what a person does

  isVM(key) {
    return this.view?.vms.some((vm) => vm.key === key) ?? false;
  }

  keyOf(node) {
    const { vm, link } = node.dataset;
    return this.view?.drawn[vm === undefined ? `link:${link}` : `vm:${vm}`] ?? null;
  }

  choose(key) {
    if (this.chosen === key) return;
    this.chosen = key;
    this.showChosen();
    const row = (this.vmRows.labkitRows?.get(key) ?? this.linkRows.labkitRows?.get(key))?.nodes[0];
    const box = row?.closest(".scroll");
    const above = row ? row.offsetTop - 60 : 0; // the heads stay above the rows
    if (box && (above < box.scrollTop || row.offsetTop + row.offsetHeight > box.scrollTop + box.clientHeight)) {
      box.scrollTop = above;
    }
  }

  clicked(node) {
    const key = this.keyOf(node);
    if (this.from && this.isVM(key)) {
      if (key !== this.from) this.send("connect", { one: this.from, two: key });
      this.stopConnecting();
    } else this.choose(key === this.chosen ? null : key);
  }

  startConnecting() {
    if (this.from) return this.stopConnecting();
    if (!this.isVM(this.chosen)) return;
    this.from = this.chosen;
    const name = this.view.vms.find((vm) => vm.key === this.from).name;
    write(this.said, `Connecting ${name}: choose the other VM in the picture. Escape stops.`);
    this.showChosen();
    if (this.active === this.connect) this.nodes.find((node) => this.keyOf(node) === this.from)?.focus();
  }

  stopConnecting() {
    this.from = null;
    write(this.said, "");
    this.showChosen();
  }

  removeChosen() {
    if (this.chosen) this.removeKey(this.isVM(this.chosen) ? "vm" : "link", this.chosen);
  }

  removeKey(kind, key) {
    this.send(`remove-${kind}`, { key });
  }

  pressed(event) {
    event.stopPropagation(); // or the notebook would take it for a shortcut
    const letter = event.key.toLowerCase();
    if ((event.ctrlKey || event.metaKey) && (letter === "z" || letter === "y")) {
      event.preventDefault();
      this.send(letter === "y" || event.shiftKey ? "redo" : "undo");
    } else if (event.key === "Escape" && this.from) this.stopConnecting();
  }

  pressedOn(node, event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const place = this.nodes.indexOf(node);
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const key = this.keyOf(node);
    if (step) this.move(this.nodes[(place + step + this.nodes.length) % this.nodes.length]);
    else if (event.key === "Enter" || event.key === " ") this.clicked(node);
    else if (event.key === "Delete" || event.key === "Backspace") this.removeKey(this.isVM(key) ? "vm" : "link", key);
    else if (event.key === "c" && this.isVM(key)) { this.chosen = key; this.startConnecting(); }
    else if (event.key === "e") (this.vmRows.labkitRows?.get(key) ?? this.linkRows.labkitRows?.get(key))?.focus();
    else return;
    event.preventDefault();
  }

  move(node) {
    this.nodes.forEach((one) => one.setAttribute("tabindex", one === node ? "0" : "-1"));
    node.focus();
  }

  suggest() {
    const shape = this.choices.templates.find((one) => one.name === this.shape.value);
    this.shape.title = shape.about;
    Object.assign(this.count, { min: shape.least, max: shape.most, value: shape.usual });
  }

  use() {
    this.send("template", { template: this.shape.value, count: Number(this.count.value) });
  }

  async copyCode() {
    const text = this.model.get(this.tab);
    try {
      await navigator.clipboard.writeText(text);
      write(this.copied, "Copied.");
    } catch { // a page without TLS, or without permission: the text is selected instead
      this.root.ownerDocument.getSelection().selectAllChildren(this.code);
      write(this.copied, document.execCommand("copy") ? "Copied." : "Selected: press Ctrl+C.");
    }
  }
}

function render({ model, el }) {
  const editor = new Editor(model, el);
  const listeners = {
    "change:view": () => editor.show(),
    "change:svg": () => editor.showPicture(),
    "change:work": () => editor.showWork(),
    "change:python": () => editor.showCode(),
    "change:yaml": () => editor.showCode(),
  };
  for (const [event, listener] of Object.entries(listeners)) model.on(event, listener);
  editor.show();
  editor.showPicture();
  editor.showCode();
  return () => {
    for (const [event, listener] of Object.entries(listeners)) model.off(event, listener);
  };
}

export default { render };
