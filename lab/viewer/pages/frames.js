// Prometheus' answers as Grafana's frames: columns of values, transformed and configured.

import { isMissing } from "./values.js";

const number = (text) =>
  text === "NaN" ? NaN : text === "+Inf" ? Infinity : text === "-Inf" ? -Infinity : Number(text);

const seriesName = (labels, legend) =>
  legend.replace(/\{\{\s*(.+?)\s*\}\}/g, (_, label) => labels[label] ?? "");

const field = (name, type, values, more = {}) => ({ name, type, values, labels: {}, ...more });

// One frame a series, with its times; an instant value is a point.
function seriesFrames(target) {
  return target.series.map((series) => {
    const samples = series.values ?? [series.value];
    const times = samples.map(([at]) => at * 1000);
    const values = samples.map(([, value]) => number(value));
    const name = seriesName(series.metric, target.legendFormat);
    return {
      fields: [
        field("Time", "time", times),
        field("Value", "number", values, { labels: series.metric, series: name }),
      ],
    };
  });
}

// All series in one frame: time, a column a label, value.
function tableFrame(target, isOnly) {
  const rows = target.series.map((series) => [series.metric, ...series.value]);
  const labels = [...new Set(rows.flatMap(([metric]) => Object.keys(metric)))].sort();
  const column = (label) => rows.map(([metric]) => metric[label] ?? "");
  const times = rows.map(([, at]) => at * 1000);
  const values = rows.map(([, , value]) => number(value));
  return {
    fields: [
      field("Time", "time", times),
      ...labels.map((label) => field(label, "string", column(label))),
      field(isOnly ? "Value" : `Value #${target.refId}`, "number", values),
    ],
  };
}

export function framesOf(answer) {
  const tables = answer.targets.filter((target) => target.format === "table");
  return answer.targets.flatMap((target) =>
    target.format === "table" ? [tableFrame(target, tables.length === 1)] : seriesFrames(target),
  );
}

const rowsOf = (frame) => frame.fields[0]?.values.length ?? 0;
const titled = (one) => one.series ?? one.name;

// Rows that agree in all columns which two frames share become one; others stay apart.
function merged(all) {
  // A query without an answer has no labels, and would leave nothing to meet by.
  const frames = all.filter((frame) => rowsOf(frame) > 0);
  if (frames.length < 2) return frames;
  const names = [...new Set(frames.flatMap((frame) => frame.fields.map((one) => one.name)))];
  const shared = names.filter((name) =>
    frames.every((frame) => frame.fields.some((one) => one.name === name)),
  );
  const rows = new Map();
  for (const frame of frames) {
    for (let row = 0; row < rowsOf(frame); row += 1) {
      const cells = Object.fromEntries(frame.fields.map((one) => [one.name, one.values[row]]));
      const key = JSON.stringify(shared.map((name) => cells[name]));
      rows.set(key, { ...rows.get(key), ...cells });
    }
  }
  const like = (name) => frames.flatMap((frame) => frame.fields).find((one) => one.name === name);
  const column = (name) => [...rows.values()].map((cells) => cells[name] ?? null);
  return [{ fields: names.map((name) => ({ ...like(name), values: column(name) })) }];
}

function organized(frame, { excludeByName = {}, indexByName = {}, renameByName = {} }) {
  const place = (one) => indexByName[one.name] ?? Number.MAX_SAFE_INTEGER;
  const fields = frame.fields
    .filter((one) => !excludeByName[one.name])
    .sort((a, b) => place(a) - place(b))
    .map((one) => ({ ...one, name: renameByName[one.name] ?? one.name }));
  return { fields };
}

function compare(a, b) {
  if (isMissing(a) || isMissing(b)) return isMissing(b) - isMissing(a);
  return typeof a === "string" || typeof b === "string"
    ? String(a).localeCompare(String(b))
    : a - b;
}

export function sorted(frame, name, isDescending) {
  const by = frame.fields.find((one) => titled(one) === name);
  if (!by) return frame;
  const order = by.values
    .map((_, row) => row)
    .sort((a, b) => compare(by.values[a], by.values[b]) * (isDescending ? -1 : 1) || a - b);
  return {
    fields: frame.fields.map((one) => ({ ...one, values: order.map((row) => one.values[row]) })),
  };
}

const TRANSFORMATIONS = {
  merge: merged,
  organize: (frames, options) => frames.map((frame) => organized(frame, options)),
};

// Returns the frames, and the transformations that this viewer does not know.
export function transformed(frames, transformations = []) {
  const unknown = transformations.map(({ id }) => id).filter((id) => !TRANSFORMATIONS[id]);
  const known = transformations.filter(({ id }) => TRANSFORMATIONS[id]);
  const result = known.reduce((all, { id, options }) => TRANSFORMATIONS[id](all, options), frames);
  return [result, unknown];
}

function fits({ id, options }, one) {
  if (id === "byName") return titled(one) === options;
  if (id === "byRegexp") return new RegExp(options.slice(1, -1)).test(titled(one));
  throw new Error(`This page has no matcher ${id}; Grafana has.`);
}

function set(config, path, value) {
  const keys = path.split(".");
  const last = keys.pop();
  let at = config;
  for (const key of keys) at = at[key] ??= {};
  at[last] = value;
}

// Give each field its configuration: the panel's defaults, then the overrides in their order.
export function configured(frames, { defaults = {}, overrides = [] } = {}) {
  let index = 0;
  for (const one of frames.flatMap((frame) => frame.fields)) {
    one.config = structuredClone(defaults);
    one.config.custom ??= {};
    if (one.type === "number") one.index = index++;
    for (const { matcher, properties } of overrides) {
      if (fits(matcher, one)) for (const { id, value } of properties) set(one.config, id, value);
    }
    one.display = titled(one);
  }
  return frames;
}
