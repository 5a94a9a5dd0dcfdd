"use strict";
// Elements, numbers, and the one task that is selected. Text only ever becomes text nodes.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(2)) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
  return element;
}
const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const s = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
const byId = (id) => document.getElementById(id);

const commas = (number) => Math.round(number).toLocaleString("en");
const dollars = (amount) => (amount === null || amount === undefined ? "?" : `$${amount.toFixed(amount < 1 ? 4 : 2)}`);
const plural = (number, noun) => `${commas(number)} ${noun}${number === 1 ? "" : "s"}`;
const two = (number) => String(number).padStart(2, "0");

function duration(seconds) {
  if (seconds === null || seconds === undefined) return "-";
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const hours = Math.floor(whole / 3600), minutes = Math.floor((whole % 3600) / 60);
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}
function short(number) {
  if (number >= 1e6) return `${(number / 1e6).toFixed(1)} M`;
  return number >= 1e4 ? `${(number / 1e3).toFixed(1)} k` : commas(number);
}
const size = (bytes) => (bytes < 1024 ? `${bytes} B` : bytes < 1048576 ? `${(bytes / 1024).toFixed(1)} KiB` : `${(bytes / 1048576).toFixed(1)} MiB`);
const tone = (state) => (state === "not proven" ? "unproven" : state);
const figures = {
  s: duration,
  tokens: short,
  usd: dollars,
};

// What is shown, and what was loaded of it. In a live page `details` and `contents` come on demand.
const page = { model: null, live: false, details: {}, contents: {}, seen: new Map(), chosen: "", file: "", tasks: new Map() };

function take(model) {
  page.model = model;
  page.tookAt = model.now - performance.now() / 1000;
  page.tasks = new Map(model.tasks.map((task) => [task.id, task]));
  page.followers = new Map(model.tasks.map((task) => [task.id, []]));
  for (const task of model.tasks) for (const before of task.after) page.followers.get(before)?.push(task.id);
}

async function load(kind, name) {
  const kept = page[kind];
  if (Object.hasOwn(kept, name)) return kept[name];
  if (!page.live) return null;
  const address = `${kind}?of=${encodeURIComponent(name)}`;
  try {
    const answer = await fetch(address, { cache: "no-store" });
    if (answer.ok) page.seen.set(address, await answer.json());
  } catch {
    // the program that serves the page has ended: what was seen last stays
  }
  return page.seen.get(address) ?? null;
}

// Everything that stands for a task carries data-task; choosing one marks all of them.
const marked = (id) => document.querySelectorAll(`[data-task="${CSS.escape(id)}"]`);

function choose(id, from) {
  for (const element of marked(page.chosen)) element.classList.remove("sel");
  page.chosen = page.tasks.has(id) ? id : "";
  remark();
  showPanel();
  drawNear();
  if (page.chosen) for (const place of document.querySelectorAll(".scroll[id]")) if (!place.contains(from)) reveal(place, page.chosen);
}
function remark() {
  if (page.chosen) for (const element of marked(page.chosen)) element.classList.add("sel");
}
// Scrolls a chart to the task, and never the page.
function reveal(place, id) {
  place.reach?.(id);
  const mark = place.querySelector(`[data-task="${CSS.escape(id)}"]`);
  if (!mark) return;
  const at = mark.getBoundingClientRect(), seen = place.getBoundingClientRect();
  if (at.top < seen.top || at.bottom > seen.bottom) place.scrollTop += at.top - seen.top - seen.height / 2;
  if (at.left < seen.left || at.right > seen.right) place.scrollLeft += at.left - seen.left - seen.width / 2;
}
const chip = (id) =>
  page.tasks.has(id)
    ? h("button", { class: "chip", "data-task": id, type: "button", title: page.tasks.get(id).title }, id)
    : h("span", { class: "chip" }, id);

// One stop of the Tab key for a whole chart, table or tree; the arrow keys move inside it.
function roving(container, selector) {
  const items = () => [...container.querySelectorAll(selector)].filter((item) => item.getClientRects().length);
  const enter = (item) => {
    for (const other of container.querySelectorAll('[tabindex="0"]')) other.setAttribute("tabindex", "-1");
    item.setAttribute("tabindex", "0");
  };
  container.addEventListener("keydown", (event) => {
    const here = event.target.closest(selector);
    if (!here || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "Enter" || event.key === " ") {
      if (here.dataset.task && !event.target.closest("button, summary")) {
        event.preventDefault();
        choose(here.dataset.task, here);
      }
      return;
    }
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    if (!step && event.key !== "Home" && event.key !== "End") return;
    event.preventDefault();
    const all = items();
    const place = event.key === "Home" ? 0 : event.key === "End" ? all.length - 1 : all.indexOf(here) + step;
    all[Math.max(0, Math.min(all.length - 1, place))]?.focus();
  });
  container.addEventListener("focusin", (event) => {
    const item = event.target.closest(selector);
    if (item) enter(item);
  });
  return () => {
    const first = container.querySelector(selector);
    if (first && !container.querySelector(`${selector}[tabindex="0"]`)) first.setAttribute("tabindex", "0");
  };
}
