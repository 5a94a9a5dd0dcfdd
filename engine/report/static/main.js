"use strict";
// Puts the sections together, and in a live page keeps them up to date.

let zoom = 1;
const watched = { etag: "", since: 0, lost: false };
const scroller = (id) => h("div", { class: "scroll", id });
const timeline = scroller("timeline-body"), dag = scroller("graph-body"), tasks = scroller("tasks-body");
const roles = h("div", { class: "scroll" }), proof = h("div", {}), tree = h("div", { class: "tree" });
const outlook = h("div", { class: "compare" }), notices = h("div", {});
[timeline, dag].forEach(tellOnHover);
const stops = [roving(timeline, "[data-task]"), roving(dag, "[data-task]"), roving(tasks, "tr[data-task]"), roving(tree, "[data-stop]")];

const legend = (entries) => h("ul", { class: "legend" }, entries.map(([name, colour]) => {
  const mark = h("i", {});
  mark.style.background = `var(${colour})`;
  return h("li", {}, mark, name);
}));

// Of each section: name, heading, what it says first, how it is drawn, and of which part of the model.
const SECTIONS = {
  acceptance: ["Acceptance", () => [proof], () => drawAcceptance(proof), (m) => [m.criteria, m.checks, m.proof]],
  timeline: ["Timeline", () => [
    h("div", { class: "tools" }, [1, 3, 8].map((each) => h("button", { class: "button", type: "button", "aria-pressed": each === zoom, onclick: (event) => { zoom = each; for (const other of event.target.parentNode.children) other.setAttribute("aria-pressed", other === event.target); redraw("timeline"); } }, `×${each}`))),
    h("p", { class: "lead", id: "timeline-lead" }), timeline,
    legend([["planning", "--plan"], ["executor at work", "--job"], ["waiting in a queue", "--job-wait"], ["failed attempt", "--bad"], ["until the next try", "--warn"], ["passed check", "--good"], ["critical path", "--critical"]])],
    () => drawTimeline(timeline, zoom), (m) => [m.spans, m.slots, m.run.state === "running" ? m.now : 0, m.tasks.map((t) => [t.id, t.critical])]],
  graph: ["Graph", () => [h("p", { class: "lead" }, "A task begins when those to its left that it depends on are done. Amber borders mark the critical path."), dag], () => drawGraph(dag), (m) => m.tasks.map((t) => [t.id, t.title, t.after, t.phase, t.critical])],
  tasks: ["Tasks", () => [roles, h("h3", {}, "Task by task"), tasks], () => { drawRoles(roles); drawTasks(tasks); }, (m) => [m.tasks, m.planning, m.total]],
  forecast: ["Forecast", () => [outlook], drawOutlook, (m) => [m.forecast, m.comparison]],
  files: ["Files", () => [h("p", { class: "lead", id: "files-lead" }), h("div", { class: "browser" }, tree, h("div", { class: "viewer", id: "viewer" }, h("p", { class: "note" }, "Choose a file to read it.")))], () => drawFiles(tree), (m) => [m.files, m.delivered]],
  notices: ["Notices", () => [notices], () => notices.replaceChildren(h("ul", {}, page.model.notices.map((each) => h("li", {}, h("small", {}, `${duration(each.at)} `), each.text)))), (m) => m.notices],
};
const drawn = {};

function drawOutlook() {
  const { forecast, comparison } = page.model;
  outlook.replaceChildren(
    h("div", {}, h("h3", {}, "Forecast against what it came to"), forecast.length ? forecast.map(drawForecast) : h("p", { class: "note" }, "There is no forecast.")),
    h("div", {}, h("h3", {}, "One executor alone against this run"), h("p", { class: "verdict" }, comparison.verdict),
      comparison.parts.length > 0 && [h("h3", {}, "time"), drawComparison(comparison.parts, "seconds", duration), h("h3", {}, "cost"), drawComparison(comparison.parts, "cost_usd", dollars)]));
}

function redraw(name) {
  const active = document.activeElement, task = active?.dataset?.task, inside = byId(name)?.contains(active);
  SECTIONS[name][2]();
  remark();
  for (const stop of stops) stop();
  if (inside && task && !document.contains(active)) byId(name).querySelector(`[data-task="${CSS.escape(task)}"]`)?.focus({ preventScroll: true });
}

async function drawAll() {
  const model = page.model, run = model.run;
  byId("timeline-lead").textContent = `${duration(model.now)} from start to end${run.pace && ` (${run.pace})`}, ${duration(run.work_s)} of task time, critical path ${duration(run.critical_s)}; ${run.executors} executors on ${run.backends.join(" and ") || "no backend"}; ${run.models}.`;
  byId("files-lead").textContent = `${commas(model.files.length)} files ${model.delivered ? "as they were delivered" : "as far as they are made; nothing was delivered yet"}, each with the task that it comes from.`;
  byId("notices").hidden = !model.notices.length;
  for (const [name, [, , , part]] of Object.entries(SECTIONS)) {
    const now = JSON.stringify(part(model));
    if (drawn[name] === now) continue;
    drawn[name] = now;
    redraw(name);
    await new Promise((go) => setTimeout(go)); // what was asked meanwhile comes first
    if (page.model !== model) return;
  }
  document.body.dataset.drawn = "all";
}

function copyButtons() {
  for (const code of document.querySelectorAll("[data-copy]")) {
    code.after(h("button", { class: "button", type: "button", "data-screen": true, onclick: async (event) => {
      await navigator.clipboard?.writeText(code.textContent);
      event.target.textContent = "copied";
    } }, "copy"));
  }
}

async function poll() {
  try {
    const answer = await fetch("model", { headers: watched.etag ? { "if-none-match": watched.etag } : {}, cache: "no-store" });
    if (answer.status === 200) {
      const { model, outcome } = await answer.json();
      watched.etag = answer.headers.get("etag");
      take(model);
      byId("outcome").innerHTML = outcome; // escaped by the program, and no script runs in it: see the policy
      copyButtons();
      drawAll();
      refreshPanel();
      document.title = `${model.run.title || model.run.id}: ${model.run.state}`;
    }
    if (answer.status === 304 && page.model.run.state === "running") {
      page.model.now = page.tookAt + performance.now() / 1000;
      redraw("timeline");
    }
    banner("");
  } catch {
    banner(`The program that serves this page has ended. What it kept is in ${page.model.run.dir}.`);
  }
  setTimeout(poll, page.model.run.state === "running" ? 1000 : 5000);
}
function banner(text) {
  byId("banner").hidden = !text;
  byId("banner").textContent = text;
}

function start() {
  const { live, details, contents, ...model } = JSON.parse(byId("data").textContent);
  Object.assign(page, { live: Boolean(live), details: details || {}, contents: contents || {} });
  take(model);
  for (const [name, [heading, parts]] of Object.entries(SECTIONS)) {
    byId("sections").append(h("section", { class: "section", id: name, "aria-labelledby": `${name}-h` }, h("h2", { id: `${name}-h` }, heading), parts()));
    if (name !== "notices" || model.notices.length) byId("nav").append(h("a", { href: `#${name}` }, heading));
  }
  drawAll();
  copyButtons();
  document.addEventListener("click", (event) => {
    const mark = event.target.closest("[data-task]");
    if (mark && !mark.dataset.quiet) choose(mark.dataset.task, mark);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") choose("");
    if (event.key === "/" && !event.target.closest("input, select, textarea")) {
      event.preventDefault();
      byId("find").focus();
    }
  });
  byId("find").addEventListener("input", () => redraw("tasks"));
  byId("find").addEventListener("keydown", (event) => {
    if (event.key === "Enter") {
      const first = tasks.querySelector("tr[data-task]");
      if (first) choose(first.dataset.task);
    }
  });
  let width = timeline.clientWidth;
  new ResizeObserver(() => {
    if (width === timeline.clientWidth) return;
    width = timeline.clientWidth;
    redraw("timeline");
  }).observe(timeline);
  window.addEventListener("beforeprint", () => {
    for (const each of document.querySelectorAll("#outcome details, #acceptance details")) each.open = true;
    tasks.more(Infinity);
  });
  if (page.live) setTimeout(poll, 1000);
}
start();
