// Sends files in parts through the page server to the API: at most AT_ONCE parts are in memory, whatever the size of
// the file. A part that breaks off is sent again; parts that arrived outlive a reload, and the same file goes on.
const AT_ONCE = 2;
const TRIES = 6;
const PAUSE_MS = 400;
const KEPT = "loglore-upload:";
const panels = new WeakMap();

export default function (component) {
  const root = component.parentElement;
  const panel = panels.get(root) ?? new Panel(root);
  panels.set(root, panel);
  panel.update(component);
  return () => undefined;
}

class Panel {
  constructor(root) {
    this.items = [];
    const holder = root.querySelector("div");
    this.drop = holder.appendChild(make("div", "drop"));
    const label = this.drop.appendChild(make("label", "pick"));
    this.pickText = label.appendChild(make("span"));
    this.input = label.appendChild(make("input"));
    this.input.type = "file";
    this.input.multiple = true;
    this.hint = this.drop.appendChild(make("p"));
    this.list = holder.appendChild(make("ul"));
    this.input.onchange = () => {
      this.add(this.input.files);
      this.input.value = "";
    };
    this.drop.ondragover = (event) => {
      event.preventDefault();
      this.drop.classList.add("over");
    };
    this.drop.ondragleave = () => this.drop.classList.remove("over");
    this.drop.ondrop = (event) => {
      event.preventDefault();
      this.drop.classList.remove("over");
      this.add(event.dataTransfer.files);
    };
  }

  update({ data, setStateValue }) {
    Object.assign(this, { options: data, words: data.words, tell: setStateValue });
    this.pickText.textContent = this.words.pick;
    this.hint.textContent = this.words.drop;
  }

  add(files) {
    for (const file of files) {
      const item = new Item(this, file);
      this.items.push(item);
      item.send();
    }
  }

  changed() {
    const done = this.items.filter((item) => item.state === "done");
    this.tell("files", done.map((item) => ({ id: item.id, name: item.file.name, bytes: item.file.size })));
  }

  remove(item) {
    this.items = this.items.filter((each) => each !== item);
    item.row.remove();
    if (item.state === "done") this.changed();
  }

  async call(path, body, signal) {
    const headers = this.options.key ? { Authorization: `Bearer ${this.options.key}` } : {};
    const form = body instanceof FormData;
    if (body !== undefined && !form) headers["Content-Type"] = "application/json";
    const reply = await fetch(new URL(this.options.url + path, document.baseURI), {
      method: body === undefined ? "GET" : "POST", headers, signal, body: form ? body : JSON.stringify(body),
    });
    if (reply.ok) return reply.json();
    const told = await reply.json().catch(() => ({}));
    const fault = new Error(told.error?.message ?? `${reply.status} ${reply.statusText}`);
    // Asked again it would say the same.
    fault.final = reply.status < 500 && reply.status !== 408 && reply.status !== 429;
    throw fault;
  }
}

class Item {
  constructor(panel, file) {
    Object.assign(this, { panel, file, state: "waiting", parts: [], sent: 0 });
    this.key = `${KEPT}${file.name}:${file.size}:${file.lastModified}`;
    this.row = panel.list.appendChild(make("li"));
    const head = this.row.appendChild(make("div", "row"));
    head.appendChild(make("span", "name")).textContent = file.name;
    this.buttons = head.appendChild(make("span"));
    this.bar = this.row.appendChild(make("progress"));
    this.bar.max = 1;
    this.bar.setAttribute("aria-label", file.name);
    this.told = this.row.appendChild(make("div", "told"));
    this.told.setAttribute("role", "status");
  }

  async send() {
    const { panel, file } = this;
    if (!file.size) return this.show("broken", panel.words.empty);
    this.abort = new AbortController();
    this.began = performance.now();
    this.before = this.sent;
    this.show("sending");
    try {
      await this.begin();
      const waiting = [];
      for (let at = 0; at * panel.options.part < file.size; at++) if (!this.parts[at]) waiting.push(at);
      const work = async () => {
        while (waiting.length) await this.part(waiting.shift());
      };
      await Promise.all(Array.from({ length: AT_ONCE }, work));
      const done = await this.again(() => panel.call(`/${this.upload}/complete`, { part_ids: this.parts }));
      this.id = done.file.id;
      localStorage.removeItem(this.key);
      this.show("done");
      panel.changed();
    } catch (fault) {
      if (this.state === "cancelled") return;
      this.abort.abort();
      this.show("broken", fault.message);
    }
  }

  // Goes on with what an earlier visit began, where the API still has it.
  async begin() {
    const { panel, file } = this;
    const kept = JSON.parse(localStorage.getItem(this.key) ?? "null");
    if (kept && kept.part === panel.options.part) {
      const found = await panel.call(`/${kept.upload}`).catch(() => null);
      if (found?.status === "pending") {
        const there = new Set(found.parts.map((part) => part.id));
        this.upload = kept.upload;
        this.parts = kept.parts.map((id) => (there.has(id) ? id : undefined));
        this.sent = this.before = this.parts.reduce((sum, id, at) => sum + (id ? this.size(at) : 0), 0);
        return;
      }
    }
    this.parts = [];
    this.sent = this.before = 0;
    const wish = { filename: file.name, bytes: file.size, purpose: "user_data", mime_type: "text/plain" };
    wish.expires_after = { anchor: "created_at", seconds: panel.options.keep };
    this.upload = (await this.again(() => panel.call("", wish, this.abort.signal))).id;
    this.keep();
  }

  async part(at) {
    const start = at * this.panel.options.part;
    const form = new FormData();
    form.append("data", this.file.slice(start, start + this.size(at)), "part");
    const made = await this.again(() => this.panel.call(`/${this.upload}/parts`, form, this.abort.signal));
    this.parts[at] = made.id;
    this.sent += this.size(at);
    this.keep();
    if (this.state === "sending") this.show("sending");
  }

  async again(work) {
    for (let tried = 1; ; tried++) {
      try {
        return await work();
      } catch (fault) {
        if (fault.final || fault.name === "AbortError" || tried === TRIES) throw fault;
        await new Promise((go) => setTimeout(go, PAUSE_MS * 2 ** tried));
        if (this.abort.signal.aborted) throw fault;
      }
    }
  }

  async cancel() {
    this.show("cancelled");
    this.abort.abort();
    localStorage.removeItem(this.key);
    if (this.upload) await this.panel.call(`/${this.upload}/cancel`, {}).catch(() => undefined);
    this.parts = [];
    this.upload = undefined;
  }

  size(at) {
    return Math.min(this.panel.options.part, this.file.size - at * this.panel.options.part);
  }

  keep() {
    const { upload, parts } = this;
    localStorage.setItem(this.key, JSON.stringify({ upload, part: this.panel.options.part, parts: Array.from(parts) }));
  }

  show(state, detail = "") {
    const { words } = this.panel;
    this.state = state;
    this.bar.value = this.sent / Math.max(this.file.size, 1);
    this.bar.hidden = state === "done" || state === "cancelled";
    const amount = state === "done" ? bytes(this.file.size) : `${bytes(this.sent)} / ${bytes(this.file.size)}`;
    this.told.textContent = [words[state], amount, state === "sending" ? this.left() : detail].filter(Boolean).join(" · ");
    const offered = { sending: ["cancel"], waiting: ["cancel"], broken: ["resume", "cancel"], done: ["remove"], cancelled: ["remove"] };
    if (this.buttons.dataset.of === state) return;
    this.buttons.dataset.of = state;
    this.buttons.replaceChildren(...offered[state].map((name) => this.button(name)));
  }

  button(name) {
    const made = make("button");
    made.type = "button";
    made.textContent = this.panel.words[name];
    made.setAttribute("aria-label", `${this.panel.words[name]} ${this.file.name}`);
    made.onclick = { cancel: () => this.cancel(), resume: () => this.send(), remove: () => this.panel.remove(this) }[name];
    return made;
  }

  left() {
    const rate = (this.sent - this.before) / ((performance.now() - this.began) / 1000);
    if (!rate) return "";
    const seconds = Math.ceil((this.file.size - this.sent) / rate);
    return `${bytes(rate)}/s · ${this.panel.words.left.replace("{time}", `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`)}`;
  }
}

function make(tag, name = "") {
  const made = document.createElement(tag);
  if (name) made.className = name;
  return made;
}

function bytes(count) {
  const unit = count >= 1e9 ? ["GB", 1e9] : count >= 1e6 ? ["MB", 1e6] : ["kB", 1e3];
  return `${(count / unit[1]).toFixed(count >= 1e9 ? 2 : 0)} ${unit[0]}`;
}
