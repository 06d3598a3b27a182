// Keeps the table up to date from the event stream. Everything is set as text, never as markup: what devices
// report is not trusted.
"use strict";

const rows = new Map();
for (const row of document.querySelectorAll("tr[data-device]")) {
  rows.set(row.dataset.device, row);
}
const live = document.getElementById("live");
let reloading = false;

function cell(row, name) {
  return row.querySelector(`[data-cell="${name}"]`);
}

function tone(status) {
  if (status === "succeeded") return "good";
  if (["rolled_back", "failed", "refused"].includes(status)) return "bad";
  if (["running", "retrying", "trial", "cancelling"].includes(status)) return "busy";
  return "";
}

const working = ["checking", "downloading", "verifying", "activating"];

function showProgress(row, progress) {
  const place = cell(row, "progress");
  if (!working.includes(progress.phase) || !progress.total) {
    place.replaceChildren();
    return;
  }
  const percent = Math.min(100, Math.floor((progress.done * 100) / progress.total));
  const bar = document.createElement("progress");
  bar.max = 100;
  bar.value = percent;
  bar.setAttribute("aria-label", `Progress of ${row.dataset.device}`);
  place.replaceChildren(bar, ` ${percent} % ${progress.phase}`);
}

function showAssignment(row, assignment) {
  const status = cell(row, "status");
  status.textContent = assignment.status.replaceAll("_", " ");
  status.className = tone(assignment.status);
  const parts = [`to ${assignment.version}`];
  if (assignment.reason) parts.push(assignment.reason.replaceAll("_", " "));
  if (assignment.text) parts.push(assignment.text);
  cell(row, "detail").textContent = parts.join(" · ");
  if (tone(assignment.status) !== "busy") cell(row, "progress").replaceChildren();
}

function showState(row, state) {
  cell(row, "product").textContent = state.product;
  cell(row, "version").textContent = state.trial ? `${state.version} (on trial)` : state.version;
}

// A device that this page does not show, or a gap in the stream: read the page again, but not in a tight loop.
function reloadSoon() {
  if (reloading) return;
  reloading = true;
  setTimeout(() => location.reload(), 2000);
}

const show = {
  presence(row, data) {
    cell(row, "online").textContent = data.online ? "online" : "offline";
  },
  state(row, data) { showState(row, data.state); },
  progress(row, data) { showProgress(row, data.progress); },
  assignment(row, data) { showAssignment(row, data); },
};

const all = !location.search;
const stream = new EventSource("/api/v1/stream");
stream.onopen = () => { live.textContent = ""; };
stream.onerror = () => { live.textContent = "· connection to the server lost, trying again"; };
stream.addEventListener("resync", reloadSoon);
for (const [kind, act] of Object.entries(show)) {
  stream.addEventListener(kind, (event) => {
    const { data } = JSON.parse(event.data);
    const row = rows.get(data.device);
    if (row) {
      act(row, data);
    } else if (all && kind === "state" && rows.size < 200) {
      reloadSoon();
    }
  });
}
