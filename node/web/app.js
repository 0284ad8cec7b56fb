// The overview page: reads /api/v1 every ten seconds and draws. No framework,
// no build step, nothing inline (the CSP forbids it). What the API says goes
// into the document as text only.
"use strict";

const REFRESH_MS = 10_000;
const STALE_MS = 30_000;
const DEVICES_ASKED = 1000;
const DEVICES_SHOWN = 12; // at first, and more by each press of the button
const POINTS_MAX = 400; // drawn; more are added up in groups
const STEPS = { minute: 60, hour: 3600, day: 86_400 };
const DAY = 86_400;

const $ = (id) => document.getElementById(id);

const state = {
  token: sessionStorage.getItem("token"),
  hours: Number(sessionStorage.getItem("hours")) || 1,
  location: sessionStorage.getItem("location") || "all",
  devicesShown: DEVICES_SHOWN,
  cluster: null, // first 8 digits of the cluster id
  applied: 0, // the highest index this page has seen
  data: null, // what is shown
  points: [],
  step: 60,
  cursor: null,
  timer: 0,
  running: null,
};

/* --- asking --------------------------------------------------------------- */

class ApiError extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

async function api(path, params, signal) {
  const url = new URL("/api/v1" + path, location.origin);
  for (const [name, value] of Object.entries(params || {}))
    url.searchParams.set(name, value);
  // What this page has seen it never sees go back, on whichever node it lands.
  if (state.cluster && state.applied > 0)
    url.searchParams.set("at_least", `${state.cluster}-${state.applied}`);
  const answer = await fetch(url, {
    headers: { authorization: `Bearer ${state.token}` },
    cache: "no-store",
    signal,
  });
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok)
    throw new ApiError(answer.status, body.code, body.msg || answer.statusText);
  state.applied = Math.max(state.applied,
    Number(answer.headers.get("Holdfast-Applied-Index")) || 0);
  return body;
}

async function load(signal) {
  const cluster = await api("/cluster", {}, signal);
  const id = cluster.cluster_id ? cluster.cluster_id.slice(0, 8) : null;
  if (id !== state.cluster) {
    state.cluster = id; // the first time, or a restored cluster
    state.applied = cluster.applied;
  }
  const locations = await api("/network", {}, signal);
  if (state.location !== "all" &&
      !locations.some((l) => String(l.id) === state.location))
    state.location = "all";
  const to = Math.floor(Date.now() / 60_000) * 60 + 60;
  const range = {
    location: state.location, from: to - state.hours * 3600, to,
  };
  const [traffic, devices, activity] = await Promise.all([
    api("/overview", { ...range, by: "none" }, signal),
    api("/overview", { ...range, by: "device", limit: DEVICES_ASKED, points: 0 }, signal),
    api("/activity", range, signal),
  ]);
  return { cluster, locations, traffic, devices, activity };
}

/* --- words and numbers ---------------------------------------------------- */

function bytes(n) {
  const units = ["B", "KB", "MB", "GB", "TB", "PB"];
  let unit = 0;
  while (n >= 1000 && unit < units.length - 1) {
    n /= 1000;
    unit++;
  }
  const digits = unit === 0 || n >= 100 ? 0 : n >= 10 ? 1 : 2;
  return `${n.toFixed(digits)} ${units[unit]}`;
}

function rate(n, seconds) {
  const units = ["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"];
  let value = (n * 8) / seconds;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  const digits = value >= 100 || unit === 0 || Number.isInteger(value) ? 0 : 1;
  return `${value.toFixed(digits)} ${units[unit]}`;
}

function clock(seconds, withDay) {
  const day = withDay ? { weekday: "short" } : {};
  return new Date(seconds * 1000).toLocaleTimeString([], {
    ...day, hour: "2-digit", minute: "2-digit", hour12: false,
  });
}

// A time of the chart, as exact as its buckets. Days are those of UTC.
function moment(seconds) {
  if (state.step < DAY) return clock(seconds, state.hours >= 24);
  const year = state.hours > 24 * 300 ? { year: "numeric" } : {};
  return new Date(seconds * 1000).toLocaleDateString([], {
    ...year, day: "numeric", month: "short", timeZone: "UTC",
  });
}

function ago(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

// The API's naive timestamps are UTC.
const utc = (text) => Date.parse(text + "Z");

/* --- the document --------------------------------------------------------- */

function element(name, attributes, ...children) {
  const svg = ["svg", "path", "rect", "line", "text", "circle", "g", "tspan"];
  const e = svg.includes(name)
    ? document.createElementNS("http://www.w3.org/2000/svg", name)
    : document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {}))
    e.setAttribute(key, value);
  e.append(...children);
  return e;
}

function rows(table, list, none) {
  const body = $(table).tBodies[0];
  const columns = $(table).tHead.rows[0].cells.length;
  if (list.length === 0)
    list = [element("tr", {},
      element("td", { class: "none", colspan: columns }, none))];
  body.replaceChildren(...list);
}

const cell = (text, attributes) => element("td", attributes, text);

function share(up, down, whole) {
  const width = (n) => (whole > 0 ? (100 * n) / whole : 0);
  const percent = width(up + down);
  return element("td", { class: "share" },
    element("div", { class: "track" },
      element("svg", { viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" },
        element("rect", { class: "bar-up", width: width(up), height: 8 }),
        element("rect", { class: "bar-down", x: width(up), width: width(down), height: 8 })),
      element("span", {},
        percent > 0 && percent < 1 ? "<1 %" : `${Math.round(percent)} %`)));
}

function showDevices(devices, traffic) {
  const whole = traffic.upload + traffic.download;
  const count = devices.series.length;
  const shown = devices.series.slice(0, state.devicesShown);
  rows("devices", shown.map((s) => element("tr", {},
    cell(s.name === s.key ? "unclaimed" : s.name,
      { class: s.name === s.key ? "name quiet" : "name", title: s.name }),
    cell(`${s.key.slice(0, 12)}…`, { class: "key", title: s.key }),
    cell(bytes(s.upload), { class: "number" }),
    cell(bytes(s.download), { class: "number" }),
    share(s.upload, s.download, whole))),
  "No device was seen in this period.");
  const all = devices.next === null ? String(count) : `more than ${count}`;
  $("more-devices").hidden = shown.length === count;
  $("devices-note").textContent = shown.length < count
    ? `the ${shown.length} busiest of ${all}` : `${all} seen, busiest first`;
}

function showActivity({ now, window: past }) {
  const users = past.users === 1 ? "1 user" : `${past.users} users`;
  $("total-devices").textContent =
    String(past.user_devices + past.network_devices);
  $("total-devices-of").textContent =
    `${now.user_devices + now.network_devices} now · ${users}`;
}

function showGateways(locations) {
  const chosen = locations.filter((l) =>
    state.location === "all" || String(l.id) === state.location);
  const gateways = chosen.flatMap((l) => l.gateways);
  gateways.sort((a, b) => a.connected - b.connected ||
    a.hostname.localeCompare(b.hostname));
  const up = gateways.filter((g) => g.connected).length;
  $("total-gateways").textContent = `${up} / ${gateways.length}`;
  rows("gateways", gateways.map((g) => element("tr", {},
    cell(g.connected ? "reporting" : "silent",
      { class: `state ${g.connected ? "good" : "bad"}` }),
    cell(g.name && g.name !== g.hostname ? `${g.hostname} (${g.name})` : g.hostname,
      { class: "name" }),
    cell(g.network_name, { class: "name" }),
    cell(g.kind === "native" ? "holdfast" : "defguard"),
    cell(g.last_seen ? `${ago(Date.now() - utc(g.last_seen))} ago` : "never",
      { class: "number", title: g.last_seen ? `${g.last_seen} UTC` : "" }))),
  "No gateway has reported to this location.");
}

function showCluster(cluster) {
  rows("nodes", cluster.nodes.map((n) => {
    let role = n.leader ? "leader" : n.role === "voter" ? "follower" : n.role;
    if (n.draining) role += ", draining";
    return element("tr", {},
      cell(n.self ? `${n.name} (this node)` : n.name, { class: "name" }),
      cell(role),
      cell(n.connected ? "up" : "down",
        { class: `state ${n.connected ? "good" : "bad"}` }),
      cell(n.address || "–", { class: "key" }),
      cell(n.rtt_us === null ? "–" : `${(n.rtt_us / 1000).toFixed(2)} ms`,
        { class: "number" }));
  }), "This node knows of no others yet.");
  $("cluster-note").textContent =
    `term ${cluster.term}, applied ${cluster.applied} of ${cluster.commit}`;
}

function showHealth(cluster) {
  const down = cluster.nodes.filter((n) => !n.connected).length;
  const full = cluster.nodes.filter((n) => n.disk_low).length;
  const chip = $("health");
  let look = "good";
  let text = `leader ${cluster.leader || "?"} · ${cluster.nodes.length} ` +
    (cluster.nodes.length === 1 ? "node" : "nodes");
  if (!cluster.has_leader) {
    look = "bad";
    text = `no leader for ${ago(cluster.age_ms)}`;
  } else if (down > 0 || full > 0) {
    look = "warn";
    if (down > 0) text += ` · ${down} not linked`;
    if (full > 0) text += ` · ${full} short of disk`;
  }
  if (cluster.fetch) {
    const { bytes, total } = cluster.fetch;
    text += total > 0
      ? ` · fetching a copy, ${Math.floor(100 * bytes / total)} %`
      : " · fetching a copy";
  }
  chip.className = `chip ${look}`;
  chip.textContent = text;
  if (cluster.age_ms > STALE_MS)
    banner("stale", `This node last heard from a leader ${ago(cluster.age_ms)} ` +
      "ago: what is shown may be old. Gateways keep their reports meanwhile.");
  else
    banner(null);
}

function banner(look, text) {
  const b = $("banner");
  b.hidden = look === null;
  b.className = `banner ${look}`;
  if (b.textContent !== (text || "")) b.textContent = text || "";
}

function showLocations(locations) {
  const select = $("location");
  const wanted = [["all", "All locations"],
    ...locations.map((l) => [String(l.id), l.name])];
  const have = [...select.options].map((o) => [o.value, o.text]);
  if (JSON.stringify(have) !== JSON.stringify(wanted))
    select.replaceChildren(...wanted.map(([value, text]) =>
      element("option", { value }, text)));
  select.value = state.location;
}

function showEmpty(locations) {
  const silent = locations.every((l) => l.gateways.length === 0);
  $("empty").hidden = !silent;
  $("data").hidden = silent;
  if (!silent) return;
  const id = locations.length > 0 ? locations[0].id : 1;
  const curl = 'curl -H "Authorization: Bearer $TOKEN"';
  $("step-location").textContent = `${curl} ${location.origin}/api/v1/network \\
  -d '{"name": "office", "address": "10.13.0.1/24", "endpoint": "vpn.example.net",
       "port": 51820, "allowed_ips": "10.13.0.0/24", "accept_unknown_peers": true}'`;
  $("step-token").textContent =
    `${curl} ${location.origin}/api/v1/network/${id}/token`;
  $("step-gateway").textContent =
    "holdfast-gateway --observe --ifname wg0 --token <token> --grpc-url <grpc_url>";
}

/* --- the chart ------------------------------------------------------------ */

// Points as drawn: groups of buckets; a group is a gap only if nobody observed
// any of its buckets. The last one has not ended yet: its rate is that of the
// time that has passed.
function group(points, from, bucket) {
  const size = Math.max(1, Math.ceil(points.length / POINTS_MAX));
  const out = [];
  for (let i = 0; i < points.length; i += size) {
    const part = points.slice(i, i + size).filter((p) => p !== null);
    const sum = (key) => part.reduce((n, p) => n + p[key], 0);
    const t = from + i * bucket;
    const passed = Math.floor(Date.now() / 1000) - t;
    out.push({
      t,
      seconds: Math.min(size * bucket, Math.max(60, passed)),
      gap: part.length === 0,
      upload: sum("upload"),
      download: sum("download"),
    });
  }
  return { points: out, step: size * bucket };
}

// The step of an axis with at most five lines up to @value.
function niceStep(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value / 4, 1)));
  return [1, 2, 5, 10].find((n) => n * power * 4 >= value) * power;
}

function timeTicks(from, to, width) {
  const steps = [300, 600, 900, 1800, 3600, 7200, 10800, 14400, 21600, 43200,
    DAY, 2 * DAY, 7 * DAY, 14 * DAY, 28 * DAY, 56 * DAY];
  const label = state.step === DAY && state.hours < 24 * 300 ? 60 : 90; // px
  const most = Math.max(2, Math.floor(width / label));
  const step = steps.find((s) => (to - from) / s <= most) || 112 * DAY;
  // Whole local hours; days are those of UTC.
  const shift = state.step < DAY ? new Date().getTimezoneOffset() * 60 : 0;
  const ticks = [];
  for (let t = Math.ceil((from - shift) / step) * step + shift; t < to; t += step)
    ticks.push(t);
  return ticks;
}

// Runs of neighbours that are gaps, or that are not: [[first, last], …].
function runs(points, gap) {
  const out = [];
  points.forEach((p, i) => {
    if (p.gap !== gap) return;
    if (i === 0 || points[i - 1].gap !== gap) out.push([i, i]);
    else out[out.length - 1][1] = i;
  });
  return out;
}

function draw() {
  const { points, step } = state;
  const box = $("plot").getBoundingClientRect();
  if (points.length === 0 || box.height === 0) {
    $("plot").replaceChildren(); // nothing to show, or not shown
    return;
  }
  const width = Math.max(260, box.width);
  const height = box.height;
  const pad = { left: 74, right: 4, top: 8, bottom: 22 };
  const from = points[0].t;
  const to = from + points.length * step;
  const bits = (p, key) => (p[key] * 8) / p.seconds; // per second
  const peak = Math.max(...points.map((p) => Math.max(bits(p, "upload"), bits(p, "download"))));
  const tick = niceStep(peak);
  const top = tick * Math.max(1, Math.ceil(peak / tick));
  const x = (t) => pad.left + ((t - from) / (to - from)) * (width - pad.left - pad.right);
  const y = (n) => height - pad.bottom -
    (n / top) * (height - pad.top - pad.bottom);
  const middle = (p) => x(p.t + step / 2);
  const svg = element("svg", { viewBox: `0 0 ${width} ${height}` });

  for (const [first, last] of runs(points, true)) {
    const left = x(points[first].t);
    svg.append(element("rect", {
      class: "hole", x: left, width: x(points[last].t + step) - left,
      y: pad.top, height: height - pad.top - pad.bottom,
    }));
  }
  for (let i = 0; i * tick <= top; i++) {
    const at = y(i * tick);
    svg.append(
      element("line", { class: "grid", x1: pad.left, x2: width - pad.right, y1: at, y2: at }),
      element("text", { class: "axis", x: pad.left - 8, y: at + 4, "text-anchor": "end" },
        rate(i * tick / 8, 1)));
  }
  for (const t of timeTicks(from, to, width - pad.left))
    svg.append(element("text", {
      class: "axis", x: x(t), y: height - 5,
      "text-anchor": x(t) > width - 30 ? "end" : x(t) < pad.left + 20 ? "start" : "middle",
    }, moment(t)));
  for (const [key, name] of [["download", "down"], ["upload", "up"]])
    for (const [first, last] of runs(points, false)) {
      const part = points.slice(first, last + 1);
      if (part.length === 1) {
        svg.append(element("circle", { class: `dot-${name}`, cx: middle(part[0]), cy: y(bits(part[0], key)), r: 2.8 }));
        continue;
      }
      const line = part.map((p) => `${middle(p).toFixed(1)},${y(bits(p, key)).toFixed(1)}`).join("L");
      svg.append(
        element("path", {
          class: `area-${name}`,
          d: `M${middle(part[0]).toFixed(1)},${y(0)}L${line}L${middle(part[part.length - 1]).toFixed(1)},${y(0)}Z`,
        }),
        element("path", { class: `line-${name}`, d: `M${line}` }));
    }
  if (state.cursor !== null && points[state.cursor])
    svg.append(...drawCursor(points[state.cursor], middle, y, width, height, pad));
  $("plot").replaceChildren(svg);
}

function describe(p) {
  const when = state.step < DAY
    ? `${moment(p.t)}–${clock(p.t + state.step)}` : `${moment(p.t)} (UTC)`;
  if (p.gap) return [when, "not observed"];
  return [when, `upload ${bytes(p.upload)} · ${rate(p.upload, p.seconds)}`,
    `download ${bytes(p.download)} · ${rate(p.download, p.seconds)}`];
}

function drawCursor(p, middle, y, width, height, pad) {
  const lines = describe(p);
  const w = Math.max(...lines.map((l) => l.length)) * 6.6 + 20;
  const h = lines.length * 17 + 10;
  const at = middle(p);
  const left = at + w + 12 > width ? at - w - 10 : at + 10;
  const out = [
    element("line", { class: "cursor", x1: at, x2: at, y1: pad.top, y2: height - pad.bottom }),
    element("rect", { class: "tip", x: left, y: pad.top + 4, width: w, height: h, rx: 5 }),
    ...lines.map((text, i) => element("text", {
      class: "tip-text", x: left + 10, y: pad.top + 21 + i * 17,
    }, text)),
  ];
  if (!p.gap)
    out.push(element("circle", { class: "dot-up", cx: at, cy: y(p.upload * 8 / p.seconds), r: 3.2 }),
      element("circle", { class: "dot-down", cx: at, cy: y(p.download * 8 / p.seconds), r: 3.2 }));
  return out;
}

function moveCursor(index, aloud) {
  const last = state.points.length - 1;
  state.cursor = index === null || last < 0 ? null : Math.min(last, Math.max(0, index));
  draw();
  if (aloud && state.cursor !== null)
    $("readout").textContent = describe(state.points[state.cursor]).join(", ");
}

function showTraffic(traffic) {
  const series = traffic.series[0] || { upload: 0, download: 0, points: [] };
  $("total-up").textContent = bytes(series.upload);
  $("total-down").textContent = bytes(series.download);
  const bucket = STEPS[traffic.resolution];
  const count = (traffic.to - traffic.from) / bucket;
  const points = series.points.length > 0 ? series.points : new Array(count).fill(null);
  Object.assign(state, group(points, traffic.from, bucket));
  const gaps = state.points.filter((p) => p.gap).length;
  const top = state.points.reduce((a, p) =>
    (p.upload + p.download > a.upload + a.download ? p : a), state.points[0]);
  $("chart-summary").textContent =
    `${moment(traffic.from)} to ${moment(traffic.to - (bucket < DAY ? 0 : 1))}, by ${traffic.resolution}: ` +
    `${bytes(series.upload)} up, ${bytes(series.download)} down; busiest at ` +
    `${moment(top.t)} with ${bytes(top.upload + top.download)} in ` +
    `${ago(state.step * 1000)}` +
    (gaps > 0 ? `; ${gaps} of ${state.points.length} intervals not observed.` : ".");
  draw();
  if (!$("chart-table").hidden) showChartTable();
  return series;
}

function showChartTable() {
  const head = ["From", "Upload", "Download"].map((text, i) =>
    element("th", { scope: "col", class: i > 0 ? "number" : "" }, text));
  const lines = [...state.points].reverse().map((p) => element("tr", {},
    cell(moment(p.t)),
    cell(p.gap ? "not observed" : bytes(p.upload), { class: p.gap ? "number quiet" : "number" }),
    cell(p.gap ? "" : bytes(p.download), { class: "number" })));
  $("chart-table").replaceChildren(element("table", {},
    element("caption", { class: "hidden" }, "Traffic by time, newest first"),
    element("thead", {}, element("tr", {}, ...head)),
    element("tbody", {}, ...lines)));
}

/* --- the cycle ------------------------------------------------------------ */

function show(data) {
  state.data = data;
  showHealth(data.cluster);
  showLocations(data.locations);
  showEmpty(data.locations);
  showDevices(data.devices, showTraffic(data.traffic));
  showActivity(data.activity);
  showGateways(data.locations);
  showCluster(data.cluster);
  $("content").hidden = false;
  $("content").classList.remove("old");
  $("as-of").textContent = `as of ${new Date().toLocaleTimeString([], { hour12: false })}` +
    ` · data ${ago(data.traffic.age_ms)} old`;
  $("as-of").title = new Date().toISOString();
  draw(); // now that it has a width
}

function failed(error) {
  if (error.status === 401) {
    signOut("The node does not know this token.");
    return;
  }
  $("health").className = "chip bad";
  $("health").textContent =
    error instanceof ApiError ? "answers with an error" : "no answer";
  $("content").classList.add("old");
  banner("failed", error instanceof ApiError
    ? `The node answered: ${error.message}. Trying again.`
    : "The node does not answer. What is shown below is old; trying again.");
  // Another cluster behind the same address: forget what the last one said.
  if (error.code === "foreign_cluster") {
    state.cluster = null;
    state.applied = 0;
  }
}

async function refresh() {
  clearTimeout(state.timer);
  if (state.running) state.running.abort();
  const run = new AbortController();
  state.running = run;
  const limit = setTimeout(() => run.abort(), REFRESH_MS);
  try {
    const data = await load(run.signal);
    if (state.running === run) show(data);
  } catch (error) {
    if (state.running === run) failed(error);
  } finally {
    clearTimeout(limit);
    if (state.running === run) {
      state.running = null;
      if (state.token) state.timer = setTimeout(refresh, REFRESH_MS);
    }
  }
}

function signOut(message) {
  sessionStorage.removeItem("token");
  state.token = null;
  clearTimeout(state.timer);
  $("content").hidden = true;
  $("sign-out").hidden = true;
  $("sign-in").hidden = false;
  $("as-of").textContent = "";
  $("health").className = "chip";
  $("health").textContent = "signed out";
  $("sign-in-error").textContent = message || "";
  banner(null);
  $("token").focus();
}

function signIn() {
  $("sign-in").hidden = true;
  $("sign-out").hidden = false;
  refresh();
}

$("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  state.token = $("token").value.trim();
  sessionStorage.setItem("token", state.token);
  $("token").value = "";
  signIn();
});
$("sign-out").addEventListener("click", () => signOut());
$("location").addEventListener("change", (event) => {
  state.location = event.target.value;
  state.devicesShown = DEVICES_SHOWN;
  sessionStorage.setItem("location", state.location);
  refresh();
});
for (const input of document.getElementsByName("hours")) {
  input.checked = Number(input.value) === state.hours;
  input.addEventListener("change", () => {
    state.hours = Number(input.value);
    state.cursor = null;
    sessionStorage.setItem("hours", input.value);
    refresh();
  });
}
$("more-devices").addEventListener("click", () => {
  state.devicesShown += 50;
  if (state.data) showDevices(state.data.devices, showTraffic(state.data.traffic));
});
$("toggle-table").addEventListener("click", () => {
  const table = $("chart-table");
  table.hidden = !table.hidden;
  $("toggle-table").setAttribute("aria-pressed", String(!table.hidden));
  $("toggle-table").textContent = table.hidden ? "Show as table" : "Hide table";
  if (!table.hidden) showChartTable();
});
$("chart").addEventListener("keydown", (event) => {
  const moves = { ArrowLeft: -1, ArrowRight: 1 };
  const last = state.points.length - 1;
  if (event.key in moves)
    moveCursor((state.cursor ?? last + 1) + moves[event.key], true);
  else if (event.key === "Home") moveCursor(0, true);
  else if (event.key === "End") moveCursor(last, true);
  else if (event.key === "Escape") moveCursor(null, false);
  else return;
  event.preventDefault();
});
$("plot").addEventListener("pointermove", (event) => {
  const box = $("plot").getBoundingClientRect();
  const part = (event.clientX - box.left - 74) / (box.width - 78);
  moveCursor(Math.floor(part * state.points.length), false);
});
$("plot").addEventListener("pointerleave", () => moveCursor(null, false));
$("chart").addEventListener("blur", () => moveCursor(null, false));
addEventListener("resize", () => draw());
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && state.token) refresh();
});

if (state.token) signIn();
else signOut();
