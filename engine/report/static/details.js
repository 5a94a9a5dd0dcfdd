"use strict";
// The panel of the chosen task with its transcripts, and the content of a file.

// In a live page, when something has become of the chosen task.
function refreshPanel() {
  const panel = byId("panel"), place = panel.scrollTop;
  if (page.chosen && JSON.stringify(page.tasks.get(page.chosen)) !== page.shown) showPanel().then(() => { panel.scrollTop = place; });
}

async function showPanel() {
  const panel = byId("panel"), task = page.tasks.get(page.chosen);
  page.shown = JSON.stringify(task);
  document.body.classList.toggle("with-panel", Boolean(task));
  panel.hidden = !task;
  if (!task) return panel.replaceChildren();
  const rest = h("div", {}, h("p", { class: "note" }, "…"));
  panel.replaceChildren(
    h("button", { class: "close", type: "button", "aria-label": "Close", onclick: () => choose("") }, "×"),
    h("p", { class: "eyebrow" }, "Task"), h("h2", { class: "mono" }, task.id), h("p", { class: "note" }, task.title),
    h("p", { class: task.phase }, h("i", { class: "dot" }), h("b", {}, task.phase), task.critical && " · on the critical path", task.message && `: ${task.message}`),
    facts(task), rest);
  const found = await load("details", task.id);
  if (page.chosen !== task.id) return;
  rest.replaceChildren(...(found ? drawDetails(task, found) : [h("p", { class: "note" }, "Nothing more is known of it.")]));
  remark();
}

function facts(task) {
  const used = task.spend;
  const rows = [
    ["depends on", task.after.length && task.after.map(chip)],
    ["needed by", page.followers.get(task.id).length && page.followers.get(task.id).slice(0, 40).map(chip)],
    ["time", task.busy_s && `${duration(task.busy_s)} in ${plural(task.attempts, "attempt")}`],
    ["tokens", used.requests && `${commas(used.in)} in, ${commas(used.read)} from the cache, ${commas(used.written)} to it, ${commas(used.out)} out (estimate ${commas(task.estimate)})`],
    ["cost", used.requests && cost(used)],
  ];
  return h("dl", {}, rows.filter(([, value]) => value).map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

function drawDetails(task, found) {
  const files = page.model.files.filter((file) => file.owner === task.id);
  return [
    found.instructions && [h("h3", {}, "Instructions"), h("p", { class: "said" }, found.instructions)],
    found.owns.length > 0 && [h("h3", {}, "Files"), h("p", {}, files.length
      ? files.map((file) => h("button", { class: "chip", type: "button", onclick: () => openFile(file.path, true) }, file.path))
      : found.owns.map((path) => h("span", { class: "chip" }, path)))],
    found.uses.length > 0 && [h("h3", {}, "Contracts"), h("p", {}, found.uses.map((path) => h("button", { class: "chip", type: "button", onclick: () => openFile(path, true) }, path)))],
    found.checks.length > 0 && [h("h3", {}, "Checks"), found.checks.map((command) => h("pre", {}, command))],
    found.attempts.map((attempt) => drawAttempt(attempt, attempt === found.attempts.at(-1))),
  ].flat(3).filter(Boolean);
}

function drawAttempt(attempt, last) {
  const cause = attempt.cause || "not ended", bad = attempt.cause && attempt.cause !== "OK";
  return h("div", { class: "attempt" },
    h("h3", {}, `Attempt ${attempt.number}: ${cause}${attempt.is_void ? " (void: the plan was corrected)" : ""}`),
    attempt.message && h("p", { class: "said" }, attempt.message),
    attempt.log && h("details", { open: Boolean(bad) }, h("summary", {}, "end of its log"), h("pre", {}, attempt.log)),
    attempt.turns.length > 0 && h("details", { open: last }, h("summary", {}, `transcript: ${plural(attempt.turns.length, "turn")}`), attempt.turns.map(drawTurn)),
    attempt.note && h("p", { class: "note" }, attempt.note));
}

function drawTurn(turn) {
  const told = [`turn ${turn.turn}`, turn.seconds && duration(turn.seconds), turn.out && `${commas(turn.out)} tokens out`, turn.retries > 0 && `asked ${turn.retries + 1} times`, turn.stop && turn.stop !== "end_turn" && turn.stop !== "tool_use" && turn.stop];
  return h("div", { class: "turn" }, h("p", {}, told.filter(Boolean).join(" · ")), turn.items.map(drawItem));
}

function drawItem(item) {
  if (item.kind === "text") return h("p", { class: "said" }, item.text);
  if (item.kind === "sent") return h("details", { class: "sent" }, h("summary", {}, `sent: ${item.text.trim().split("\n")[0].slice(0, 90)}`), h("pre", {}, item.text));
  const writes = item.added !== undefined || item.removed !== undefined;
  const given = Object.entries(item.given).map(([name, value]) => `${name}: ${value}`).join("\n");
  return h("details", { class: `call${item.failed ? " bad" : ""}` },
    h("summary", {}, h("code", {}, item.tool), item.path && " ", item.path && h("code", {}, item.path), item.failed && " failed", !writes && !item.path && given && ` ${given.slice(0, 70)}`),
    given && h("pre", {}, given), writes && drawDiff(item.removed || "", item.added || ""), item.result && h("pre", {}, item.result));
}

// What both sides have in common at the beginning and the end stands once.
function drawDiff(removed, added) {
  const before = removed ? removed.split("\n") : [], after = added ? added.split("\n") : [];
  let head = 0, tail = 0;
  while (head < Math.min(before.length, after.length) && before[head] === after[head]) head++;
  while (tail < Math.min(before.length, after.length) - head && before.at(-1 - tail) === after.at(-1 - tail)) tail++;
  const line = (kind, mark) => (text) => h("span", { class: kind }, `${mark} ${text}`);
  return h("pre", { class: "diff" }, before.slice(0, head).map(line("", " ")), before.slice(head, before.length - tail).map(line("del", "-")),
    after.slice(head, after.length - tail).map(line("add", "+")), before.slice(before.length - tail).map(line("", " ")));
}

async function openFile(path, jumps) {
  const file = page.model.files.find((each) => each.path === path), viewer = byId("viewer");
  page.file = path;
  for (const other of document.querySelectorAll("[data-file]")) other.setAttribute("aria-current", other.dataset.file === path);
  if (!file || !viewer) return;
  const body = h("pre", { tabindex: 0 }, "…"), note = h("p", { class: "note" });
  viewer.replaceChildren(h("h3", { class: "mono" }, path), h("p", { class: "note" }, `${size(file.size)}, from `, chip(file.owner)), body, note);
  remark();
  if (jumps) byId("files").scrollIntoView();
  const found = await load("contents", path);
  if (page.file !== path) return;
  body.textContent = found ? found.text : "";
  note.textContent = found ? found.note : "It cannot be shown.";
  if (found && !found.text && !found.note) note.textContent = "The file is empty.";
}
