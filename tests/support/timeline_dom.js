// Runs a page's script without a browser: as much of a document as the script touches, and a
// canvas that counts. Reads {script, data, actions} from standard input; an action is
// [element's id, event's type, event's fields] or ["set", element's id, fields]. Prints, for the
// state after each action, what was drawn and shown.

"use strict";

const input = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
const elements = new Map();
let frames = [];
let drawn;

function startFrame() {
  drawn = { fillText: [], stroke: 0, arc: 0, lineTo: 0, fillRect: 0, rect: 0, bad: 0 };
}

const context = new Proxy({}, {
  get: (_, name) => (...values) => {
    if (values.some((value) => typeof value === "number" && !Number.isFinite(value))) drawn.bad += 1;
    if (name === "fillText") drawn.fillText.push(values[0]);
    else if (name in drawn) drawn[name] += 1;
  },
  set: () => true,
});

class Element {
  constructor(id) {
    Object.assign(this, { id, value: "", checked: false, disabled: false, own: "", children: [] });
    this.attributes = {};
    this.listeners = {};
  }

  get textContent() {
    return this.own + this.children.map((child) => child.textContent ?? child).join(" ");
  }

  set textContent(text) {
    this.own = text;
    this.children = [];
  }

  addEventListener(type, listener) {
    this.listeners[type] = listener;
  }

  append(...children) {
    this.children.push(...children);
  }

  replaceChildren(...children) {
    this.own = "";
    this.children = children;
  }

  setAttribute(name, value) {
    this.attributes[name] = value;
  }

  getBoundingClientRect() {
    return { width: 1200, height: 700 };
  }

  getContext() {
    return context;
  }

  setPointerCapture() {}
  focus() {}
  select() {}
}

function byId(id) {
  if (!elements.has(id)) elements.set(id, new Element(id));
  return elements.get(id);
}

globalThis.document = {
  getElementById: byId, createElement: (name) => new Element(name), documentElement: {},
  execCommand: () => true,
};
globalThis.window = { devicePixelRatio: 2 };
globalThis.getComputedStyle = () => ({ getPropertyValue: () => "#000" });
globalThis.matchMedia = () => new Element("media");
globalThis.ResizeObserver = class {
  observe() {}
};
globalThis.requestAnimationFrame = (frame) => frames.push(frame);

function report() {
  startFrame();
  const waiting = frames;
  frames = [];
  const before = performance.now();
  for (const frame of waiting) frame();
  const millis = performance.now() - before;
  const shown = {
    ...drawn, millis, count: byId("count").textContent, event: byId("event").textContent,
    invalid: byId("text").attributes["aria-invalid"] ?? "",
  };
  process.stdout.write(`${JSON.stringify(shown)}\n`);
}

startFrame();
byId("data").textContent = input.data;
(0, eval)(input.script);
report();
for (const [id, type, fields] of input.actions) {
  if (id === "set") Object.assign(byId(type), fields);
  else byId(id).listeners[type]({ preventDefault() {}, ...fields });
  report();
}
