// The panels that are boxes, bars and rows: stat, bargauge, table, state-timeline.
//
// Options that all boards have alike (dashboards/panels.py) are not read.

import { anchor, element, svg } from "./dom.js";
import { sorted } from "./frames.js";
import { drawLines } from "./lines.js";
import { display, isMissing, lastOf, stamp } from "./values.js";

// The last value of each field of numbers.
const lastValues = (frames) =>
  frames
    .flatMap((frame) => frame.fields)
    .filter((field) => field.type === "number")
    .map((field) => ({ field, value: lastOf(field.values) }));

// A name that leads where its field's first link does.
function named(field, context) {
  const [link] = context.links(field);
  const name = field.display;
  return link
    ? anchor(link.href, name, { className: "name", title: link.title })
    : element("span", { text: name, className: "name", title: name });
}

function sparkline(values, stroke) {
  const numbers = values.map((one) => (Number.isFinite(one) ? one : null));
  const known = numbers.filter((one) => one !== null);
  const low = Math.min(...known),
    high = Math.max(...known),
    width = 100,
    height = 30;
  const x = (at) => (at / Math.max(1, numbers.length - 1)) * width,
    y = (one) =>
      height - 2 - ((one - low) / (high - low || 1)) * (height - 6) * (high === low ? 0 : 1);
  const points = numbers
    .map((one, at) => (one === null ? null : `${x(at).toFixed(1)},${y(one).toFixed(1)}`))
    .filter(Boolean);
  const made = svg("svg", {
    viewBox: `0 0 ${width} ${height}`,
    preserveAspectRatio: "none",
    class: "spark",
  });
  const area = svg("polygon", {
    points: `${points[0].split(",")[0]},${height} ${points.join(" ")} ${points.at(-1).split(",")[0]},${height}`,
    fill: stroke,
    opacity: 0.18,
  });
  const line = svg("polyline", {
    points: points.join(" "),
    fill: "none",
    stroke,
    "stroke-width": 1.5,
    "vector-effect": "non-scaling-stroke",
  });
  made.append(area, line);
  return made;
}

function drawStat(body, panel, frames, answer, context) {
  const shown = lastValues(frames);
  if (!shown.length) return false;
  const box = element("div", { className: "stats" });
  body.replaceChildren(box);
  const isWide = box.clientWidth > box.clientHeight;
  box.classList.toggle("wide", isWide);
  const width = isWide ? box.clientWidth / shown.length : box.clientWidth,
    height = isWide ? box.clientHeight : box.clientHeight / shown.length;
  for (const { field, value } of shown) {
    const said = display(value, field);
    const [link] = context.links(field);
    const tile = link
      ? anchor(link.href, undefined, { className: "tile", title: link.title })
      : element("div", { className: "tile" });
    const isNamed = shown.length > 1;
    const isDrawn = field.values.filter(Number.isFinite).length > 1;
    if (isDrawn) tile.style.paddingBottom = `${height * 0.26}px`;
    if (isNamed) tile.append(element("span", { text: field.display, className: "name" }));
    const number = element("span", {
      className: "number",
      children: [document.createTextNode(said.text), element("small", { text: said.suffix })],
    });
    number.style.color = said.color;
    const room = height * (isNamed || isDrawn ? 0.5 : 0.6);
    number.style.fontSize = `${Math.max(14, Math.min(64, room, (width * 1.5) / Math.max(3, said.all.length)))}px`;
    tile.append(number);
    if (isDrawn) tile.append(sparkline(field.values, said.color));
    box.append(tile);
  }
  return true;
}

function drawBars(body, panel, frames, answer, context) {
  const shown = lastValues(frames);
  if (!shown.length) return false;
  const numbers = shown.map(({ value }) => value).filter(Number.isFinite);
  const box = element("div", { className: "bars" });
  for (const { field, value } of shown) {
    const low = field.config.min ?? Math.min(0, ...numbers),
      high = field.config.max ?? Math.max(...numbers, low + 1e-9);
    const said = display(value, field);
    const bar = element("i"),
      rail = element("span", { className: "rail", children: [bar] });
    bar.style.width = `${Math.max(0, Math.min(1, ((value ?? low) - low) / (high - low || 1))) * 100}%`;
    bar.style.background = said.color;
    const number = element("b", { text: said.all });
    number.style.color = said.color;
    box.append(element("div", { className: "bar", children: [named(field, context), rail, number] }));
  }
  body.replaceChildren(box);
  return true;
}

function cell(field, value, context) {
  const said = display(value, field);
  const [link] = context.links(field);
  const inner = link
    ? anchor(link.href, said.all, { title: link.title })
    : element("span", { text: said.all });
  if (field.config.custom.cellOptions?.type === "color-text" && !isMissing(value))
    inner.style.color = said.color;
  return element("td", { className: field.type, children: [inner] });
}

function drawTable(body, panel, frames, answer, context) {
  let frame = frames.find((one) => one.fields[0]?.values.length) ?? null;
  if (!frame) return false;
  const state = context.memory;
  const order = state.sort ? [state.sort] : (panel.options?.sortBy ?? []);
  for (const { displayName, desc } of order.toReversed()) frame = sorted(frame, displayName, desc);
  const [by] = order;
  const heading = (field) => {
    const isBy = by?.displayName === field.display;
    const button = element("button", {
      type: "button",
      text: field.display + (isBy ? (by.desc ? " ▾" : " ▴") : ""),
      onclick: () => {
        const desc = isBy ? !by.desc : field.type === "number";
        state.sort = { displayName: field.display, desc };
        drawTable(body, panel, frames, answer, context);
      },
    });
    return element("th", { scope: "col", className: field.type, children: [button] });
  };
  const rows = Array.from({ length: frame.fields[0].values.length }, (_, row) => {
    context.row = Object.fromEntries(frame.fields.map((one) => [one.display, one.values[row]]));
    const cells = frame.fields.map((field) => cell(field, field.values[row], context));
    return element("tr", { children: cells });
  });
  context.row = undefined;
  const headings = element("tr", { children: frame.fields.map(heading) });
  const made = element("table", {
    className: "cells",
    children: [
      element("thead", { children: [headings] }),
      element("tbody", { children: rows }),
    ],
  });
  body.replaceChildren(element("div", { className: "scroll", children: [made] }));
  return true;
}

function drawStates(body, panel, frames, answer, context) {
  const { from, to, step } = answer,
    share = (at) => ((at - from) / (to - from)) * 100;
  const box = element("div", { className: "states" });
  const seen = new Map();
  for (const { fields } of frames) {
    const [{ values: times }, field] = fields;
    const line = element("div", { className: "line" });
    let run = null;
    const close = (until) => {
      if (!run) return;
      const part = element("span", {
        title: `${run.said.all}, ${stamp(run.at)} to ${stamp(until)}`,
      });
      const left = Math.max(0, share(run.at)),
        width = Math.min(100, share(until)) - left;
      part.style.left = `${left}%`;
      part.style.width = `${width}%`;
      part.style.background = run.said.color;
      if (width > 0) line.append(part);
      run = null;
    };
    field.values.forEach((value, at) => {
      const isGap = at > 0 && times[at] - times[at - 1] > step * 1.5;
      if (isGap) close(times[at - 1] + step);
      const said = isMissing(value) ? null : display(value, field);
      if (run && (said?.all !== run.said.all || said.color !== run.said.color)) close(times[at]);
      if (said && !run) run = { at: times[at], said };
      if (said) seen.set(said.all, said.color);
    });
    if (times.length) close(times.at(-1) + step);
    line.style.height = `${(panel.options?.rowHeight ?? 0.9) * 100}%`;
    box.append(
      element("div", {
        className: "state",
        children: [
          named(field, context),
          element("div", { className: "track", children: [line] }),
        ],
      }),
    );
  }
  if (!box.children.length) return false;
  const longest = Math.max(...[...box.children].map((one) => one.firstChild.textContent.length));
  box.style.setProperty("--names", `min(30%, ${longest * 7 + 12}px)`);
  const marks = [0, 0.25, 0.5, 0.75, 1].map((part) =>
    element("span", {
      text: stamp(from + (to - from) * part).slice(
        to - from > 172800000 ? 5 : 11,
        to - from > 7200000 ? 16 : 19,
      ),
    }),
  );
  box.append(
    element("div", {
      className: "state axis",
      children: [
        element("span", { className: "name" }),
        element("div", { className: "track", children: marks }),
      ],
    }),
  );
  const keys = [...seen].map(([text, tint]) => {
    const mark = element("i");
    mark.style.background = tint;
    return element("li", { children: [mark, document.createTextNode(text)] });
  });
  const legend = element("ul", { className: "legend", children: keys });
  body.replaceChildren(box, element("div", { className: "key", children: [legend] }));
  return true;
}

export const PANELS = {
  timeseries: drawLines,
  stat: drawStat,
  bargauge: drawBars,
  table: drawTable,
  "state-timeline": drawStates,
};
