// The history as the page sees it: what belongs together, what is shown, where it lies.
// Knows no document; events are meant by their index, and the index past the last is the end.

function buildModel(data) {
  const events = data.events
    .map(([number, at, host, kind, text, cause]) => ({
      number, at, host, kind: data.kinds[kind], text, cause,
    }))
    .sort((one, other) => one.at - other.at || one.number - other.number);
  const byNumber = new Map(events.map((event, index) => [event.number, index]));
  const causeOf = (event) => (event.cause === null ? undefined : byNumber.get(event.cause));
  return {
    hosts: data.hosts,
    kinds: data.kinds,
    events,
    end: Math.max(data.end, events.length ? events[events.length - 1].at : 0),
    failure: data.failure,
    failureIndex: data.failure === null ? -1 : indexAfter(events, data.failure.at),
    causeOf,
    byNumber,
    messages: findMessages(events, data.hosts, causeOf),
    operations: findOperations(events, causeOf),
    bands: findBands(events, data.hosts, causeOf),
  };
}

function indexAfter(events, at) {
  let low = 0;
  let high = events.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (events[middle].at > at) high = middle; else low = middle + 1;
  }
  return low;
}

// Lanes whose names stand in the text as words of their own; lane 0 is the world's.
function hostsNamed(text, hosts) {
  const words = new Set(text.split(/[^\p{L}\p{N}_.-]+/u).map((word) => word.replace(/\.+$/, "")));
  const lanes = [];
  for (let lane = 1; lane < hosts.length; lane += 1) if (words.has(hosts[lane])) lanes.push(lane);
  return lanes;
}

// The lane that a message was for. Of "udp SOURCE > DESTINATION ..." it is the owner of that
// address, known if it ever sent anything itself; of other texts, the first other host named.
function targetFinder(events, hosts) {
  const way = /^\S+ (\S+):\d+ > (\S+):\d+(?= |$)/;
  const owners = new Map();
  for (const event of events) {
    const found = event.kind === "send" ? way.exec(event.text) : null;
    if (found !== null) owners.set(found[1], event.host);
  }
  return ({ host, text }) => {
    const found = way.exec(text);
    if (found !== null) return owners.get(found[2]) ?? host;
    return hostsNamed(text, hosts).find((lane) => lane !== host) ?? host;
  };
}

// One for each copy that arrived or was lost. A loss may be noted where the message was sent.
function findMessages(events, hosts, causeOf) {
  const targetOf = targetFinder(events, hosts);
  const messages = [];
  events.forEach((event, to) => {
    const lost = event.kind === "drop";
    const from = causeOf(event);
    if (from === undefined || !(lost || event.kind === "arrive")) return;
    const source = events[from].host;
    const target = lost && event.host === source ? targetOf(events[from]) : event.host;
    messages.push({ from, to, source, target, lost });
  });
  return messages;
}

// Operations that one host has under way at once stand side by side.
function findOperations(events, causeOf) {
  const returned = new Map();
  events.forEach((event, index) => {
    if (event.kind === "return" && causeOf(event) !== undefined) returned.set(causeOf(event), index);
  });
  const busy = new Map();
  const operations = [];
  events.forEach((event, from) => {
    if (event.kind !== "invoke") return;
    const to = returned.get(from) ?? events.length;
    const columns = busy.get(event.host) ?? [];
    let column = columns.findIndex((until) => until <= from);
    if (column < 0) column = columns.length;
    columns[column] = to;
    busy.set(event.host, columns);
    operations.push({ from, to, lane: event.host, column, open: to === events.length });
  });
  return operations;
}

// A fault lasts until the heal that names it as its cause, or whose text is the same; a host is
// down from a crash or stop to its start, and held from a pause to its resume.
function findBands(events, hosts, causeOf) {
  const bands = [];
  const faults = new Map();
  const down = new Map();
  const held = new Map();
  const end = events.length;
  const close = (open, key, index) => {
    const band = open.get(key);
    if (band !== undefined) band.to = index;
    open.delete(key);
  };
  const open = (where, key, from, kind, lanes) => {
    if (where.has(key)) return;
    const band = { from, to: end, kind, lanes };
    where.set(key, band);
    bands.push(band);
  };
  events.forEach((event, index) => {
    if (event.kind === "fault") {
      const named = hostsNamed(event.text, hosts);
      if (event.host !== 0) named.push(event.host);
      const lanes = named.length ? [...new Set(named)] : hosts.map((_, lane) => lane);
      open(faults, `${event.host} ${event.text}`, index, "fault", lanes);
    } else if (event.kind === "heal") {
      const fault = events[causeOf(event)] ?? event;
      close(faults, `${fault.host} ${fault.text}`, index);
    } else if (event.kind === "crash" || event.kind === "stop") {
      open(down, event.host, index, event.kind === "crash" ? "down" : "pause", [event.host]);
      close(held, event.host, index);
    } else if (event.kind === "start") {
      close(down, event.host, index);
    } else if (event.kind === "pause") {
      open(held, event.host, index, "pause", [event.host]);
    } else if (event.kind === "resume") {
      close(held, event.host, index);
    }
  });
  return bands;
}

// Plain text is found in any case. Throws SyntaxError for a bad regular expression.
function textFilter(text, isPattern) {
  if (text === "") return () => true;
  if (isPattern) {
    const pattern = new RegExp(text, "i");
    return (event) => pattern.test(event.text);
  }
  const wanted = text.toLowerCase();
  return (event) => event.text.toLowerCase().includes(wanted);
}

// 1 for each event that is shown; of a message or an operation, both ends are or none.
function chooseEvents(model, isHostShown, isKindShown, isTextShown) {
  const found = Uint8Array.from(model.events, (event) => (isTextShown(event) ? 1 : 0));
  const ends = Uint8Array.from(found);
  for (const { from, to } of [...model.messages, ...model.operations]) {
    if (to >= found.length || !(found[from] || found[to])) continue;
    ends[from] = 1;
    ends[to] = 1;
  }
  return ends.map((is, index) => {
    const event = model.events[index];
    return is && isHostShown(event.host) && isKindShown(event.kind) ? 1 : 0;
  });
}

// Where each event lies: at its time, or (even) on its row among those that are shown.
function placeEvents(model, shown, even) {
  const places = new Float64Array(model.events.length + 1);
  let row = 0;
  model.events.forEach((event, index) => {
    places[index] = even ? row : event.at;
    row += shown[index];
  });
  places[model.events.length] = even ? row : model.end;
  return places;
}

// The first index whose place is not below the given one; places never fall.
function firstFrom(places, place) {
  let low = 0;
  let high = places.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (places[middle] < place) low = middle + 1; else high = middle;
  }
  return low;
}

function formatTime(micros, decimals = 6) {
  return `${(micros / 1e6).toFixed(decimals)} s`;
}
