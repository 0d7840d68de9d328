// The panel `timeseries`, drawn by uPlot.
//
// Options that all boards have alike (dashboards/panels.py) are not read: one axis, a list of the
// last values below, a tooltip with all lines, the largest first.

import { anchor, element } from "./dom.js";
import { format, lastOf, seriesColour } from "./values.js";

const AXIS = "#9fa7b3",
  GRID = "rgba(204,204,220,0.07)";
const synced = uPlot.sync("boards");

const two = (value) => String(value).padStart(2, "0");

function timeTexts(_, splits, __, ___, increment) {
  return splits.map((seconds) => {
    const at = new Date(seconds * 1000);
    if (increment >= 86400) return `${two(at.getMonth() + 1)}/${two(at.getDate())}`;
    const minutes = `${two(at.getHours())}:${two(at.getMinutes())}`;
    return increment < 60 ? `${minutes}:${two(at.getSeconds())}` : minutes;
  });
}

function rgba(hex, alpha) {
  const parts = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  return `rgba(${parts.join(",")},${alpha})`;
}

// All series on one row of times: the steps of the query, so that a gap is a gap.
function aligned(fields, times, answer) {
  const all = new Set(times.flat());
  const { from, to, step } = answer;
  for (let at = Math.floor(from / step) * step; at <= to; at += step) all.add(at);
  const row = [...all].sort((a, b) => a - b);
  const place = new Map(row.map((at, position) => [at, position]));
  return [
    row.map((at) => at / 1000),
    ...fields.map((field, number) => {
      const values = new Array(row.length).fill(null);
      times[number].forEach((at, position) => {
        const value = field.values[position];
        values[place.get(at)] = Number.isFinite(value) ? value : null;
      });
      return values;
    }),
  ];
}

// Lines that add up: each is drawn above the sum of those before it.
function stacked([times, ...lines]) {
  const bands = [];
  let below = null;
  const drawn = lines.map((own, number) => {
    const under = (at) => below?.[at] ?? null;
    const values = own.map((value, at) =>
      value === null && under(at) === null ? null : (under(at) ?? 0) + (value ?? 0),
    );
    if (below) bands.push({ series: [number + 1, number] });
    below = values;
    // A line that has ended is not drawn along the others' sum.
    return values.map((sum, at) => (own[at] === null ? null : sum));
  });
  return [[times, ...drawn], bands];
}

const limits =
  ({ min, max }) =>
  (_, low, high) => {
    let [bottom, top] = [low ?? 0, high ?? 1];
    if (top === bottom)
      [bottom, top] = bottom === 0 ? [0, 1] : [Math.min(0, bottom), Math.max(0, bottom * 1.2)];
    // From the axis' own ends: else a flat line far above 0 would lie on the panel's edge.
    const [nice, over] = uPlot.rangeNum(min ?? bottom, max ?? top, 0.08, true);
    return [min ?? (low >= 0 ? Math.max(0, nice) : nice), max ?? over];
  };

function axisText(unit) {
  return (_, splits) =>
    splits.map((value) => {
      const [text, suffix] = format(value, unit, Math.abs(value) > 0 ? undefined : 0);
      return text.replace(/(\.\d*?)0+(?=\D|$)/, "$1").replace(/\.(?=\D|$)/, "") + suffix;
    });
}

function axisSize(chart, texts) {
  const longest = (texts ?? []).reduce((most, one) => Math.max(most, one.length), 2);
  return 16 + longest * 6.6;
}

// Regions of alerts, and dashed lines where something begins to be wrong.
function background({ thresholds, custom }, regions) {
  const isDashed = custom.thresholdsStyle?.mode === "dashed";
  const steps = isDashed ? thresholds.steps.filter((step) => step.value !== null) : [];
  return (chart) => {
    const { ctx, bbox } = chart;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    for (const region of regions) {
      const left = chart.valToPos(region.from / 1000, "x", true);
      const right = Math.max(left + 2, chart.valToPos(region.to / 1000, "x", true));
      ctx.fillStyle = rgba(region.color, 0.1);
      ctx.fillRect(left, bbox.top, right - left, bbox.height);
      ctx.fillStyle = rgba(region.color, 0.8);
      ctx.fillRect(left, bbox.top + bbox.height - 3, right - left, 3);
    }
    for (const step of steps) {
      const y = chart.valToPos(step.value, "y", true);
      ctx.strokeStyle = rgba(step.color, 0.8);
      ctx.lineWidth = 1.5;
      ctx.setLineDash([8, 6]);
      ctx.beginPath();
      ctx.moveTo(bbox.left, y);
      ctx.lineTo(bbox.left + bbox.width, y);
      ctx.stroke();
    }
    ctx.restore();
  };
}

function seriesOptions(field) {
  const { lineWidth = 2, fillOpacity = 0, lineStyle } = field.config.custom;
  const stroke = seriesColour(field);
  return {
    label: field.display,
    scale: "y",
    stroke,
    width: lineWidth,
    fill: fillOpacity ? rgba(stroke, fillOpacity / 100) : undefined,
    spanGaps: false,
    dash: lineStyle?.dash,
    points: { show: false },
  };
}

const AXES = { stroke: AXIS, ticks: { show: false }, font: "12px sans-serif" };

const axes = ({ unit }) => [
  { ...AXES, grid: { stroke: GRID, width: 1 }, values: timeTexts, space: 90, size: 26, gap: 4 },
  {
    ...AXES,
    scale: "y",
    grid: { stroke: GRID, width: 1 },
    values: axisText(unit),
    size: axisSize,
    space: 28,
    gap: 6,
  },
];

function legend(fields, toggle, context) {
  const items = fields.map((field, number) => {
    const { config, values, display } = field;
    const key = element("i");
    key.style.background = seriesColour(field);
    const name = element("button", {
      type: "button",
      children: [key, document.createTextNode(display)],
      onclick: (event) => toggle(number, event),
    });
    const links = context
      .links(field)
      .map(({ href, title }) => anchor(href, "↗", { className: "out", title }));
    const text = format(lastOf(values), config.unit, config.decimals).join("");
    return element("li", { children: [name, ...links, element("span", { text })] });
  });
  return element("ul", { className: "legend", children: items });
}

function tooltip(fields, data, box) {
  return (chart) => {
    const { idx, left } = chart.cursor;
    if (idx === null || idx === undefined || left < 0 || !chart.root.matches(":hover")) {
      box.hidden = true;
      return;
    }
    const rows = fields
      .map((field, at) => ({ field, value: data[at + 1][idx], series: chart.series[at + 1] }))
      .filter(({ value, series }) => series.show && value !== null)
      .sort((a, b) => b.value - a.value);
    const at = new Date(data[0][idx] * 1000);
    box.replaceChildren(
      element("b", { text: at.toLocaleString("sv") }),
      ...rows.slice(0, 30).map(({ field, value }) => {
        const key = element("i");
        key.style.background = seriesColour(field);
        return element("div", {
          children: [
            key,
            element("span", { text: field.display }),
            element("em", {
              text: format(value, field.config.unit, field.config.decimals).join(""),
            }),
          ],
        });
      }),
    );
    box.hidden = rows.length === 0;
    const isRight = left > chart.over.clientWidth / 2;
    box.style.left = isRight ? "" : `${left + chart.over.offsetLeft + 16}px`;
    box.style.right = isRight
      ? `${chart.root.clientWidth - left - chart.over.offsetLeft + 16}px`
      : "";
    box.style.top = "4px";
  };
}

export function drawLines(body, panel, frames, answer, context) {
  if (!frames.length) return false;
  const fields = frames.map((frame) => frame.fields[1]);
  const times = frames.map((frame) => frame.fields[0].values);
  const { config } = fields[0];
  const data = aligned(fields, times, answer);
  const isStacked = config.custom.stacking?.mode === "normal";
  const [drawn, bands] = isStacked ? stacked(data) : [data, []];
  const holder = element("div", { className: "chart" }),
    tip = element("div", { className: "tip", hidden: true });
  let chart;
  const toggle = (number, event) => {
    const others = chart.series.slice(1);
    const isAlone = others.every((one, at) => one.show === (at === number));
    if (event.ctrlKey || event.metaKey)
      chart.setSeries(number + 1, { show: !chart.series[number + 1].show });
    else others.forEach((_, at) => chart.setSeries(at + 1, { show: isAlone || at === number }));
    [...body.querySelectorAll(".legend button")].forEach((one, at) =>
      one.classList.toggle("off", !chart.series[at + 1].show),
    );
  };
  const key = element("div", { className: "key", children: [legend(fields, toggle, context)] });
  body.replaceChildren(holder, key);
  chart = new uPlot(
    {
      width: Math.max(80, holder.clientWidth),
      height: Math.max(60, holder.clientHeight),
      bands,
      padding: [10, 28, 0, 0],
      legend: { show: false },
      axes: axes(config),
      scales: {
        x: { time: true, range: [answer.from / 1000, answer.to / 1000] },
        y: { range: limits(config) },
      },
      series: [{}, ...fields.map(seriesOptions)],
      cursor: {
        // The crosshair is on all charts; a range is selected on one.
        sync: {
          key: synced.key,
          filters: { pub: (type) => ["mousemove", "mouseleave"].includes(type) },
        },
        points: { show: false },
        drag: { x: true, y: false, setScale: false },
        focus: { prox: 24 },
      },
      hooks: {
        drawClear: [background(config, context.regions)],
        setCursor: [tooltip(fields, data, tip)],
        setSelect: [
          (one) => {
            if (one.select.width > 4)
              context.zoom(
                one.posToVal(one.select.left, "x") * 1000,
                one.posToVal(one.select.left + one.select.width, "x") * 1000,
              );
          },
        ],
      },
    },
    drawn,
    holder,
  );
  chart.root.append(tip);
  const watcher = new ResizeObserver(() => {
    if (holder.clientWidth > 0)
      chart.setSize({ width: holder.clientWidth, height: Math.max(60, holder.clientHeight) });
  });
  watcher.observe(holder);
  context.atEnd(() => {
    watcher.disconnect();
    chart.destroy();
  });
  return true;
}
