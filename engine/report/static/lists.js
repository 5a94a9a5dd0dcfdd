"use strict";
// What was proven, the tasks with what they used, and the delivered tree.

function stateCell(state, text) {
  return h("td", { class: `what ${tone(state)}` }, h("i", { class: "dot", "aria-hidden": "true" }), text || state);
}
function printed(check) {
  return check?.output && h("details", { open: check.state === "failed" }, h("summary", {}, "what it printed"), h("pre", {}, check.output));
}

function drawAcceptance(place) {
  const { criteria, checks, proof } = page.model;
  const of = new Map(checks.filter((check) => check.phase === "check").map((check) => [check.command, check]));
  const rows = criteria.map((each) => h("tr", {},
    h("td", {}, each.text),
    stateCell(each.state),
    h("td", {}, each.command && h("code", { class: "command" }, each.command), each.reason && h("div", { class: "note" }, each.reason), printed(of.get(each.command))),
    h("td", { class: "wide" }, each.tasks.map(chip))));
  const head = h("thead", {}, h("tr", {}, ["criterion", "state", "shown by"].map((name) => h("th", {}, name)), h("th", { class: "wide" }, "served by")));
  const all = h("summary", {}, `All ${checks.length} commands${proof.sandbox ? `, run in ${proof.sandbox}` : ""}`);
  place.replaceChildren(
    h("div", { class: "scroll" }, h("table", { class: "matrix" }, head, h("tbody", {}, rows))),
    checks.length ? h("details", { open: checks.some((check) => check.state === "failed") }, all, drawChecks(checks)) : "");
}
function drawChecks(checks) {
  return h("div", { class: "scroll" }, h("table", {}, h("tbody", {}, checks.map((check) => h("tr", {},
    stateCell(check.state),
    h("td", {}, h("code", { class: "command" }, check.command), check.reason && h("div", { class: "note" }, check.reason), printed(check)),
    h("td", { class: "num" }, duration(check.seconds)),
    h("td", { class: "wide" }, check.phase === "check" ? check.tasks.map(chip) : check.phase))))));
}

const sorting = { by: "", down: false };
const COLUMNS = [
  ["task", (task) => task.id, "", (task) => [task.critical && h("span", { title: "on the critical path" }, "◆ "), h("b", {}, task.id), h("div", { class: "note wide" }, task.title)]],
  ["state", (task) => task.phase, "", (task) => [h("i", { class: "dot", "aria-hidden": "true" }), task.phase, task.activity && h("div", { class: "note" }, task.activity)]],
  ["time", (task) => task.busy_s, "num", (task) => (task.busy_s ? duration(task.busy_s) : "")],
  ["attempts", (task) => task.attempts, "num wide", (task) => task.attempts || ""],
  ["in", (task) => task.spend.in, "num wide", (task) => commas(task.spend.in)],
  ["cache read", (task) => task.spend.read, "num wide", (task) => commas(task.spend.read)],
  ["cache written", (task) => task.spend.written, "num wide", (task) => commas(task.spend.written)],
  ["out", (task) => task.spend.out, "num", (task) => commas(task.spend.out)],
  ["cost", (task) => task.spend.cost, "num", (task) => cost(task.spend)],
  ["files", (task) => task.files, "num wide", (task) => task.files || ""],
];
const cost = (spend) => dollars(spend.cost) + (spend.unpriced ? " + ?" : "");

const BATCH = 60;

function drawTasks(place) {
  const wanted = byId("find").value.trim().toLowerCase();
  const tasks = page.model.tasks.filter((task) => !wanted || `${task.id} ${task.title} ${task.phase}`.toLowerCase().includes(wanted));
  const column = COLUMNS.find((each) => each[0] === sorting.by);
  if (column) tasks.sort((a, b) => (column[1](a) > column[1](b) ? 1 : column[1](a) < column[1](b) ? -1 : 0) * (sorting.down ? -1 : 1));
  const dearest = Math.max(...page.model.tasks.map((task) => task.spend.cost), 0) || 1;
  const head = COLUMNS.map(([name, , kind]) => h("th", { class: kind, "aria-sort": sorting.by === name ? (sorting.down ? "descending" : "ascending") : null },
    h("button", { type: "button", onclick: () => { sorting.down = sorting.by === name && !sorting.down; sorting.by = name; redraw("tasks"); } }, name)));
  const body = h("tbody", {});
  // Rows come as they are scrolled to, or all of them for the printer.
  const more = (number) => {
    const begin = body.children.length;
    body.append(...tasks.slice(begin, begin + number).map((task) => drawTask(task, dearest)));
    if (begin) remark();
  };
  more(BATCH);
  place.more = more;
  place.reach = (id) => {
    const missing = tasks.findIndex((task) => task.id === id) - body.children.length + 1;
    if (missing > 0) more(missing + BATCH);
  };
  place.onscroll = () => { if (place.scrollTop + 2 * place.clientHeight > place.scrollHeight) more(BATCH); };
  place.replaceChildren(h("table", {}, h("thead", {}, h("tr", {}, head)), body), tasks.length ? "" : h("p", { class: "note" }, wanted ? "No task has that in its id, title or state." : "There are no tasks yet."));
}
function drawTask(task, dearest) {
  const cells = COLUMNS.map(([name, , kind, show]) => h("td", { class: name === "state" ? `what ${task.phase}` : kind }, show(task), name === "cost" && share(task.spend.cost / dearest)));
  return h("tr", { "data-task": task.id, tabindex: -1, "aria-label": `${task.id}, ${task.phase}` }, cells);
}
function share(part) {
  const bar = h("i", { class: "share" });
  bar.style.width = `${Math.max(1, part * 100)}%`;
  return bar;
}

// Tokens, cache and cost by role, and in all.
function drawRoles(place) {
  const { planning, left_out: left, total, tasks } = page.model;
  const sum = (list) => list.reduce((all, each) => Object.fromEntries(Object.keys(all).map((key) => [key, all[key] + each.spend[key]])), Object.fromEntries(Object.keys(total).map((key) => [key, 0])));
  const roles = [["planner", planning], [`${plural(tasks.filter((task) => !task.added).length, "task")} of the plan`, sum(tasks.filter((task) => !task.added))], ["verification and repair", sum(tasks.filter((task) => task.added))], ["tasks of an earlier plan", left]].filter(([, spend]) => spend.requests);
  const row = ([name, spend]) => {
    const sent = spend.in + spend.read + spend.written;
    return h("tr", {}, h("td", {}, name), [spend.requests, spend.in, spend.read, spend.written, spend.out].map((each) => h("td", { class: "num" }, commas(each))),
      h("td", { class: "num" }, sent ? `${Math.round((spend.read / sent) * 100)} %` : ""), h("td", { class: "num" }, dollars(spend.saved)), h("td", { class: "num" }, cost(spend), share(spend.cost / (total.cost || 1))));
  };
  const names = ["", "requests", "in", "cache read", "cache written", "out", "cached", "saved by it", "cost"];
  place.replaceChildren(h("table", {}, h("thead", {}, h("tr", {}, names.map((name, place) => h("th", { class: place ? "num" : "" }, name)))),
    h("tbody", {}, roles.map(row)), h("tfoot", {}, row(["in all", total]))));
}

function drawFiles(place) {
  const root = { files: [], below: new Map() };
  for (const file of page.model.files) {
    const parts = file.path.split("/"), name = parts.pop();
    let folder = root;
    for (const part of parts) folder = folder.below.get(part) || folder.below.set(part, { files: [], below: new Map() }).get(part);
    folder.files.push([name, file]);
  }
  place.replaceChildren(drawFolder(root, page.model.files.length <= 200));
}
function drawFolder(folder, opens) {
  return h("ul", {}, [...folder.below].map(([name, inner]) => drawBelow(name, inner, opens)), folder.files.map(([name, file]) => drawFile(name, file)));
}
// In a large tree a folder is filled when it is opened.
function drawBelow(name, inner, opens) {
  const filled = () => drawFolder(inner, opens);
  const details = h("details", { open: opens }, h("summary", { "data-stop": true, tabindex: -1 }, `${name}/`), opens && filled());
  if (!opens) details.addEventListener("toggle", () => { details.append(filled()); remark(); }, { once: true });
  return h("li", {}, details);
}
function drawFile(name, file) {
  return h("li", { "data-task": file.owner, "data-quiet": true },
    h("button", { type: "button", "data-stop": true, tabindex: -1, "data-file": file.path, "aria-current": file.path === page.file, onclick: () => openFile(file.path) },
      h("span", {}, name), h("span", { class: "from" }, file.owner)));
}
