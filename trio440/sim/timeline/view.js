// The page: what is looked at, and what the reader's hands change about it.

const byId = (id) => document.getElementById(id);
const STEP = 60; // pixels that an arrow key moves
const ZOOM = 1.5; // what a button or key makes larger or smaller
const ROW = 18; // pixels for one row at first
const MOST = { even: 60, time: 40 }; // pixels for one row, or one microsecond, at most

class Page {
  constructor() {
    this.model = buildModel(JSON.parse(byId("data").textContent));
    this.canvas = byId("canvas");
    this.context = this.canvas.getContext("2d");
    this.size = { width: 800, height: 500 };
    this.view = {
      even: false, top: 0, scale: 1, scrolled: 0, selected: -1,
      laneWidth: MIN_LANE, laneOf: [], lanes: 0, places: [], shown: [],
    };
    this.hidden = { hosts: new Set(), kinds: new Set() };
    this.isTextShown = () => true;
    this.waiting = false;
    this.listChoices("hosts", this.model.hosts.map((name) => name || "(world)"));
    this.listChoices("kinds", this.model.kinds);
    this.readColours();
    this.choose();
    this.measure();
    this.showWhole();
    this.listen();
  }

  readColours() {
    const style = getComputedStyle(document.documentElement);
    const names = ["back", "panel", "ink", "faint", "line", "down", "pause", "operation", ...Object.values(COLOURS)];
    this.colours = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  }

  measure() {
    const box = this.canvas.getBoundingClientRect();
    const ratio = window.devicePixelRatio || 1;
    this.size = { width: box.width, height: box.height };
    this.canvas.width = Math.round(box.width * ratio);
    this.canvas.height = Math.round(box.height * ratio);
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.move(0, 0);
  }

  // What is shown has changed: lanes, events and their places are found anew.
  choose() {
    const { model, view, hidden } = this;
    view.lanes = 0;
    view.laneOf = model.hosts.map((_, host) => {
      if (hidden.hosts.has(host)) return -1;
      view.lanes += 1;
      return view.lanes - 1;
    });
    const hiddenKinds = new Set([...hidden.kinds].map((kind) => model.kinds[kind]));
    view.shown = chooseEvents(
      model, (host) => view.laneOf[host] >= 0, (kind) => !hiddenKinds.has(kind), this.isTextShown,
    );
    view.places = placeEvents(model, view.shown, view.even);
    const count = view.shown.reduce((sum, is) => sum + is, 0);
    byId("count").textContent = `${count} of ${model.events.length} events`;
    this.move(0, 0);
  }

  listChoices(id, names) {
    names.forEach((name, place) => {
      const label = document.createElement("label");
      const box = document.createElement("input");
      box.type = "checkbox";
      box.checked = true;
      box.addEventListener("change", () => {
        if (box.checked) this.hidden[id].delete(place); else this.hidden[id].add(place);
        this.keepInView(() => this.choose());
      });
      label.append(box, ` ${name}`);
      byId(id).append(label);
    });
  }

  filterText() {
    const box = byId("text");
    try {
      this.isTextShown = textFilter(box.value, byId("pattern").checked);
    } catch {
      box.setAttribute("aria-invalid", "true");
      return;
    }
    box.setAttribute("aria-invalid", "false");
    this.keepInView(() => this.choose());
  }

  // Rows move under a change; what is in the middle of the screen stays there.
  keepInView(change) {
    const { view, size } = this;
    const middle = (size.height - TOP) / 2;
    const place = view.top + middle / view.scale;
    const index = Math.min(firstFrom(view.places, place), view.places.length - 1);
    change();
    view.top = view.places[index] - middle / view.scale;
    this.zoom(1);
  }

  setEven(even) {
    const { view } = this;
    if (even) this.timeScale = view.scale;
    this.keepInView(() => {
      view.even = even;
      view.scale = even ? ROW : this.timeScale;
      this.choose();
    });
    byId("axis").setAttribute("aria-pressed", String(even));
  }

  length() {
    const { view, model } = this;
    return Math.max(view.even ? view.places[model.events.length] : model.end, 1);
  }

  leastScale() {
    return Math.max(this.size.height - TOP - 2 * MARGIN, 50) / this.length();
  }

  showWhole() {
    this.view.scale = this.leastScale();
    this.view.top = -MARGIN / this.view.scale;
    this.move(0, 0);
  }

  zoom(by, y = TOP + (this.size.height - TOP) / 2) {
    const { view } = this;
    const place = view.top + (y - TOP) / view.scale;
    const most = view.even ? MOST.even : MOST.time;
    const least = Math.min(this.leastScale(), most);
    view.scale = Math.max(least, Math.min(most, view.scale * by));
    view.top = place - (y - TOP) / view.scale;
    this.move(0, 0);
  }

  // Pans by pixels, and keeps the history in sight.
  move(dx, dy) {
    const { view, size } = this;
    view.laneWidth = Math.max(MIN_LANE, (size.width - GUTTER) / Math.max(view.lanes, 1));
    const widest = Math.max(0, GUTTER + view.lanes * view.laneWidth - size.width);
    view.scrolled = Math.max(0, Math.min(widest, view.scrolled + dx));
    const least = -MARGIN / view.scale;
    const most = this.length() - (size.height - TOP - MARGIN) / view.scale;
    view.top = Math.max(least, Math.min(Math.max(least, most), view.top + dy / view.scale));
    this.redraw();
  }

  redraw() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.picture().draw();
    });
  }

  picture() {
    return new Picture(this.context, this.colours, this.size, this.model, this.view);
  }

  toFailure() {
    const { model, view } = this;
    if (model.failure === null) return;
    const place = failurePlace(model, view);
    const before = view.places[Math.max(0, model.failureIndex - 60)];
    const height = this.size.height - TOP;
    view.scale = view.even ? ROW : Math.max(this.leastScale(), Math.min(1, (height * 0.7) / Math.max(place - before, 1)));
    view.top = place - (height * 0.75) / view.scale;
    if (model.failureIndex > 0) this.select(model.failureIndex - 1);
    this.move(0, 0);
  }

  // Goes to the next (+1) or previous (-1) event that is shown.
  step(by) {
    const { model, view } = this;
    const start = view.selected >= 0 ? view.selected + by : firstFrom(view.places, view.top);
    for (let index = start; index >= 0 && index < model.events.length; index += by) {
      if (view.shown[index]) return this.goTo(index);
    }
    return undefined;
  }

  goTo(index) {
    const { view, size } = this;
    const y = (view.places[index] - view.top) * view.scale;
    if (y < 20 || y > size.height - TOP - 20) view.top = view.places[index] - size.height / 2 / view.scale;
    const x = view.laneOf[this.model.events[index].host] * view.laneWidth - view.scrolled;
    if (x < 0 || x > size.width - GUTTER - MIN_LANE) view.scrolled += x;
    this.select(index);
    this.move(0, 0);
  }

  select(index) {
    this.view.selected = index;
    this.showEvent(index);
    this.redraw();
  }

  showEvent(index) {
    const panel = byId("event");
    panel.replaceChildren();
    if (index < 0) return;
    const { model } = this;
    const event = model.events[index];
    const list = document.createElement("dl");
    const facts = { Event: event.number, Time: formatTime(event.at), Host: model.hosts[event.host] || "(world)", Kind: event.kind };
    for (const [name, value] of Object.entries(facts)) {
      const row = document.createElement("div");
      const term = document.createElement("dt");
      const detail = document.createElement("dd");
      term.textContent = name;
      detail.textContent = String(value);
      row.append(term, detail);
      list.append(row);
    }
    const text = document.createElement("pre");
    text.textContent = event.text;
    panel.append(list, text);
    const cause = model.causeOf(event);
    if (cause !== undefined) panel.append(this.linkTo(cause, "cause"));
    for (const { from, to } of [...model.messages, ...model.operations]) {
      if (from === index && to < model.events.length) panel.append(this.linkTo(to, model.events[to].kind));
    }
  }

  linkTo(index, word) {
    const { number, at, host } = this.model.events[index];
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = `${word} #${number} ${this.model.hosts[host]} ${formatTime(at)}`;
    button.addEventListener("click", () => this.goTo(index));
    return button;
  }

  listen() {
    const { canvas } = this;
    new ResizeObserver(() => this.measure()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.readColours();
      this.redraw();
    });
    canvas.addEventListener("wheel", (wheel) => {
      wheel.preventDefault();
      if (wheel.shiftKey || Math.abs(wheel.deltaX) > Math.abs(wheel.deltaY)) this.move(wheel.deltaX || wheel.deltaY, 0);
      else this.zoom(Math.exp(-Math.max(-200, Math.min(200, wheel.deltaY)) / 300), wheel.offsetY);
    }, { passive: false });
    this.listenToPointer();
    canvas.addEventListener("keydown", (key) => {
      if (key.ctrlKey || key.metaKey || key.altKey) return;
      const action = this.keys()[key.key];
      if (action === undefined) return;
      key.preventDefault();
      action();
    });
    const clicks = {
      nearer: () => this.zoom(ZOOM), farther: () => this.zoom(1 / ZOOM), whole: () => this.showWhole(),
      axis: () => this.setEven(!this.view.even), "to-failure": () => this.toFailure(), copy: () => copyReplay(),
    };
    for (const [id, action] of Object.entries(clicks)) byId(id).addEventListener("click", action);
    byId("to-failure").disabled = this.model.failure === null;
    byId("text").addEventListener("input", () => this.filterText());
    byId("pattern").addEventListener("change", () => this.filterText());
  }

  keys() {
    return {
      ArrowUp: () => this.move(0, -STEP), ArrowDown: () => this.move(0, STEP),
      ArrowLeft: () => this.move(-STEP, 0), ArrowRight: () => this.move(STEP, 0),
      PageUp: () => this.move(0, -this.size.height * 0.8), PageDown: () => this.move(0, this.size.height * 0.8),
      Home: () => this.move(0, -1e15), End: () => this.move(0, 1e15),
      "+": () => this.zoom(ZOOM), "=": () => this.zoom(ZOOM), "-": () => this.zoom(1 / ZOOM),
      0: () => this.showWhole(), f: () => this.toFailure(), t: () => this.setEven(!this.view.even),
      n: () => this.step(1), p: () => this.step(-1), "/": () => byId("text").focus(),
      Escape: () => this.select(-1),
    };
  }

  // A press that does not move is a click.
  listenToPointer() {
    const { canvas } = this;
    let held = null;
    canvas.addEventListener("pointerdown", (pointer) => {
      canvas.setPointerCapture(pointer.pointerId);
      held = { x: pointer.offsetX, y: pointer.offsetY, moved: 0 };
    });
    canvas.addEventListener("pointermove", (pointer) => {
      if (held === null) return;
      const [dx, dy] = [held.x - pointer.offsetX, held.y - pointer.offsetY];
      held = { x: pointer.offsetX, y: pointer.offsetY, moved: held.moved + Math.abs(dx) + Math.abs(dy) };
      this.move(dx, dy);
    });
    canvas.addEventListener("pointerup", (pointer) => {
      if (held !== null && held.moved < 5) this.select(this.picture().eventAt(pointer.offsetX, pointer.offsetY));
      held = null;
    });
    canvas.addEventListener("pointercancel", () => {
      held = null;
    });
  }
}

// A page from disk may not be allowed to use the clipboard; a selection can always be copied.
function copyReplay() {
  byId("replay").select();
  if (!document.execCommand("copy") && navigator.clipboard) navigator.clipboard.writeText(byId("replay").value);
}

new Page();
