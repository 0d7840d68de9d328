// The panels that are boxes, bars and rows: stat, bargauge, gauge, table, state-timeline, text.

import { anchor, element, markdown, svg } from "./dom.js";
import { sorted } from "./frames.js";
import { drawLines } from "./lines.js";
import { colour, display, REDUCERS, stamp } from "./values.js";

const isShown = (field) => !field.config.custom.hidden && !field.config.custom.hideFrom?.viz;

// Grafana's reduceOptions: one value a field, or one a row.
function reducedValues(panel, frames) {
  const {
    calcs = ["lastNotNull"],
    fields: wanted = "",
    values = false,
    limit = 25,
  } = panel.options?.reduceOptions ?? {};
  const pattern = /^\/(.*)\/$/.exec(wanted);
  const isWanted = (one) =>
    wanted === ""
      ? one.type === "number"
      : pattern
        ? new RegExp(pattern[1]).test(one.display)
        : one.name === wanted || one.display === wanted;
  const found = [];
  for (const frame of frames) {
    const times = frame.fields.find((one) => one.type === "time")?.values;
    const names = frame.fields.filter((one) => one.type === "string");
    for (const field of frame.fields.filter((one) => isWanted(one) && isShown(one))) {
      if (values)
        field.values.slice(0, limit).forEach((value, row) =>
          found.push({
            field,
            value,
            row,
            name: names.map((one) => one.values[row]).join(" ") || field.display,
          }),
        );
      else
        found.push({
          field,
          value: (REDUCERS[calcs[0]] ?? REDUCERS.lastNotNull)(field.values),
          row: field.values.length - 1,
          name: field.display,
          course: field.values,
          times,
        });
    }
  }
  return found;
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

function readable(background) {
  const found = /^#(..)(..)(..)$/.exec(background) ?? null;
  if (!found) return "#fff";
  const [r, g, b] = found.slice(1).map((part) => parseInt(part, 16));
  return r * 0.299 + g * 0.587 + b * 0.114 > 140 ? "#111217" : "#fff";
}

function drawStat(body, panel, frames, answer, context) {
  const shown = reducedValues(panel, frames);
  if (!shown.length) return false;
  const {
    colorMode = "value",
    graphMode = "area",
    textMode = "auto",
    orientation = "auto",
  } = panel.options ?? {};
  const box = element("div", { className: "stats" });
  body.replaceChildren(box);
  const isWide =
    orientation === "vertical" || (orientation === "auto" && box.clientWidth > box.clientHeight);
  box.classList.toggle("wide", isWide);
  const width = isWide ? box.clientWidth / shown.length : box.clientWidth,
    height = isWide ? box.clientHeight : box.clientHeight / shown.length;
  for (const { field, value, row, name, course } of shown) {
    const said = display(value, field);
    const [link] = context.links(field, row);
    const tile = link
      ? anchor(link.href, undefined, { className: "tile", title: link.title })
      : element("div", { className: "tile" });
    const isNamed =
      textMode === "name" ||
      textMode === "value_and_name" ||
      (textMode === "auto" && shown.length > 1);
    const isDrawn = graphMode === "area" && course?.filter(Number.isFinite).length > 1;
    if (isDrawn) tile.style.paddingBottom = `${height * 0.26}px`;
    const isFilled = colorMode.startsWith("background");
    const ink = isFilled
      ? readable(said.color)
      : colorMode === "none"
        ? colour("text")
        : said.color;
    if (isFilled) tile.style.background = said.color;
    if (isNamed && textMode !== "none") {
      const label = element("span", { text: name, className: "name" });
      if (isFilled) label.style.color = ink;
      tile.append(label);
    }
    if (textMode !== "name" && textMode !== "none") {
      const number = element("span", {
        className: "number",
        children: [document.createTextNode(said.text), element("small", { text: said.suffix })],
      });
      number.style.color = ink;
      const room = height * (isNamed || isDrawn ? 0.5 : 0.6);
      number.style.fontSize = `${Math.max(14, Math.min(64, room, (width * 1.5) / Math.max(3, said.all.length)))}px`;
      tile.append(number);
    }
    if (isDrawn) tile.append(sparkline(course, isFilled ? ink : said.color));
    box.append(tile);
  }
  return true;
}

function drawBars(body, panel, frames, answer, context) {
  const shown = reducedValues(panel, frames);
  if (!shown.length) return false;
  const { displayMode = "gradient", showUnfilled = true } = panel.options ?? {};
  const numbers = shown.map(({ value }) => value).filter(Number.isFinite);
  const box = element("div", { className: `bars ${shown.length > 12 ? "many" : ""}` });
  for (const { field, value, row, name } of shown) {
    const low = field.config.min ?? Math.min(0, ...numbers),
      high = field.config.max ?? Math.max(...numbers, low + 1e-9);
    field.bounds = [low, high];
    const said = display(value, field);
    const [link] = context.links(field, row);
    const label = link
      ? anchor(link.href, name, { className: "name", title: link.title })
      : element("span", { text: name, className: "name", title: name });
    const bar = element("i"),
      rail = element("span", {
        className: `rail ${showUnfilled ? "" : "bare"} ${displayMode}`,
        children: [bar],
      });
    bar.style.width = `${Math.max(0, Math.min(1, ((value ?? low) - low) / (high - low || 1))) * 100}%`;
    bar.style.background = said.color;
    const number = element("b", { text: said.all });
    number.style.color = said.color;
    box.append(element("div", { className: "bar", children: [label, rail, number] }));
  }
  body.replaceChildren(box);
  return true;
}

function cell(field, value, row, context) {
  const options = field.config.custom.cellOptions ?? {
    type: field.config.custom.displayMode ?? "auto",
  };
  const said = display(value, field);
  const [link] = context.links(field, row);
  const inner = link
    ? anchor(link.href, said.all, { title: link.title })
    : element("span", { text: said.all });
  const made = element("td", { className: field.type, children: [inner] });
  if (field.config.custom.align)
    made.style.textAlign = field.config.custom.align === "auto" ? "" : field.config.custom.align;
  const isEmpty = value === null || value === undefined || Number.isNaN(value);
  if (options.type.startsWith("color-background") && !isEmpty) {
    made.style.background = said.color;
    inner.style.color = readable(said.color);
  } else if (options.type === "color-text" && !isEmpty) inner.style.color = said.color;
  return made;
}

function drawTable(body, panel, frames, answer, context) {
  let frame = frames.find((one) => one.fields[0]?.values.length) ?? null;
  if (!frame) return false;
  const state = context.memory;
  const order = state.sort ? [state.sort] : (panel.options?.sortBy ?? []);
  for (const { displayName, desc } of order.toReversed()) frame = sorted(frame, displayName, desc);
  const [by] = order;
  const fields = frame.fields.filter(isShown);
  const heading = (field) => {
    const isBy = by?.displayName === field.display;
    const made = element("th", {
      scope: "col",
      className: field.type,
      children: [
        element("button", {
          type: "button",
          text: field.display + (isBy ? (by.desc ? " ▾" : " ▴") : ""),
          onclick: () => {
            state.sort = {
              displayName: field.display,
              desc: isBy ? !by.desc : field.type === "number",
            };
            drawTable(body, panel, frames, answer, context);
          },
        }),
      ],
    });
    if (field.config.custom.width) made.style.width = `${field.config.custom.width}px`;
    return made;
  };
  const rows = Array.from({ length: frame.fields[0].values.length }, (_, row) => {
    context.row = Object.fromEntries(
      frame.fields
        .map((one) => [one.display, one.values[row]])
        .concat(frame.fields.map((one) => [one.origin ?? one.name, one.values[row]])),
    );
    return element("tr", {
      children: fields.map((field) => cell(field, field.values[row], row, context)),
    });
  });
  context.row = undefined;
  const made = element("table", {
    className: "cells",
    children: [
      element("thead", {
        children:
          panel.options?.showHeader === false
            ? []
            : [element("tr", { children: fields.map(heading) })],
      }),
      element("tbody", { children: rows }),
    ],
  });
  body.replaceChildren(element("div", { className: "scroll", children: [made] }));
  return true;
}

function drawStates(body, panel, frames, answer, context) {
  const {
    mergeValues = true,
    showValue = "auto",
    rowHeight = 0.9,
    legend = {},
  } = panel.options ?? {};
  const { from, to, step } = answer,
    share = (at) => ((at - from) / (to - from)) * 100;
  const box = element("div", { className: "states" });
  const seen = new Map();
  for (const frame of frames) {
    const times = frame.fields.find((one) => one.type === "time")?.values ?? [];
    for (const field of frame.fields.filter(
      (one) =>
        one.type !== "time" && isShown(one) && (one.type === "number" || frames.length === 1),
    )) {
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
        part.style.color = readable(run.said.color);
        if (showValue !== "never" && width > Math.max(4, run.said.all.length))
          part.textContent = run.said.all;
        if (width > 0) line.append(part);
        run = null;
      };
      field.values.forEach((value, at) => {
        const isGap = at > 0 && times[at] - times[at - 1] > step * 1.5;
        if (isGap) close(times[at - 1] + step);
        const said = value === null || Number.isNaN(value) ? null : display(value, field);
        if (
          run &&
          (!said || !mergeValues || said.all !== run.said.all || said.color !== run.said.color)
        )
          close(times[at]);
        if (said && !run) run = { at: times[at], said };
        if (said) seen.set(said.all, said.color);
      });
      if (times.length) close(times.at(-1) + step);
      line.style.height = `${rowHeight * 100}%`;
      const [link] = context.links(field, field.values.length - 1);
      const name = link
        ? anchor(link.href, field.display, { className: "name", title: link.title })
        : element("span", { text: field.display, className: "name", title: field.display });
      box.append(
        element("div", {
          className: "state",
          children: [name, element("div", { className: "track", children: [line] })],
        }),
      );
    }
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
  body.replaceChildren(box);
  if (legend.showLegend !== false && legend.displayMode !== "hidden" && seen.size <= 12) {
    body.append(
      element("div", {
        className: "key",
        children: [
          element("ul", {
            className: "legend list",
            children: [...seen].map(([text, tint]) => {
              const mark = element("i");
              mark.style.background = tint;
              return element("li", { children: [mark, document.createTextNode(text)] });
            }),
          }),
        ],
      }),
    );
  }
  return true;
}

function drawText(body, panel, frames, answer, context) {
  body.replaceChildren(markdown(context.text(panel.options?.content ?? "")));
  return true;
}

export const PANELS = {
  timeseries: drawLines,
  stat: drawStat,
  bargauge: drawBars,
  table: drawTable,
  "state-timeline": drawStates,
  text: drawText,
};
