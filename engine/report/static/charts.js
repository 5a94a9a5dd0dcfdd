"use strict";
// The timeline, the graph of tasks, and the bars of forecast and comparison, as SVG.

const LEFT = 74;

function ticks(end, most) {
  const steps = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400, 604800];
  const step = steps.find((each) => end / each <= most) || steps.at(-1) * Math.ceil(end / steps.at(-1) / most);
  return Array.from({ length: Math.floor(end / step) + 1 }, (_, place) => place * step);
}

function drawTimeline(place, zoom) {
  const { spans, slots, now, sessions } = page.model;
  const lanes = ["planner", ...Array.from({ length: slots }, (_, number) => String(number + 1)), "proof"];
  const row = slots > 60 ? 9 : slots > 24 ? 13 : 24;
  const end = Math.max(now, 0.001, ...spans.map((span) => span.end || 0));
  const width = Math.max(320, (place.clientWidth || 900) * zoom), scale = (width - LEFT - 12) / end;
  const x = (time) => LEFT + time * scale, top = 22;
  const y = new Map(lanes.map((lane, number) => [lane, top + number * row]));
  const height = top + lanes.length * row + 6;
  const svg = s("svg", { width, height, role: "group", "aria-label": "Timeline of planner and executors" });
  for (const time of ticks(end, (width - LEFT) / 70)) {
    svg.append(s("line", { class: "grid", x1: x(time), x2: x(time), y1: top - 4, y2: height }),
      s("text", { class: "dim", x: x(time), y: 12, "text-anchor": time ? "middle" : "start" }, time ? duration(time).replace(".0 s", " s") : "0"));
  }
  lanes.forEach((lane, number) => {
    if (number % 2) svg.append(s("rect", { class: "lane", x: 0, y: y.get(lane), width, height: row }));
    const name = lane === "planner" ? "planner" : lane === "proof" ? "checks" : row < 13 && number % 5 ? "" : `executor ${lane}`;
    svg.append(s("text", { class: "dim", x: 4, y: y.get(lane) + row / 2 + 4 }, name));
  });
  for (const at of sessions.slice(1)) svg.append(s("line", { class: "thread", x1: x(at), x2: x(at), y1: top - 6, y2: height }, s("title", {}, "resumed")));
  const ended = new Map();
  for (const span of [...spans].sort((a, b) => (a.begin || 0) - (b.begin || 0))) {
    svg.append(drawSpan(span, x, y.get(span.lane) ?? top, row, end));
    if (span.kind === "job" && span.state !== "failed") ended.set(span.task, { from: x(span.begin || 0), to: x(span.end ?? end), y: (y.get(span.lane) ?? top) + row / 2 });
  }
  svg.append(...criticalThread(ended));
  place.replaceChildren(svg);
}

function drawSpan(span, x, y, row, end) {
  const from = span.begin || 0, to = span.end ?? end, left = x(from), width = Math.max(1.5, x(to) - left);
  const high = span.kind === "wait" ? 3 : row - (row > 20 ? 6 : 2), up = span.kind === "wait" ? y + row - 4 : y + (row - high) / 2;
  const task = page.tasks.get(span.task);
  const waits = span.kind === "job" && span.ran_s !== undefined ? Math.max(0, to - from - span.ran_s) : 0;
  const before = Math.min(width, Math.max(0, x(from + waits) - left));
  const state = span.end === undefined ? "open" : tone(span.state || "");
  const label = span.task || (span.kind === "planning" ? "plan" : "");
  const told = [span.task || span.kind, span.attempt > 1 ? `attempt ${span.attempt}` : "", `${duration(to - from)}${waits > 0.1 ? `, ${duration(waits)} of it waiting` : ""}`, span.state, span.note].filter(Boolean).join(" · ");
  return s("g", { class: `bar ${span.kind} ${state}${task?.critical ? " critical" : ""}`, "data-task": span.task || null, tabindex: span.task ? -1 : null, role: span.task ? "button" : "img", "aria-label": told.slice(0, 600) },
    before > 1 && s("rect", { class: "before", x: left, y: up, width: before, height: high, rx: 2 }),
    s("rect", { class: "body edge", x: left + before, y: up, width: Math.max(1, width - before), height: high, rx: 2 }),
    row > 20 && span.kind !== "wait" && width - before > 26 && label && s("text", { x: left + before + 5, y: up + high / 2 + 4 }, fit(label, width - before - 8)));
}
const fit = (text, width) => (text.length * 6.4 <= width ? text : `${text.slice(0, Math.max(1, Math.floor(width / 6.4) - 1))}…`);

// From the end of each task of the critical path to the beginning of the next.
function criticalThread(ended) {
  const path = page.model.tasks.filter((task) => task.critical && ended.has(task.id)).map((task) => ended.get(task.id)).sort((a, b) => a.from - b.from);
  return path.slice(1).map((to, number) => {
    const from = path[number];
    return s("path", { class: "thread", d: `M${from.to},${from.y} C${from.to + 14},${from.y} ${to.from - 14},${to.y} ${to.from},${to.y}` });
  });
}

// Layers by depth from left to right; inside one, tasks stand near those that they depend on.
function layout(tasks) {
  const depth = new Map(), rank = new Map(), layers = [];
  const find = (id) => {
    const stack = [id];
    while (stack.length) {
      const top = page.tasks.get(stack.at(-1)), before = top.after.filter((each) => page.tasks.has(each));
      const open = before.filter((each) => !depth.has(each));
      if (open.length) stack.push(...open);
      else depth.set(stack.pop(), before.length ? Math.max(...before.map((each) => depth.get(each))) + 1 : 0);
    }
  };
  for (const task of tasks) if (!depth.has(task.id)) find(task.id);
  for (const task of tasks) (layers[depth.get(task.id)] ||= []).push(task);
  for (const layer of layers) {
    const mean = (task) => {
      const known = task.after.filter((each) => rank.has(each)).map((each) => rank.get(each));
      return known.length ? known.reduce((a, b) => a + b, 0) / known.length : 0.5;
    };
    const means = new Map(layer.map((task) => [task, mean(task)]));
    layer.sort((a, b) => means.get(a) - means.get(b));
    layer.forEach((task, place) => rank.set(task.id, (place + 0.5) / layer.length));
  }
  return layers;
}

const graph = { at: new Map(), near: null };

function drawGraph(place) {
  const tasks = page.model.tasks, large = tasks.length > 90;
  const [wide, high, gapX, gapY, most] = large ? [13, 13, 46, 6, 44] : [148, 34, 46, 12, 14];
  const columns = layout(tasks).flatMap((layer) => Array.from({ length: Math.ceil(layer.length / most) }, (_, part) => ({ part, tasks: layer.slice(part * most, (part + 1) * most) })));
  const tallest = Math.max(1, ...columns.map((column) => column.tasks.length)) * (high + gapY);
  graph.at = new Map();
  let left = 6;
  for (const column of columns) {
    if (column.part) left -= gapX - 10;
    const top = 6 + (tallest - column.tasks.length * (high + gapY)) / 2;
    column.tasks.forEach((task, number) => graph.at.set(task.id, [left, top + number * (high + gapY)]));
    left += wide + gapX;
  }
  graph.edge = (from, to) => {
    const [x1, y1] = graph.at.get(from), [x2, y2] = graph.at.get(to), a = x1 + wide, bend = Math.max(18, (x2 - a) / 2);
    return `M${a},${y1 + high / 2}C${a + bend},${y1 + high / 2} ${x2 - bend},${y2 + high / 2} ${x2},${y2 + high / 2}`;
  };
  const edges = tasks.flatMap((task) => task.after.filter((id) => graph.at.has(id)).map((id) => graph.edge(id, task.id)));
  graph.near = s("path", { class: "edges near" });
  const svg = s("svg", { width: left + 10, height: tallest + 12, role: "group", "aria-label": "Graph of tasks" }, s("path", { class: "edges", d: edges.join("") }), graph.near);
  for (const column of columns) for (const task of column.tasks) svg.append(drawNode(task, wide, high, large));
  place.replaceChildren(svg);
  drawNear();
}

function drawNode(task, wide, high, large) {
  const [x, y] = graph.at.get(task.id);
  const told = `${task.id}: ${task.title}, ${task.phase}${task.after.length ? `, after ${task.after.join(", ")}` : ""}`;
  return s("g", { class: `node ${task.phase}${large ? " small" : ""}${task.critical ? " critical" : ""}`, transform: `translate(${x},${y})`, "data-task": task.id, tabindex: -1, role: "button", "aria-label": told },
    s("rect", { class: "box", width: wide, height: high, rx: large ? 3 : 6 }),
    !large && s("rect", { class: "flag", x: 6, y: 8, width: 4, height: high - 16, rx: 2 }),
    !large && s("text", { x: 16, y: 15 }, fit(task.id, wide - 22)),
    !large && s("text", { class: "dim", x: 16, y: 28 }, fit(task.title, wide - 22)));
}

// What a mark says is told to a pointer once it is there: thousands of them are drawn.
function tellOnHover(place) {
  place.addEventListener("pointerover", (event) => {
    const mark = event.target.closest("[aria-label]");
    if (mark && mark.tagName === "g" && !mark.querySelector("title")) mark.append(s("title", {}, mark.getAttribute("aria-label")));
  });
}

function drawNear() {
  const task = page.tasks.get(page.chosen);
  if (!graph.near) return;
  const edges = task && graph.at.has(task.id)
    ? [...task.after.filter((id) => graph.at.has(id)).map((id) => graph.edge(id, task.id)), ...page.followers.get(task.id).map((id) => graph.edge(task.id, id))]
    : [];
  graph.near.setAttribute("d", edges.join(""));
}

function drawForecast(row) {
  const width = 360, show = figures[row.unit], most = Math.max(row.high, row.actual || 0) * 1.08 || 1;
  const x = (value) => 4 + (value / most) * (width - 8);
  const text = `${show(row.likely)} (${show(row.low)} to ${show(row.high)}); actual ${row.actual === null ? "unknown" : show(row.actual)}`;
  return h("div", {}, h("h3", {}, row.name), s("svg", { width: "100%", viewBox: `0 0 ${width} 26`, role: "img", "aria-label": text },
    s("rect", { class: "lane", x: 4, y: 11, width: width - 8, height: 4, rx: 2 }),
    s("rect", { class: "range", x: x(row.low), y: 6, width: Math.max(2, x(row.high) - x(row.low)), height: 14, rx: 4 }),
    s("line", { class: "likely", x1: x(row.likely), x2: x(row.likely), y1: 4, y2: 22 }),
    row.actual !== null && s("path", { class: "actual", d: `M${x(row.actual)},4 l6,9 l-6,9 l-6,-9 z` })),
    h("small", {}, `forecast ${text}: ${row.verdict}`));
}

function drawComparison(parts, field, show) {
  const known = parts.filter((part) => part[field] !== null), most = Math.max(...known.map((part) => part[field]), 0) || 1;
  return known.map((part, number) => {
    const width = Math.max(2, (part[field] / most) * 230);
    return s("svg", { width: "100%", viewBox: "0 0 360 30", role: "img", "aria-label": `${part.name}: ${show(part[field])}` },
      s("text", { class: "dim", x: 0, y: 9 }, `${part.name}${part.measured ? "" : " (estimated)"}`),
      s("rect", { class: number ? "this" : "alone", x: 0, y: 13, width, height: 13, rx: 3 }),
      s("text", { x: width + 6, y: 24 }, show(part[field])));
  });
}
