// The panels of a board in their rows. A refresh fills the cards that are there already.

import { anchor, element } from "./dom.js";
import { configured, framesOf, transformed } from "./frames.js";
import { dataLinks, filled } from "./links.js";
import { PANELS } from "./panels.js";

const closed = new Map(); // row -> whether somebody closed it
let shown = { signature: "", cards: [] };

const place = ({ gridPos = {} }) => ({ x: 0, y: 0, w: 12, h: 8, ...gridPos });

// Rows, each with the panels below it.
function sections(page) {
  const made = [{ row: null, panels: [] }];
  const ordered = [...page.board.panels].sort((a, b) => {
    const [one, two] = [place(a), place(b)];
    return one.y - two.y || one.x - two.x;
  });
  for (const panel of ordered) {
    if (panel.type !== "row") made.at(-1).panels.push(panel);
    else made.push({ row: panel, panels: [...(panel.panels ?? [])] });
  }
  return made.filter((section) => section.row || section.panels.length);
}

const textOf = (page, text) => filled(text ?? "", page);

function cardOf(page, panel, top) {
  const { x, y, w, h } = place(panel);
  const body = element("div", { className: `body ${panel.type}` });
  const title = textOf(page, panel.title);
  const description = textOf(page, panel.description);
  const links = (panel.links ?? []).map((one) =>
    anchor(textOf(page, one.url), "↗", { title: one.title, className: "out" }),
  );
  const about = element("button", {
    type: "button",
    className: "about",
    text: "i",
    title: description,
    "aria-label": `About: ${description}`,
  });
  const heading = [element("span", { text: title }), ...(description ? [about] : []), ...links];
  const box = element("article", {
    className: panel.transparent ? "panel clear" : "panel",
    "data-panel": panel.id,
    "aria-label": title,
    children: [element("h3", { children: heading }), body],
  });
  box.style.gridColumn = `${x + 1} / span ${w}`;
  box.style.gridRow = `${y - top + 1} / span ${h}`;
  return { panel, box, body, endings: [], memory: {} };
}

function headingOf(page, section, key) {
  const isClosed = closed.get(key);
  const button = element("button", {
    type: "button",
    text: `${isClosed ? "▸" : "▾"} ${textOf(page, section.row.title)}`,
    "aria-expanded": String(!isClosed),
    onclick: () => {
      closed.set(key, !isClosed);
      page.refresh();
    },
  });
  return element("h2", { children: [button] });
}

function laidOut(page) {
  const cards = [];
  const boxes = sections(page).map((section) => {
    const key = section.row?.id ?? "";
    if (!closed.has(key)) closed.set(key, Boolean(section.row?.collapsed));
    const box = element("section", {
      children: section.row ? [headingOf(page, section, key)] : [],
    });
    if (!closed.get(key) && section.panels.length) {
      const top = Math.min(...section.panels.map((panel) => place(panel).y));
      const own = section.panels.map((panel) => cardOf(page, panel, top));
      cards.push(...own);
      box.append(element("div", { className: "cells24", children: own.map((card) => card.box) }));
    }
    return box;
  });
  return { cards, boxes };
}

// Draw all panels; `isOver` tells whether something else was chosen meanwhile.
export async function drawGrid(grid, page, isOver) {
  // Titles may name what is chosen.
  const signature = () => JSON.stringify([[...closed], page.variables.map((one) => one.chosen)]);
  if (signature() !== shown.signature) {
    shown.cards.forEach(end);
    const { cards, boxes } = laidOut(page);
    grid.replaceChildren(...boxes);
    shown = { signature: signature(), cards };
  }
  await Promise.all(shown.cards.map((card) => fill(card, page, isOver)));
}

function end(card) {
  card.endings.splice(0).forEach((one) => one());
}

function say({ body, box }, text, kind) {
  body.replaceChildren(element("p", { text, className: `nothing ${kind}` }));
  box.dataset.state = kind;
}

// A panel's own time, "30d" or "now/M", goes before the board's.
function askedBy({ panel, body }, page) {
  const asked = page.askedOf();
  if (panel.timeFrom) {
    const from = panel.timeFrom.startsWith("now") ? panel.timeFrom : `now-${panel.timeFrom}`;
    asked.set("from", from);
    asked.set("to", from.includes("/") ? from : "now");
  }
  const points = Math.min(panel.maxDataPoints ?? Infinity, body.clientWidth || 600);
  asked.set("points", String(Math.round(Math.max(100, points))));
  return asked;
}

async function fill(card, page, isOver) {
  const { panel, box, body } = card;
  const draw = PANELS[panel.type];
  const nothing = { targets: [], from: 0, to: 1, step: 1 };
  let answer;
  try {
    const asked = askedBy(card, page);
    answer = panel.targets?.length && draw ? await page.ask(`/panels/${panel.id}`, asked) : nothing;
    if (isOver()) return;
    end(card);
    if (!draw)
      return say(card, `This page has no panel “${panel.type}”; Grafana has.`, "unsupported");
    if (panel.repeat) return say(card, "This page repeats no panel; Grafana does.", "unsupported");
    const errors = answer.targets.filter((one) => one.error).map((one) => one.error);
    if (errors.length) return say(card, errors.join("; "), "failed");
    const [raw, unknown] = transformed(framesOf(answer), panel.transformations);
    if (unknown.length) {
      const names = unknown.join(", ");
      return say(card, `This page has no transformation ${names}; Grafana has.`, "unsupported");
    }
    box.dataset.series = String(answer.targets.reduce((all, one) => all + one.series.length, 0));
    const frames = configured(raw, panel.fieldConfig);
    if (draw(body, panel, frames, answer, contextOf(card, page))) box.dataset.state = "drawn";
    else say(card, panel.fieldConfig?.defaults?.noValue ?? "No data", "empty");
  } catch (error) {
    if (!isOver()) say(card, error.message, "failed");
  }
}

function contextOf({ memory, endings }, page) {
  const context = {
    regions: page.regions,
    memory,
    row: undefined, // the cells of a table's row, by heading
    atEnd: (one) => endings.push(one),
    zoom: (from, to) => page.choose({ from: String(Math.round(from)), to: String(Math.round(to)) }),
    text: (text) => textOf(page, text),
    links: (field, row) => dataLinks(field, row, { ...page, cells: context.row }),
  };
  return context;
}
