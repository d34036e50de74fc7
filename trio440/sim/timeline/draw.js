// One picture of the model. Everything that is off the screen, or would be drawn twice in the
// same pixels, is passed over, so that a frame costs what can be seen and not what there is.

const GUTTER = 96; // pixels for the times, at the left
const TOP = 26; // pixels for the hosts' names
const LINE = 30; // from the left edge of a lane to its line
const MIN_LANE = 130;
const BIN = 3; // events nearer than this on one lane are drawn as one bar
const TEXT_GAP = 12; // between texts of one lane
const LETTER = 6.3; // the widest that a letter of the texts' font may be counted
const CROWD = 1500; // so many messages on the screen are lines without heads
const MARGIN = 12; // above the first event and below the last

const SPAN = /\d+\.\d+ s to \d+\.\d+ s: /; // of a fault: its band shows it

const COLOURS = {
  send: "message", arrive: "message", drop: "lost", open: "faint", close: "faint", disk: "disk",
  fault: "fault", heal: "good", invoke: "operation", return: "operation", state: "state",
  note: "ink", start: "good", stop: "pause", crash: "bad", pause: "pause", resume: "good",
};
const IMPORTANT = ["crash", "fault", "heal", "state", "start", "stop", "pause", "resume"];

function kindColour(kind) {
  return COLOURS[kind] ?? "ink";
}

// How much a kind stands out among others in the same pixels; 0 is the least.
function kindWeight(kind) {
  const place = IMPORTANT.indexOf(kind);
  return place < 0 ? 0 : IMPORTANT.length - place;
}

class Picture {
  constructor(context, colours, size, model, view) {
    Object.assign(this, { context, colours, size, model, view });
    this.first = firstFrom(view.places, this.placeAt(TOP - 20));
    this.last = Math.min(firstFrom(view.places, this.placeAt(size.height + 20)), model.events.length);
  }

  placeAt(y) {
    return this.view.top + (y - TOP) / this.view.scale;
  }

  y(place) {
    const y = TOP + (place - this.view.top) * this.view.scale;
    return Math.max(-9999, Math.min(19999, y));
  }

  yOf(index) {
    return this.y(this.view.places[index]);
  }

  left(host) {
    return GUTTER + this.view.laneOf[host] * this.view.laneWidth - this.view.scrolled;
  }

  x(host) {
    return this.left(host) + LINE;
  }

  isShown(host) {
    return this.view.laneOf[host] >= 0;
  }

  draw() {
    const { context, colours, size } = this;
    context.font = "11px ui-monospace, monospace";
    context.textBaseline = "middle";
    context.fillStyle = colours.back;
    context.fillRect(0, 0, size.width, size.height);
    context.save();
    context.beginPath();
    context.rect(GUTTER, TOP, size.width - GUTTER, size.height - TOP);
    context.clip();
    this.drawBands();
    this.drawLanes();
    this.drawMessages();
    this.drawOperations();
    this.drawEvents();
    this.drawSelection();
    context.restore();
    this.drawTimes();
    this.drawFailure();
    this.drawNames();
  }

  drawBands() {
    const { context, colours, view } = this;
    for (const band of this.model.bands) {
      const above = this.yOf(band.from);
      const height = Math.max(this.yOf(band.to) - above, 1);
      if (above > this.size.height || above + height < TOP) continue;
      context.fillStyle = colours[band.kind];
      for (const host of band.lanes) {
        if (!this.isShown(host)) continue;
        context.globalAlpha = band.kind === "fault" ? 0.13 : 0.22;
        context.fillRect(this.left(host) + 4, above, view.laneWidth - 8, height);
        context.globalAlpha = 0.8;
        context.fillRect(this.left(host) + 4, above, 3, height);
      }
    }
    context.globalAlpha = 1;
  }

  drawLanes() {
    const { context, colours } = this;
    context.fillStyle = colours.line;
    this.model.hosts.forEach((_, host) => {
      if (this.isShown(host)) context.fillRect(this.x(host), TOP, 1, this.size.height);
    });
  }

  messageEnds(message) {
    const { source, target, lost } = message;
    const from = this.x(source);
    const whole = target === source ? LINE : this.x(target) - from;
    return [from, this.yOf(message.from), from + whole * (lost ? 0.6 : 1), this.yOf(message.to)];
  }

  isMessageShown(message) {
    return this.view.shown[message.from] && this.view.shown[message.to]
      && this.isShown(message.source) && this.isShown(message.target);
  }

  drawMessages() {
    const drawn = new Set();
    const lines = { message: [], lost: [] };
    for (const message of this.model.messages) {
      if (message.to < this.first || message.from >= this.last) continue;
      if (!this.isMessageShown(message)) continue;
      const ends = this.messageEnds(message);
      const bins = [ends[1], ends[3]].map((y) => Math.max(0, Math.min(8191, Math.round(y / BIN) + 9)));
      const pair = (message.source * this.model.hosts.length + message.target) * 2 + message.lost;
      const key = (pair * 8192 + bins[0]) * 8192 + bins[1];
      if (drawn.has(key)) continue;
      drawn.add(key);
      lines[message.lost ? "lost" : "message"].push(ends);
    }
    const crowd = drawn.size;
    this.context.globalAlpha = Math.max(0.2, Math.min(0.9, 600 / crowd));
    this.strokeMessages(lines.message, "message", crowd < CROWD ? drawHead : null);
    this.strokeMessages(lines.lost, "lost", crowd < CROWD ? drawCross : null);
    this.context.globalAlpha = 1;
  }

  strokeMessages(lines, colour, drawEnd) {
    const { context } = this;
    context.strokeStyle = this.colours[colour];
    context.lineWidth = 1.2;
    context.beginPath();
    for (const [x1, y1, x2, y2] of lines) {
      context.moveTo(x1, y1);
      context.lineTo(x2, y2);
      if (drawEnd !== null) drawEnd(context, x1, y1, x2, y2);
    }
    context.stroke();
  }

  operationBox({ from, to, lane, column }) {
    const above = this.yOf(from);
    return [this.x(lane) - 9 - 6 * (column % 4), above, 5, Math.max(this.yOf(to) - above, 2)];
  }

  drawOperations() {
    const { context, colours, view } = this;
    for (const operation of this.model.operations) {
      if (operation.to < this.first || operation.from >= this.last) continue;
      if (!view.shown[operation.from] || !this.isShown(operation.lane)) continue;
      context.fillStyle = colours.operation;
      context.globalAlpha = operation.open ? 0.3 : 0.75;
      context.fillRect(...this.operationBox(operation));
    }
    context.globalAlpha = 1;
  }

  // Neighbours within one bin are one mark; a mark is drawn when its lane's next one is known.
  drawEvents() {
    const marks = new Map();
    const textAt = new Map();
    for (let index = this.first; index < this.last; index += 1) {
      if (!this.view.shown[index]) continue;
      const event = this.model.events[index];
      const y = this.yOf(index);
      const mark = marks.get(event.host);
      const bin = Math.floor(y / BIN);
      if (mark !== undefined && mark.bin === bin) {
        mark.count += 1;
        if (kindWeight(event.kind) > kindWeight(mark.event.kind)) mark.event = event;
        continue;
      }
      if (mark !== undefined) this.drawMark(mark, y, textAt);
      const before = mark === undefined ? Infinity : y - mark.y;
      marks.set(event.host, { bin, y, event, count: 1, before });
    }
    for (const mark of marks.values()) this.drawMark(mark, Infinity, textAt);
  }

  drawMark({ y, event, count, before }, nextY, textAt) {
    const { context } = this;
    const weighty = kindWeight(event.kind) > 0;
    const x = this.x(event.host);
    context.fillStyle = this.colours[kindColour(event.kind)];
    context.beginPath();
    if (count > 1) {
      context.rect(x - 2, y - 1, 6 + 4 * Math.log2(count), BIN - 0.5);
    } else if (weighty) {
      context.rect(x - 4, y - 4, 9, 9);
    } else {
      context.arc(x + 0.5, y, 3, 0, 7);
    }
    context.fill();
    const free = y - (textAt.get(event.host) ?? -Infinity) >= TEXT_GAP;
    const alone = before >= TEXT_GAP && nextY - y >= TEXT_GAP;
    if (!free || !(weighty || alone)) return;
    textAt.set(event.host, y);
    const more = count > 1 ? ` (${count} events)` : "";
    context.fillStyle = this.colours.ink;
    const right = this.left(event.host) + this.view.laneWidth;
    this.drawText(`${event.kind} ${event.text.replace(SPAN, "")}${more}`, x + 10 + 4 * Math.log2(count), y, right);
  }

  drawText(text, x, y, right) {
    const { context } = this;
    const letters = Math.max(0, Math.floor((right - x) / LETTER));
    const fits = text.length <= letters ? text : `${text.slice(0, Math.max(0, letters - 1))}\u2026`;
    context.strokeStyle = this.colours.back;
    context.lineWidth = 3;
    context.strokeText(fits, x, y);
    context.fillText(fits, x, y);
  }

  drawSelection() {
    const { context, colours, model, view } = this;
    const { selected } = view;
    if (selected < 0 || !this.isShown(model.events[selected].host)) return;
    context.strokeStyle = colours.operation;
    context.lineWidth = 2.5;
    context.beginPath();
    for (const message of model.messages) {
      if (message.from !== selected && message.to !== selected) continue;
      if (!this.isShown(message.source) || !this.isShown(message.target)) continue;
      const [x1, y1, x2, y2] = this.messageEnds(message);
      context.moveTo(x1, y1);
      context.lineTo(x2, y2);
    }
    context.stroke();
    context.beginPath();
    context.arc(this.x(model.events[selected].host) + 0.5, this.yOf(selected), 7, 0, 7);
    context.stroke();
  }

  drawTimes() {
    const { context, colours, size, view, model } = this;
    context.fillStyle = colours.back;
    context.fillRect(0, TOP, GUTTER - 4, size.height);
    context.fillStyle = colours.faint;
    if (view.even) {
      let before = -Infinity;
      for (let index = this.first; index < this.last; index += 1) {
        const y = this.yOf(index);
        if (!view.shown[index] || y - before < 24) continue;
        before = y;
        context.fillText(formatTime(model.events[index].at), 6, y);
      }
      return;
    }
    const step = niceStep(60 / view.scale);
    const decimals = Math.max(0, Math.min(6, 6 - Math.floor(Math.log10(step) + 1e-9)));
    const start = Math.ceil(this.placeAt(TOP) / step) * step;
    for (let at = start; this.y(at) <= size.height; at += step) {
      context.fillStyle = colours.faint;
      context.fillText(formatTime(at, decimals), 6, this.y(at));
      context.fillStyle = colours.line;
      context.fillRect(GUTTER - 8, this.y(at), size.width, 0.5);
    }
  }

  drawFailure() {
    const { context, colours, size, model } = this;
    if (model.failure === null) return;
    const y = this.y(failurePlace(model, this.view));
    if (y < TOP || y > size.height) return;
    context.fillStyle = colours.bad;
    context.fillRect(0, y - 1, size.width, 2);
    context.font = "bold 12px system-ui, sans-serif";
    const beside = y > size.height - 20 ? -10 : 11;
    this.drawText(`FAILURE ${model.failure.text}`, GUTTER + 6, y + beside, size.width);
  }

  drawNames() {
    const { context, colours, size, model, view } = this;
    context.fillStyle = colours.panel;
    context.fillRect(0, 0, size.width, TOP);
    context.font = "bold 12px system-ui, sans-serif";
    context.fillStyle = colours.ink;
    const letters = Math.max(3, Math.floor(view.laneWidth / 7.5));
    model.hosts.forEach((name, host) => {
      if (!this.isShown(host)) return;
      context.fillText((name || "(world)").slice(0, letters), this.left(host) + 8, TOP / 2);
    });
    context.fillStyle = colours.panel;
    context.fillRect(0, 0, GUTTER - 4, TOP);
    context.fillStyle = colours.faint;
    context.fillText("time", 6, TOP / 2);
  }

  // The event that is meant by a point: the nearest mark, else a message, else a bar.
  eventAt(x, y) {
    let best = -1;
    let distance = 10;
    for (let index = this.first; index < this.last; index += 1) {
      if (!this.view.shown[index]) continue;
      const away = Math.abs(this.yOf(index) - y);
      const { host } = this.model.events[index];
      const inside = x >= this.x(host) - 6 && x < this.left(host) + this.view.laneWidth;
      const apart = away + (Math.abs(this.x(host) - x) <= 8 ? 0 : 4);
      if (!inside || apart >= distance) continue;
      best = index;
      distance = apart;
    }
    if (best >= 0 && distance < 4) return best;
    for (const message of this.model.messages) {
      if (message.to < this.first || message.from >= this.last) continue;
      if (!this.isMessageShown(message)) continue;
      if (distanceToLine(x, y, ...this.messageEnds(message)) < 4) return message.from;
    }
    if (best >= 0) return best;
    for (const operation of this.model.operations) {
      if (!this.view.shown[operation.from] || !this.isShown(operation.lane)) continue;
      const [left, above, width, height] = this.operationBox(operation);
      if (x >= left - 2 && x <= left + width + 2 && y >= above && y <= above + height) return operation.from;
    }
    return -1;
  }
}

function failurePlace(model, view) {
  return view.even ? view.places[model.failureIndex] - 0.5 : model.failure.at;
}

function drawHead(context, x1, y1, x2, y2) {
  const length = Math.hypot(x2 - x1, y2 - y1);
  if (length < 14) return;
  const along = [((x2 - x1) / length) * 7, ((y2 - y1) / length) * 7];
  context.moveTo(x2 - along[0] - along[1] / 2, y2 - along[1] + along[0] / 2);
  context.lineTo(x2, y2);
  context.lineTo(x2 - along[0] + along[1] / 2, y2 - along[1] - along[0] / 2);
}

function drawCross(context, _x1, _y1, x2, y2) {
  context.moveTo(x2 - 4, y2 - 4);
  context.lineTo(x2 + 4, y2 + 4);
  context.moveTo(x2 - 4, y2 + 4);
  context.lineTo(x2 + 4, y2 - 4);
}

function distanceToLine(x, y, x1, y1, x2, y2) {
  const [dx, dy] = [x2 - x1, y2 - y1];
  const along = ((x - x1) * dx + (y - y1) * dy) / (dx * dx + dy * dy || 1);
  const share = Math.max(0, Math.min(1, along));
  return Math.hypot(x - x1 - share * dx, y - y1 - share * dy);
}

// The least of 1, 2 and 5 times a power of ten that is not below; at least one microsecond.
function niceStep(least) {
  const power = 10 ** Math.floor(Math.log10(Math.max(least, 1)));
  return [1, 2, 5, 10].map((times) => times * power).find((step) => step >= least) ?? 10 * power;
}
