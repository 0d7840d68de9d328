// The panels of a board in their rows. A refresh fills the cards that are there already.

import { element } from "./dom.js";
import { configured, framesOf, transformed } from "./frames.js";
import { dataLinks } from "./links.js";
import { PANELS } from "./panels.js";

const closed = new Set(); // ids of the rows that somebody closed
let shown = { signature: null, cards: [] };

// Rows, each with the panels below it, in the board's order.
function sections({ board }) {
  const made = [{ row: null, panels: [] }];
  for (const panel of board.panels) {
    if (panel.type === "row") made.push({ row: panel, panels: [] });
    else made.at(-1).panels.push(panel);
  }
  return made.filter((section) => section.row || section.panels.length);
}

function cardOf(panel, top) {
  const { x, y, w, h } = panel.gridPos;
  const { title, description } = panel;
  const body = element("div", { className: `body ${panel.type}` });
  const about = element("button", {
    type: "button",
    className: "about",
    text: "i",
    title: description,
    "aria-label": `About: ${description}`,
  });
  const heading = [element("span", { text: title }), ...(description ? [about] : [])];
  const box = element("article", {
    className: "panel",
    "data-panel": panel.id,
    "aria-label": title,
    children: [element("h3", { children: heading }), body],
  });
  box.style.gridColumn = `${x + 1} / span ${w}`;
  box.style.gridRow = `${y - top + 1} / span ${h}`;
  return { panel, box, body, endings: [], memory: {} };
}

function headingOf(page, { row }) {
  const isClosed = closed.has(row.id);
  const button = element("button", {
    type: "button",
    text: `${isClosed ? "▸" : "▾"} ${row.title}`,
    "aria-expanded": String(!isClosed),
    onclick: () => {
      if (!closed.delete(row.id)) closed.add(row.id);
      page.refresh();
    },
  });
  return element("h2", { children: [button] });
}

function laidOut(page) {
  const cards = [];
  const boxes = sections(page).map((section) => {
    const { row, panels } = section;
    const box = element("section", { children: row ? [headingOf(page, section)] : [] });
    if (!closed.has(row?.id) && panels.length) {
      const top = Math.min(...panels.map((panel) => panel.gridPos.y));
      const own = panels.map((panel) => cardOf(panel, top));
      cards.push(...own);
      box.append(element("div", { className: "cells24", children: own.map((card) => card.box) }));
    }
    return box;
  });
  return { cards, boxes };
}

// Draw all panels; `isOver` tells whether something else was chosen meanwhile.
export async function drawGrid(grid, page, isOver) {
  const signature = JSON.stringify([...closed]);
  if (signature !== shown.signature) {
    shown.cards.forEach(end);
    const { cards, boxes } = laidOut(page);
    grid.replaceChildren(...boxes);
    shown = { signature, cards };
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

async function fill(card, page, isOver) {
  const { panel, box, body } = card;
  const draw = PANELS[panel.type];
  try {
    if (!draw)
      return say(card, `This page has no panel “${panel.type}”; Grafana has.`, "unsupported");
    const asked = page.askedOf();
    asked.set("points", String(Math.max(100, body.clientWidth || 600)));
    const answer = await page.ask(`/panels/${panel.id}`, asked);
    if (isOver()) return;
    end(card);
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
    links: (field) => dataLinks(field, { ...page, cells: context.row }),
  };
  return context;
}
