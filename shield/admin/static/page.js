// The page of the admin listener: live figures of one node, and the orders people give most at night.
// No library and no build: texts go into the page by textContent alone, so nothing from a request can become markup.
"use strict";

const SAMPLES = 300; // seconds that the charts show
const WORDS = ["hit", "stale", "collapsed", "revalidated", "miss", "bypass", "refused", "error"];
const COLOURS = ["#3f9d5a", "#8a9a2f", "#3aa6a6", "#4f7fd1", "#d98a2b", "#9a6fc4", "#8b93a1", "#d1453b"];
const GOOD_STATES = { up: "good", recovering: "doubt", trial: "doubt", suspect: "doubt" };
const TOP_COLUMNS = ["key", "route", "client", "origin", "requests", "hits", "sent_bytes", "missed_bytes", "money"];
const EVENTS_EVERY = 5; // snapshots between two readings of alarms and top keys

const byId = (id) => document.getElementById(id);
const samples = []; // of the last minutes: {at, seconds, words, sent, ...}, each over the time since the one before
let before = null; // the snapshot before
let count = 0; // snapshots
let token = sessionStorage.getItem("shield-token");

// requests to the node

async function call(path, wish) {
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  const options = { headers, cache: "no-store" };
  if (wish !== undefined) {
    options.method = "POST";
    options.body = JSON.stringify(wish);
    headers["content-type"] = "application/json";
  }
  const answer = await fetch(path, options);
  if (answer.status === 401) {
    await askForToken();
    return call(path, wish);
  }
  return answer;
}

let asking = null;
function askForToken() {
  // One dialog for all requests that are waiting.
  asking ??= new Promise((resolve) => {
    const dialog = byId("sign-in");
    byId("token").value = "";
    dialog.addEventListener("close", () => {
      token = byId("token").value.trim();
      sessionStorage.setItem("shield-token", token);
      asking = null;
      resolve();
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}

async function problemOf(answer) {
  const said = await answer.json().catch(() => ({}));
  const problems = said.problems ?? said.errors;
  const texts = Array.isArray(problems) ? problems.map((each) => (typeof each === "string" ? each : JSON.stringify(each))) : [];
  return [said.detail ?? said.error ?? said.title ?? `the node answers ${answer.status}`, ...texts].join("\n");
}

function notify(text, bad = false) {
  const notice = byId("notice");
  notice.textContent = text;
  notice.hidden = !text;
  notice.className = bad ? "bad" : "";
}

function isSure(text) {
  const dialog = byId("sure");
  byId("sure-text").textContent = text;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

async function order(path, wish, done) {
  try {
    const answer = await call(path, wish);
    if (!answer.ok) {
      notify(await problemOf(answer), true);
      return;
    }
    notify(done(await answer.json()));
  } catch (error) {
    notify(`the node doesn't answer: ${error.message}`, true);
  }
}

// the stream

async function follow() {
  for (;;) {
    try {
      const answer = await call("events");
      if (!answer.ok) throw new Error(await problemOf(answer));
      badge("stream", "live", "good");
      byId("sign-out").hidden = !token;
      await readEvents(answer.body.getReader());
      throw new Error("the stream ended");
    } catch (error) {
      badge("stream", "not live", "bad");
      byId("stream").title = error.message;
      before = null;
    }
    await new Promise((resolve) => setTimeout(resolve, 2000));
  }
}

async function readEvents(reader) {
  // Server-sent events by fetch, since EventSource can't send a token.
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (rest + decoder.decode(value, { stream: true })).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const data = block.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5)).join("\n");
      if (data) show(JSON.parse(data));
    }
  }
}

// what it shows

function show(snapshot) {
  const state = snapshot.state;
  byId("node").textContent = state.node;
  document.title = `${state.node} · Shield`;
  badge("ready", state.ready ? "ready" : "not ready", state.ready ? "good" : "bad");
  byId("about").textContent =
    `version ${state.version}, ${state.workers_up} worker${state.workers_up === 1 ? "" : "s"}, up ${span(state.uptime_seconds)}, ` +
    `settings of generation ${state.configuration.generation}` +
    (state.configuration.is_latest ? "" : " (a reload was refused)") +
    (state.configuration.waiting.length ? ` (waiting for a restart: ${state.configuration.waiting.join(", ")})` : "");
  const sample = before && sampleOf(before, snapshot);
  if (sample) {
    samples.push(sample);
    samples.splice(0, samples.length - SAMPLES);
  }
  before = snapshot;
  showTiles(snapshot);
  drawRequests();
  drawRatio();
  showOrigins(state, sample);
  showTiers(state, sample);
  showFills(state.fills);
  if (count++ % EVENTS_EVERY === 0) {
    showTop();
    showEvents();
  }
}

function sampleOf(old, fresh) {
  const seconds = fresh.at - old.at;
  // Counters start anew with a worker: then there is no rate for once.
  const rate = (now, then) => Math.max(0, (now - (then ?? 0)) / seconds);
  if (seconds <= 0 || fresh.state.workers_up !== old.state.workers_up) return null;
  const words = {};
  for (const [word, number] of Object.entries(wordsOf(fresh.state))) words[word] = rate(number, wordsOf(old.state)[word]);
  const origins = {};
  for (const [name, origin] of Object.entries(fresh.state.origins)) {
    origins[name] = rate(origin.fetches, old.state.origins[name]?.fetches);
  }
  const tiers = {};
  const oldTiers = Object.fromEntries((old.state.disk?.tiers ?? []).map((tier) => [tier.name, tier]));
  for (const tier of fresh.state.disk?.tiers ?? []) tiers[tier.name] = rate(tier.hits, oldTiers[tier.name]?.hits);
  return { at: fresh.at, words, origins, tiers, sent: rate(fresh.state.sent_bytes, old.state.sent_bytes) };
}

function wordsOf(state) {
  const { plain_hit: plain, hit, ...others } = state.requests;
  return { hit: (plain ?? 0) + (hit ?? 0), ...others };
}

function showTiles(snapshot) {
  const recent = samples.slice(-10);
  const mean = (value) => recent.reduce((sum, sample) => sum + value(sample), 0) / (recent.length || 1);
  const all = mean((sample) => total(sample.words));
  const fetched = mean((sample) => total(sample.origins));
  const state = snapshot.state;
  const tiles = [
    ["requests/s", figure(all)],
    ["hit ratio", all ? `${(100 * mean((sample) => hits(sample.words)) / all).toFixed(1)} %` : "–"],
    ["to clients", `${bytes(mean((sample) => sample.sent))}/s`],
    ["origin fetches/s", figure(fetched)],
    ["fills in progress", figure(state.fills.in_flight)],
    ["clients connected", figure(state.connections)],
    ["first byte p99, hits", quantileOf(snapshot, "hit")],
    ["first byte p99, misses", quantileOf(snapshot, "miss")],
    ["errors/s", figure(mean((sample) => sample.words.error ?? 0))],
    ["loop lag", `${(1000 * state.loop_lag_seconds).toFixed(0)} ms`],
  ];
  fill(byId("tiles"), tiles.filter(([, value]) => value !== null).map(([name, value]) => {
    const tile = make("div", "", "tile");
    tile.append(make("b", value), make("span", name));
    return tile;
  }));
}

function quantileOf(snapshot, cache) {
  // The 99th percentile over the time since the start, from the bounds of the histogram; null where there is none.
  const rows = (snapshot.families.request_first_byte_seconds ?? []).filter((row) => row.cache === cache && row.le !== "sum");
  const sums = new Map();
  for (const row of rows) {
    const bound = row.le === "+Inf" ? Infinity : Number(row.le);
    sums.set(bound, (sums.get(bound) ?? 0) + row.value);
  }
  const bounds = [...sums.entries()].sort((a, b) => a[0] - b[0]);
  const most = bounds.at(-1)?.[1] ?? 0;
  if (!most) return null;
  const found = bounds.find(([, value]) => value >= 0.99 * most)[0];
  return found === Infinity ? "long" : `${(1000 * found).toFixed(found < 0.01 ? 1 : 0)} ms`;
}

function showOrigins(state, sample) {
  const all = sample ? total(sample.origins) : 0;
  const rows = Object.entries(state.origins).map(([name, origin]) => {
    const health = origin.health;
    const rate = sample?.origins[name] ?? 0;
    const drained = health.flags.includes("drained"); // drained_until is null without an end
    const states = make("td");
    states.append(badgeOf(health.state, GOOD_STATES[health.state] ?? "bad"));
    for (const flag of health.flags) states.append(" ", badgeOf(flag, "doubt"));
    const acts = make("td");
    acts.append(
      act(drained ? "Restore" : "Drain", async () => {
        const path = `origins/${encodeURIComponent(name)}/${drained ? "restore" : "drain"}`;
        const text = `Drain ${name}? It gets no more fetches while another origin can serve.`;
        if (drained || (await isSure(text))) {
          await order(path, {}, (said) => [`${name} is ${drained ? "restored" : "drained"}`, ...(said.notes ?? [])].join("; "));
        }
      }),
      " ",
      act("Probe", () =>
        order(`origins/${encodeURIComponent(name)}/probe`, {}, (said) =>
          `${name}: ${said.probes.map((probe) => `${probe.path} ${probe.result}`).join(", ")}`)),
    );
    return row([
      name, states, all ? `${(100 * rate / all).toFixed(0)} %` : "–", figure(rate),
      health.p95_seconds === null ? "–" : `${(1000 * health.p95_seconds).toFixed(0)} ms`,
      `${origin.gate.in_flight} of ${origin.gate.limit}`, figure(origin.gate.waiting), figure(total(origin.faults)),
      state.replication[name]?.behind_seconds ? span(state.replication[name].behind_seconds) : "–",
      make("td", health.reason, "text"), acts,
    ]);
  });
  fillRows("origins", rows);
}

function showTiers(state, sample) {
  const rows = [row(["RAM", figure(state.memory.entries), used(state.memory.used_bytes, state.memory.capacity_bytes), "", ""])];
  for (const tier of state.disk?.tiers ?? []) {
    for (const volume of tier.volumes) {
      const directory = volume.directory;
      const health = make("td");
      health.append(badgeOf(volume.health, volume.health === "well" ? "good" : "bad"), ` ${volume.reason}`);
      rows.push(row([
        `${tier.name} ${volume.path}`,
        directory ? figure(directory.entries) : "–",
        directory ? used(directory.segment_bytes, directory.capacity_bytes) : "–",
        figure(sample?.tiers[tier.name] ?? 0), health,
      ]));
    }
  }
  fillRows("tiers", rows);
}

function showFills(fills) {
  const facts = [
    ["in progress", figure(fills.in_flight)],
    ["started", figure(fills.started)],
    ["requests that joined", figure(fills.collapsed)],
    ["broken off", figure(fills.broken)],
    ["continued elsewhere", figure(total(fills.continued))],
    ["memory", used(fills.memory_used_bytes, fills.memory_capacity_bytes)],
  ];
  fill(byId("fills"), facts.flatMap(([name, value]) => {
    const cell = make("dd");
    cell.append(value);
    return [make("dt", name), cell];
  }));
}

async function showTop() {
  const query = new URLSearchParams({ of: byId("top-of").value, by: byId("top-by").value, n: "12" });
  try {
    const answer = await call(`top?${query}`);
    byId("top-section").hidden = [403, 404].includes(answer.status); // it takes the role operate
    if (!answer.ok) return;
    const { rows } = await answer.json();
    const names = rows.length ? TOP_COLUMNS.filter((name) => name in rows[0]) : ["nothing yet"];
    const head = make("tr");
    head.append(...names.map((name) => make("th", name.replaceAll("_", " "))));
    fill(byId("top").tHead, [head]);
    fill(byId("top").tBodies[0], rows.map((each) => row(names.map((name) => {
      const value = each[name];
      return typeof value !== "number" ? make("td", String(value ?? ""), "text") : name.endsWith("bytes") ? bytes(value) : figure(value);
    }))));
  } catch {
    // The stream says that the node is away.
  }
}

async function showEvents() {
  const found = [];
  try {
    const answer = await call("alarms");
    if (answer.ok) {
      const { active, recent } = await answer.json();
      for (const alarm of [...active, ...recent]) found.push(alarm);
    }
  } catch {
    return;
  }
  const rows = found
    .sort((a, b) => (b.resolved_at ?? b.since).localeCompare(a.resolved_at ?? a.since))
    .slice(0, 50)
    .map((each) => {
      const kind = make("td");
      kind.append(badgeOf(each.kind.replaceAll("_", " "), each.resolved ? "good" : each.severity === "critical" ? "bad" : "doubt"));
      const time = `${clockTime(each.since)}${each.resolved ? ` to ${clockTime(each.resolved_at)}` : ""}`;
      return row([time, kind, make("td", each.subject, "text"), make("td", each.resolved ? each.text : `${each.text}. ${each.remedy}`, "text")]);
    });
  fillRows("events", rows.length ? rows : [row(["", "", "", make("td", "no alarm", "text")])]);
}

// charts

function drawing(id) {
  const canvas = byId(id);
  const scale = window.devicePixelRatio || 1;
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  canvas.width = width * scale;
  canvas.height = height * scale;
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  context.font = "12px system-ui, sans-serif";
  return { context, width, height };
}

function drawRequests() {
  const { context, width, height } = drawing("requests");
  const most = Math.max(1, ...samples.map((sample) => total(sample.words)));
  const step = width / SAMPLES;
  samples.forEach((sample, at) => {
    let top = height;
    WORDS.forEach((word, which) => {
      const size = (height - 16) * (sample.words[word] ?? 0) / most;
      context.fillStyle = COLOURS[which];
      context.fillRect(width - (samples.length - at) * step, top - size, step + 0.5, size);
      top -= size;
    });
  });
  context.fillStyle = getComputedStyle(byId("about")).color;
  context.fillText(`${figure(most)}/s`, 2, 11);
  const latest = samples.at(-1);
  fill(byId("legend"), WORDS.filter((word) => samples.some((sample) => sample.words[word])).map((word) => {
    const item = make("span");
    const mark = make("i");
    mark.style.background = COLOURS[WORDS.indexOf(word)];
    item.append(mark, `${word} ${figure(latest?.words[word] ?? 0)}`);
    return item;
  }));
}

function drawRatio() {
  const { context, width, height } = drawing("ratio");
  const step = width / SAMPLES;
  context.strokeStyle = COLOURS[0];
  context.lineWidth = 1.5;
  context.beginPath();
  let begun = false;
  samples.forEach((sample, at) => {
    const all = total(sample.words);
    if (!all) return;
    const x = width - (samples.length - at) * step;
    const y = 2 + (height - 4) * (1 - hits(sample.words) / all);
    if (begun) context.lineTo(x, y);
    else context.moveTo(x, y);
    begun = true;
  });
  context.stroke();
  const all = samples.reduce((sum, sample) => sum + total(sample.words), 0);
  const served = samples.reduce((sum, sample) => sum + hits(sample.words), 0);
  byId("ratio-now").textContent = all ? `${(100 * served / all).toFixed(2)} % over the last ${span(samples.length)}` : "no request yet";
}

const hits = (words) => (words.hit ?? 0) + (words.stale ?? 0) + (words.collapsed ?? 0);

// small things

const total = (numbers) => Object.values(numbers).reduce((sum, number) => sum + number, 0);

function figure(number) {
  if (number >= 100000) return `${new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 }).format(number)}`;
  return number >= 10 || Number.isInteger(number) ? Math.round(number).toLocaleString("en") : number.toFixed(1);
}

function bytes(number) {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let unit = 0;
  while (number >= 1000 && unit < units.length - 1) {
    number /= 1000;
    unit++;
  }
  return `${unit && number < 100 ? number.toFixed(1) : Math.round(number)} ${units[unit]}`;
}

function clockTime(text) {
  return new Date(text).toLocaleTimeString("en", { hour12: false });
}

function span(seconds) {
  const steps = [[86400, "d"], [3600, "h"], [60, "min"]];
  for (const [size, unit] of steps) if (seconds >= 2 * size) return `${Math.floor(seconds / size)} ${unit}`;
  return `${Math.round(seconds)} s`;
}

function used(part, whole) {
  const cell = make("span");
  const meter = make("meter");
  meter.max = whole || 1;
  meter.value = part;
  cell.append(meter, ` ${bytes(part)} of ${bytes(whole)}`);
  return cell;
}

function make(name, text = "", className = "") {
  const element = document.createElement(name);
  if (text) element.textContent = text;
  if (className) element.className = className;
  return element;
}

function fill(element, children) {
  element.replaceChildren(...children);
}

function row(cells) {
  const element = make("tr");
  for (const cell of cells) {
    if (cell instanceof HTMLTableCellElement) element.append(cell);
    else {
      const made = make("td");
      made.append(cell);
      element.append(made);
    }
  }
  return element;
}

function fillRows(id, rows) {
  const body = byId(id).tBodies[0];
  // A button that has the focus stays: people may be about to press it.
  if (!body.contains(document.activeElement)) fill(body, rows);
}

function badge(id, text, kind) {
  const element = byId(id);
  element.textContent = text;
  element.className = `badge ${kind}`;
}

const badgeOf = (text, kind) => make("span", text, `badge ${kind}`);

function act(text, what) {
  const button = make("button", text);
  button.type = "button";
  button.addEventListener("click", async () => {
    button.disabled = true;
    await what();
    button.blur();
    button.disabled = false;
  });
  return button;
}

// orders

byId("reload").addEventListener("click", async () => {
  if (await isSure("Read the settings again, and put them in force?")) {
    await order("reload", {}, (said) => `settings of generation ${said.generation} are in force` +
      (said.needs_restart?.length ? `; these wait for a restart: ${said.needs_restart.join(", ")}` : ""));
  }
});

byId("sign-out").addEventListener("click", () => {
  sessionStorage.removeItem("shield-token");
  location.reload();
});

byId("purge").addEventListener("submit", async (event) => {
  event.preventDefault();
  const kind = byId("purge-kind");
  const text = byId("purge-text").value.trim();
  const soft = byId("purge-soft").checked;
  const wish = { [kind.value]: [text], ...(soft ? { soft } : {}) };
  const isTrial = event.submitter?.value === "try";
  const result = byId("purge-result");
  if (!isTrial && !(await isSure(`${soft ? "Make stale" : "Remove"} what has the ${kind.selectedOptions[0].text} ${text}?`))) return;
  const answer = await call("purge", isTrial ? { ...wish, dry_run: true } : wish);
  result.hidden = false;
  result.textContent = answer.ok ? receiptText(await answer.json()) : await problemOf(answer);
});

function receiptText(said) {
  return said.dry_run ? trialText(said) : [
    `${said.soft ? "stale at once" : "purged"}${said.removed === null ? "" : `: ${figure(said.removed)} entries`}`,
    `in ${said.workers} worker${said.workers === 1 ? "" : "s"} of ${said.applied.join(", ")}` +
      (said.durable ? "" : "; not durable: the node has no place to keep it"),
    `id ${said.id}`,
  ].join("\n");
}

function trialText(said) {
  const lines = [`${said.disk.estimated ? "about " : ""}${figure(said.entries)} entries, ${bytes(said.bytes)}`];
  for (const [name, cost] of Object.entries(said.origins)) {
    const money = cost.money === null ? "" : `, ${cost.money.toFixed(4)} ${cost.currency}`;
    const time = cost.seconds === null ? "" : `, ${span(cost.seconds)} at its limit`;
    lines.push(`to fetch again from ${name}: ${figure(cost.requests)} requests, ${bytes(cost.bytes)}${money}${time}`);
  }
  return [...lines, ...said.advice].join("\n");
}

for (const id of ["top-of", "top-by"]) byId(id).addEventListener("change", showTop);
follow();
