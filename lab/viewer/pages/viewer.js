// One board: variables, time, links and panels. What is chosen is in the address, as Grafana's is.

import { anchor, element } from "./dom.js";
import { configured, framesOf, transformed } from "./frames.js";
import { addressOf, dataLinks, filled } from "./links.js";
import { PANELS } from "./panels.js";
import { stamp } from "./values.js";
import { drawVariables, loadVariables } from "./variables.js";

const RANGES = {
  "now-1m": "Last minute",
  "now-5m": "Last 5 minutes",
  "now-15m": "Last 15 minutes",
  "now-30m": "Last 30 minutes",
  "now-1h": "Last hour",
  "now-3h": "Last 3 hours",
  "now-6h": "Last 6 hours",
  "now-12h": "Last 12 hours",
  "now-24h": "Last 24 hours",
  "now-2d": "Last 2 days",
  "now-7d": "Last 7 days",
  "now-30d": "Last 30 days",
  "now/d": "Today",
  "now/M": "This month",
};
const REFRESHES = {
  "": "Off",
  "5s": "5 s",
  "10s": "10 s",
  "30s": "30 s",
  "1m": "1 min",
  "5m": "5 min",
};
const SECONDS = { s: 1, m: 60, h: 3600 };

const $ = (id) => document.getElementById(id);
const uid = location.pathname.split("/")[2] ?? "";

const state = {
  board: null,
  parameters: new URLSearchParams(location.search),
  variables: [],
  collapsed: new Set(),
  memory: new Map(),
  endings: [],
  round: 0,
};

async function ask(path, parameters) {
  const answer = await fetch(`/api/boards/${encodeURIComponent(uid)}${path}?${parameters ?? ""}`);
  const said = await answer.json();
  if (said.error) throw new Error(said.error);
  return said;
}

// Grafana's way: `to` of a calendar range is the same, "now/M".
const range = () => ({
  from: state.parameters.get("from") ?? state.board.time?.from ?? "now-1h",
  to: state.parameters.get("to") ?? state.board.time?.to ?? "now",
});

const timeParameters = () => new URLSearchParams(range());

// Change what is chosen, keep it in the address, and draw anew.
async function choose(changes, { replace = false } = {}) {
  for (const [key, value] of Object.entries(changes)) {
    state.parameters.delete(key);
    for (const one of [value].flat()) if (one !== undefined) state.parameters.append(key, one);
  }
  history[replace ? "replaceState" : "pushState"](
    null,
    "",
    `${location.pathname}?${state.parameters}`,
  );
  await refresh();
}

function askedOf(scoped = {}) {
  const made = timeParameters();
  for (const variable of state.variables) {
    const name = `var-${variable.name}`;
    for (const one of scoped[variable.name] ? [scoped[variable.name]] : variable.asked)
      made.append(name, one);
  }
  return made;
}

function drawTimes() {
  const { from, to } = range();
  const value = from === to || to === "now" ? from : "";
  const select = element("select", {
    "aria-label": "Time range",
    id: "range",
    onchange: (event) =>
      choose({
        from: event.target.value,
        to: event.target.value.includes("/") ? event.target.value : "now",
      }),
  });
  const known =
    value in RANGES
      ? RANGES
      : {
          [value]: /^\d+$/.test(from)
            ? `${stamp(Number(from))} to ${stamp(Number(to))}`
            : `${from} to ${to}`,
          ...RANGES,
        };
  for (const [key, text] of Object.entries(known))
    select.append(element("option", { value: key, text, selected: key === value }));
  const every = state.parameters.get("refresh") ?? state.board.refresh ?? "";
  const pause = element("select", {
    "aria-label": "Refresh",
    id: "refresh",
    onchange: (event) => choose({ refresh: event.target.value }),
  });
  for (const [key, text] of Object.entries({
    ...REFRESHES,
    ...(every in REFRESHES ? {} : { [every]: every }),
  }))
    pause.append(element("option", { value: key, text, selected: key === every }));
  $("times").replaceChildren(
    select,
    element("button", { type: "button", text: "↻", title: "Refresh", onclick: refresh }),
    pause,
  );
}

function drawLinks(boards) {
  const current = { board: state.board, variables: state.variables, range: range() };
  $("boards").replaceChildren(
    ...boards.map((one) =>
      anchor(addressOf(`/d/${one.uid}`, current, true, true), one.title, {
        title: one.description,
        ...(one.uid === uid ? { "aria-current": "page" } : {}),
      }),
    ),
  );
  const tabs = new Set(boards.map((one) => `/d/${one.uid}`)); // they are among the tabs already
  $("links").replaceChildren(
    ...(state.board.links ?? [])
      .filter((one) => one.type === "link" && !tabs.has(one.url))
      .map((one) =>
        anchor(
          addressOf(filled(one.url, current), current, one.includeVars, one.keepTime),
          one.title,
          one.targetBlank ? { target: "_blank", rel: "noopener" } : {},
        ),
      ),
  );
}

// Rows, each with the panels below it. A repeated row or panel is there once for each value.
function sections(board) {
  const made = [{ row: null, panels: [], scoped: {} }];
  for (const panel of [...board.panels].sort(
    (a, b) =>
      (a.gridPos?.y ?? 0) - (b.gridPos?.y ?? 0) || (a.gridPos?.x ?? 0) - (b.gridPos?.x ?? 0),
  )) {
    if (panel.type === "row")
      made.push({ row: panel, panels: [...(panel.panels ?? [])], scoped: {} });
    else made.at(-1).panels.push(panel);
  }
  return made
    .flatMap((section) => {
      const name = section.row?.repeat;
      return name
        ? valuesOf(name).map((value) => ({ ...section, scoped: { [name]: value } }))
        : [section];
    })
    .filter((section) => section.row || section.panels.length);
}

const valuesOf = (name) => state.variables.find((one) => one.name === name)?.shown ?? [];

function placed(section) {
  const top = Math.min(...section.panels.map((panel) => panel.gridPos?.y ?? 0));
  const made = [];
  let pushed = 0;
  for (const panel of section.panels) {
    const { x = 0, y = 0, w = 12, h = 8 } = panel.gridPos ?? {};
    const at = y - top + pushed;
    if (!panel.repeat) {
      made.push({ panel, x, y: at, w, h, scoped: section.scoped });
      continue;
    }
    const values = valuesOf(panel.repeat),
      isDown = panel.repeatDirection === "v";
    const across = isDown ? 1 : Math.max(1, Math.min(values.length, panel.maxPerRow ?? 4));
    const width = isDown ? w : Math.floor(24 / across);
    values.forEach((value, position) =>
      made.push({
        panel,
        x: isDown ? x : (position % across) * width,
        y: at + Math.floor(position / across) * h,
        w: width,
        h,
        scoped: { ...section.scoped, [panel.repeat]: value },
      }),
    );
    pushed += (Math.ceil(values.length / across) - 1) * h;
  }
  return made;
}

function drawGrid() {
  const grid = $("grid"),
    wanted = [];
  grid.replaceChildren(
    ...sections(state.board).map((section) => {
      const key = section.row ? `${section.row.id}${Object.values(section.scoped)}` : "";
      if (section.row && !state.memory.has(key)) state.memory.set(key, section.row.collapsed);
      const isClosed = section.row && state.memory.get(key);
      const box = element("section");
      if (section.row) {
        box.append(
          element("h2", {
            children: [
              element("button", {
                type: "button",
                text: `${isClosed ? "▸" : "▾"} ${textOf(section.row.title, section.scoped)}`,
                "aria-expanded": String(!isClosed),
                onclick: () => {
                  state.memory.set(key, !isClosed);
                  refresh();
                },
              }),
            ],
          }),
        );
      }
      if (!isClosed && section.panels.length) {
        const cells = element("div", { className: "cells24" });
        for (const one of placed(section)) {
          const card = cardOf(one);
          cells.append(card.box);
          wanted.push(card);
        }
        box.append(cells);
      }
      return box;
    }),
  );
  return wanted;
}

const textOf = (text, scoped = {}) =>
  filled(text ?? "", { board: state.board, variables: state.variables, range: range(), scoped });

function cardOf({ panel, x, y, w, h, scoped }) {
  const body = element("div", { className: `body ${panel.type}` });
  const title = textOf(panel.title, scoped);
  const links = (panel.links ?? []).map((one) =>
    anchor(textOf(one.url, scoped), "↗", { title: one.title, className: "out" }),
  );
  const about = panel.description
    ? [
        element("button", {
          type: "button",
          className: "about",
          text: "i",
          title: textOf(panel.description, scoped),
          "aria-label": `About: ${panel.description}`,
        }),
      ]
    : [];
  const box = element("article", {
    className: panel.transparent ? "panel clear" : "panel",
    "data-panel": panel.id,
    "aria-label": title,
    children: [
      element("h3", { children: [element("span", { text: title }), ...about, ...links] }),
      body,
    ],
  });
  box.style.gridColumn = `${x + 1} / span ${w}`;
  box.style.gridRow = `${y + 1} / span ${h}`;
  return { panel, box, body, scoped };
}

// A panel's own time, "30d" or "now/M", goes before the board's.
function panelTime(asked, panel) {
  if (!panel.timeFrom) return;
  const from = panel.timeFrom.startsWith("now") ? panel.timeFrom : `now-${panel.timeFrom}`;
  asked.set("from", from);
  asked.set("to", from.includes("/") ? from : "now");
}

async function fill({ panel, box, body, scoped }, regions, round) {
  const draw = PANELS[panel.type];
  if (!draw) {
    say(
      body,
      box,
      `This page has no panel of the kind “${panel.type}”; Grafana shows it.`,
      "unsupported",
    );
    return;
  }
  try {
    const asked = askedOf(scoped);
    panelTime(asked, panel);
    asked.set(
      "points",
      String(
        Math.round(
          Math.max(100, Math.min(panel.maxDataPoints ?? Infinity, body.clientWidth || 600)),
        ),
      ),
    );
    const answer = panel.targets?.length
      ? await ask(`/panels/${panel.id}`, asked)
      : { targets: [], from: 0, to: 1, step: 1 };
    if (round !== state.round) return; // something else was chosen meanwhile
    const trouble = answer.targets.filter((one) => one.error).map((one) => one.error);
    if (trouble.length) {
      say(body, box, trouble.join("; "), "failed");
      return;
    }
    const [raw, unknown] = transformed(framesOf(answer), panel.transformations);
    const frames = configured(raw, panel.fieldConfig);
    if (unknown.length) {
      say(
        body,
        box,
        `This page does not know the transformation ${unknown.join(", ")}; Grafana does.`,
        "unsupported",
      );
      return;
    }
    const context = contextOf(panel, scoped, regions);
    box.dataset.series = String(answer.targets.reduce((all, one) => all + one.series.length, 0));
    if (draw(body, panel, frames, answer, context)) box.dataset.state = "drawn";
    else say(body, box, panel.fieldConfig?.defaults?.noValue ?? "No data", "empty");
  } catch (error) {
    if (round === state.round) say(body, box, error.message, "failed");
  }
}

function contextOf(panel, scoped, regions) {
  const key = `${panel.id} ${Object.values(scoped)}`;
  if (!state.memory.has(key)) state.memory.set(key, {});
  const context = {
    regions,
    row: undefined,
    memory: state.memory.get(key),
    zoom: (from, to) => choose({ from: String(Math.round(from)), to: String(Math.round(to)) }),
    atEnd: (end) => state.endings.push(end),
    text: (text) => textOf(text, scoped),
    links: (field, row) =>
      dataLinks(field, row, {
        board: state.board,
        variables: state.variables,
        range: range(),
        scoped,
        cells: context.row,
      }),
  };
  return context;
}

function say(body, box, text, kind) {
  body.replaceChildren(element("p", { text, className: `nothing ${kind}` }));
  box.dataset.state = kind;
}

function trouble(text) {
  $("trouble").textContent = text;
  $("trouble").hidden = !text;
}

let timer;
function schedule() {
  clearTimeout(timer);
  const every = /^(\d+)([smh])$/.exec(state.parameters.get("refresh") ?? state.board.refresh ?? "");
  if (every)
    timer = setTimeout(
      () => (document.hidden ? schedule() : refresh()),
      Number(every[1]) * SECONDS[every[2]] * 1000,
    );
}

async function refresh() {
  const round = (state.round += 1);
  document.body.dataset.state = "loading";
  try {
    trouble("");
    state.variables = await loadVariables(state.board, state.parameters, ask, timeParameters);
    const regions = await ask("/annotations", askedOf());
    if (round !== state.round) return;
    drawVariables($("variables"), state.variables, choose);
    drawTimes();
    drawLinks(state.boards);
    state.endings.splice(0).forEach((end) => end());
    const held = scrollY;
    const cards = drawGrid();
    scrollTo(0, held);
    await Promise.all(cards.map((card) => fill(card, regions, round)));
  } catch (error) {
    if (round === state.round) trouble(error.message);
  }
  if (round !== state.round) return;
  document.body.dataset.state = "ready";
  document.body.dataset.drawn = String(Math.round(performance.now()));
  schedule();
}

async function start() {
  try {
    [state.board, state.boards] = await Promise.all([
      ask(""),
      fetch("/api/boards").then((one) => one.json()),
    ]);
    document.title = `${state.board.title} - boards`;
    $("title").textContent = state.board.title;
    $("title").title = state.board.description ?? "";
    await refresh();
  } catch (error) {
    trouble(error.message);
    document.body.dataset.state = "ready";
  }
}

addEventListener("popstate", () => {
  state.parameters = new URLSearchParams(location.search);
  refresh();
});
start();
