// One board: variables, time, links and panels. What is chosen is in the address, as Grafana's is.

import { anchor, element } from "./dom.js";
import { drawGrid } from "./grid.js";
import { addressOf } from "./links.js";
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
};
const REFRESHES = {
  "": "Off",
  "5s": "5 s",
  "10s": "10 s",
  "30s": "30 s",
  "1m": "1 min",
  "5m": "5 min",
};
const BUSY = ".tip:not([hidden]), details[open]";
const SECONDS = { s: 1, m: 60, h: 3600 };

const $ = (id) => document.getElementById(id);
const uid = location.pathname.split("/")[2] ?? "";

const state = {
  board: null,
  boards: [],
  parameters: new URLSearchParams(location.search),
  variables: [],
  round: 0,
};

async function ask(path, parameters) {
  const answer = await fetch(`/api/boards/${encodeURIComponent(uid)}${path}?${parameters ?? ""}`);
  const said = await answer.json();
  if (said.error) throw new Error(said.error);
  return said;
}

const range = () => ({
  from: state.parameters.get("from") ?? state.board.time?.from ?? "now-1h",
  to: state.parameters.get("to") ?? state.board.time?.to ?? "now",
});

const current = () => ({ board: state.board, variables: state.variables, range: range() });

const timeParameters = () => new URLSearchParams(range());

// Change what is chosen, keep it in the address, and draw anew.
async function choose(changes) {
  for (const [key, value] of Object.entries(changes)) {
    state.parameters.delete(key);
    for (const one of [value].flat()) state.parameters.append(key, one);
  }
  history.pushState(null, "", `${location.pathname}?${state.parameters}`);
  await refresh();
}

function askedOf() {
  const made = timeParameters();
  for (const variable of state.variables)
    for (const one of variable.chosen) made.append(`var-${variable.name}`, one);
  return made;
}

let drawnTimes = "";
function drawTimes() {
  const chosen = JSON.stringify([range(), state.parameters.get("refresh")]);
  if (chosen === drawnTimes) return;
  drawnTimes = chosen;
  const { from, to } = range();
  const value = to === "now" ? from : "";
  const select = element("select", {
    "aria-label": "Time range",
    id: "range",
    onchange: (event) => choose({ from: event.target.value, to: "now" }),
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
  $("boards").replaceChildren(
    ...boards.map((one) =>
      anchor(addressOf(one.uid, current()), one.title, {
        title: one.description,
        ...(one.uid === uid ? { "aria-current": "page" } : {}),
      }),
    ),
  );
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
      // What somebody reads or chooses at the moment stays.
      () => (document.hidden || document.querySelector(BUSY) ? schedule() : refresh()),
      Number(every[1]) * SECONDS[every[2]] * 1000,
    );
}

async function refresh() {
  const round = (state.round += 1);
  document.body.dataset.state = "loading";
  try {
    trouble("");
    drawTimes(); // before what a wrong range makes fail, which could not be left otherwise
    state.variables = await loadVariables(state.board, state.parameters, ask, timeParameters);
    const regions = await ask("/annotations", askedOf());
    if (round !== state.round) return;
    drawVariables($("variables"), state.variables, choose);
    drawLinks(state.boards);
    const page = { ...current(), ask, askedOf, choose, refresh, regions };
    await drawGrid($("grid"), page, () => round !== state.round);
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
