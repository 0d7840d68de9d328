// The panel `timeseries`, drawn by uPlot.

import { anchor, element } from "./dom.js";
import { colour, format, REDUCERS, seriesColour } from "./values.js";

const AXIS = "#9fa7b3",
  GRID = "rgba(204,204,220,0.07)";
const CALCS = {
  lastNotNull: "Last *",
  last: "Last",
  max: "Max",
  min: "Min",
  mean: "Mean",
  sum: "Total",
  first: "First",
  count: "Count",
};
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

function rgba(name, alpha) {
  const shown = colour(name);
  const found = /^#(..)(..)(..)$/.exec(shown);
  const parts = found?.slice(1).map((part) => parseInt(part, 16)) ?? shown.match(/\d+/g);
  return parts ? `rgba(${parts.slice(0, 3).join(",")},${alpha})` : shown;
}

// All series on one row of times: the steps of the query, so that a gap is a gap.
function aligned(fields, times, answer) {
  const all = new Set(times.flat());
  const { from, to, step } = answer;
  if (all.size && (to - from) / step < 20000) {
    for (let at = Math.floor(from / step) * step; at <= to; at += step) all.add(at);
  }
  const row = [...all].sort((a, b) => a - b);
  const place = new Map(row.map((at, position) => [at, position]));
  return [
    row.map((at) => at / 1000),
    ...fields.map((field, number) => {
      const values = new Array(row.length).fill(field.config.custom.spanNulls ? undefined : null);
      times[number].forEach((at, position) => {
        const value = field.values[position];
        values[place.get(at)] = Number.isFinite(value) ? value : null;
      });
      return values;
    }),
  ];
}

function stacked(data, fields) {
  const bands = [],
    below = new Map();
  const drawn = [data[0]];
  fields.forEach((field, number) => {
    const { mode = "none", group = "A" } = field.config.custom.stacking ?? {};
    const own = data[number + 1];
    if (mode === "none") {
      drawn.push(own);
      return;
    }
    const base = below.get(group);
    const under = (at) => base?.values[at] ?? null;
    const values = own.map((value, at) =>
      value === null && under(at) === null ? null : (under(at) ?? 0) + (value ?? 0),
    );
    if (base) bands.push({ series: [number + 1, base.number] });
    below.set(group, { values, number: number + 1 });
    // A line that has ended is not drawn along the others' sum.
    drawn.push(values.map((sum, at) => (own[at] === null ? null : sum)));
  });
  return [drawn, bands];
}

function limits(fields) {
  const pick = (key, custom) =>
    fields
      .map((one) => one.config[key] ?? one.config.custom[custom])
      .find((one) => one !== undefined && one !== null);
  const hardLow = pick("min"),
    hardHigh = pick("max");
  const softLow = pick(undefined, "axisSoftMin"),
    softHigh = pick(undefined, "axisSoftMax");
  return (_, low, high) => {
    let [bottom, top] = [low ?? 0, high ?? 1];
    if (softLow !== undefined) bottom = Math.min(bottom, softLow);
    if (softHigh !== undefined) top = Math.max(top, softHigh);
    if (top === bottom)
      [bottom, top] = bottom === 0 ? [0, 1] : [Math.min(0, bottom), Math.max(0, bottom * 1.2)];
    // From the axis' own ends: else a flat line far above 0 would lie on the panel's edge.
    const [nice, over] = uPlot.rangeNum(hardLow ?? bottom, hardHigh ?? top, 0.08, true);
    return [hardLow ?? (low >= 0 ? Math.max(0, nice) : nice), hardHigh ?? over];
  };
}

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

function background(panel, fields, regions) {
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
    const config = fields[0].config,
      style = config.custom.thresholdsStyle?.mode ?? "off";
    const steps = style === "off" ? [] : (config.thresholds?.steps ?? []);
    const scale = scaleOf(fields[0]);
    steps.forEach((step, number) => {
      const at = (value) => chart.valToPos(value, scale, true);
      const y = step.value === null ? bbox.top + bbox.height : at(step.value);
      const top = steps[number + 1] ? at(steps[number + 1].value) : bbox.top;
      if (style.includes("area")) {
        ctx.fillStyle = rgba(step.color, 0.08);
        ctx.fillRect(bbox.left, top, bbox.width, y - top);
      }
      if (step.value === null || style === "area") return;
      ctx.strokeStyle = rgba(step.color, 0.8);
      ctx.lineWidth = 1.5;
      ctx.setLineDash(style.startsWith("dashed") ? [8, 6] : []);
      ctx.beginPath();
      ctx.moveTo(bbox.left, y);
      ctx.lineTo(bbox.left + bbox.width, y);
      ctx.stroke();
    });
    ctx.restore();
  };
}

const scaleOf = (field) =>
  `${field.config.unit ?? ""}|${field.config.custom.axisPlacement === "right" ? "right" : "left"}`;

function seriesOptions(field) {
  const {
    drawStyle = "line",
    lineInterpolation,
    lineWidth = 1,
    fillOpacity = 0,
    showPoints = "auto",
    pointSize = 5,
    lineStyle,
    spanNulls,
  } = field.config.custom;
  const stroke = seriesColour(field);
  const paths =
    drawStyle === "bars"
      ? uPlot.paths.bars({ size: [0.8, 60] })
      : lineInterpolation?.startsWith("step")
        ? uPlot.paths.stepped({ align: lineInterpolation === "stepBefore" ? -1 : 1 })
        : lineInterpolation === "smooth"
          ? uPlot.paths.spline()
          : undefined;
  return {
    label: field.display,
    scale: scaleOf(field),
    stroke,
    width: drawStyle === "points" ? 0 : lineWidth,
    fill: fillOpacity ? rgba(stroke, fillOpacity / 100) : undefined,
    spanGaps: Boolean(spanNulls),
    dash:
      lineStyle?.fill === "dash"
        ? (lineStyle.dash ?? [10, 10])
        : lineStyle?.fill === "dot"
          ? [1, 6]
          : undefined,
    ...(paths ? { paths } : {}),
    points:
      drawStyle === "points" || showPoints === "always"
        ? { show: true, size: pointSize }
        : showPoints === "never"
          ? { show: false }
          : {},
  };
}

function axes(fields) {
  const made = [
    {
      stroke: AXIS,
      grid: { stroke: GRID, width: 1 },
      ticks: { show: false },
      values: timeTexts,
      space: 90,
      size: 26,
      gap: 4,
      font: "12px sans-serif",
    },
  ];
  for (const scale of new Set(fields.map(scaleOf))) {
    const field = fields.find((one) => scaleOf(one) === scale);
    made.push({
      scale,
      stroke: AXIS,
      grid: { stroke: GRID, width: 1, show: made.length === 1 },
      ticks: { show: false },
      side: scale.endsWith("|right") ? 1 : 3,
      values: axisText(field.config.unit),
      size: axisSize,
      space: 28,
      font: "12px sans-serif",
      gap: 6,
      label: field.config.custom.axisLabel || undefined,
      labelSize: 18,
      labelFont: "12px sans-serif",
    });
  }
  return made;
}

function scales(fields, answer) {
  const made = { x: { time: true, range: [answer.from / 1000, answer.to / 1000] } };
  for (const scale of new Set(fields.map(scaleOf))) {
    const own = fields.filter((one) => scaleOf(one) === scale);
    const { type, log = 10 } = own[0].config.custom.scaleDistribution ?? {};
    made[scale] = type === "log" ? { distr: 3, log } : { range: limits(own) };
  }
  return made;
}

function legend(panel, fields, toggle, context) {
  const {
    displayMode = "list",
    calcs = [],
    showLegend = true,
    placement = "bottom",
  } = panel.options?.legend ?? {};
  if (!showLegend || displayMode === "hidden") return null;
  const shown = calcs.filter((calc) => CALCS[calc]);
  const made = element(displayMode === "table" ? "table" : "ul", {
    className: `legend ${displayMode} ${placement}`,
  });
  if (displayMode === "table") {
    const headings = ["Name", ...shown.map((calc) => CALCS[calc])];
    made.append(
      element("tr", { children: headings.map((text) => element("th", { text, scope: "col" })) }),
    );
  }
  fields.forEach((field, number) => {
    const key = element("i");
    key.style.background = seriesColour(field);
    const name = element("button", {
      type: "button",
      children: [key, document.createTextNode(field.display)],
      onclick: (event) => toggle(number, event),
    });
    const links = context
      .links(field, field.values.length - 1)
      .map(({ href, title }) => anchor(href, "↗", { className: "out", title }));
    const values = shown.map((calc) =>
      format(REDUCERS[calc](field.values), field.config.unit, field.config.decimals).join(""),
    );
    made.append(
      displayMode === "table"
        ? element("tr", {
            children: [
              element("td", { children: [name, ...links] }),
              ...values.map((text) => element("td", { text })),
            ],
          })
        : element("li", {
            children: [name, ...links, ...values.map((text) => element("span", { text }))],
          }),
    );
  });
  return made;
}

function tooltip(panel, fields, data, box) {
  const { mode = "single", sort = "none", maxHeight } = panel.options?.tooltip ?? {};
  return (chart) => {
    const { idx, left, top } = chart.cursor;
    if (
      mode === "none" ||
      idx === null ||
      idx === undefined ||
      left < 0 ||
      !chart.root.matches(":hover")
    ) {
      box.hidden = true;
      return;
    }
    let rows = fields
      .map((field, at) => ({
        field,
        value: data[at + 1][idx],
        isNear: chart.cursor.focus === at,
        shown: chart.series[at + 1].show,
      }))
      .filter((row) => row.shown && row.value !== null && row.value !== undefined);
    if (sort !== "none")
      rows.sort((a, b) => (sort === "desc" ? b.value - a.value : a.value - b.value));
    if (mode === "single") {
      const y = chart.posToVal(top, scaleOf(fields[0]));
      rows = rows.sort((a, b) => Math.abs(a.value - y) - Math.abs(b.value - y)).slice(0, 1);
    }
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
    if (maxHeight) box.style.maxHeight = `${maxHeight}px`;
  };
}

export function drawLines(body, panel, frames, answer, context) {
  const pairs = frames.flatMap((frame) => {
    const time = frame.fields.find((one) => one.type === "time");
    return frame.fields
      .filter((one) => one.type === "number" && !one.config.custom.hideFrom?.viz)
      .map((one) => [one, time?.values ?? []]);
  });
  const fields = pairs.map(([field]) => field);
  if (!fields.length) return false;
  const data = aligned(
    fields,
    pairs.map(([, times]) => times),
    answer,
  );
  const [drawn, bands] = stacked(data, fields);
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
  const key = legend(panel, fields, toggle, context);
  body.classList.toggle("side", panel.options?.legend?.placement === "right");
  body.replaceChildren(
    holder,
    ...(key ? [element("div", { className: "key", children: [key] })] : []),
  );
  chart = new uPlot(
    {
      width: Math.max(80, holder.clientWidth),
      height: Math.max(60, holder.clientHeight),
      bands,
      padding: [10, 28, 0, 0],
      legend: { show: false },
      axes: axes(fields),
      scales: scales(fields, answer),
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
        drawClear: [background(panel, fields, context.regions)],
        setCursor: [tooltip(panel, fields, data, tip)],
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
