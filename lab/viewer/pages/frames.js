// Prometheus' answers as Grafana's frames: columns of values, transformed and configured.

const number = (text) =>
  text === "NaN" ? NaN : text === "+Inf" ? Infinity : text === "-Inf" ? -Infinity : Number(text);

function seriesName(labels, legend) {
  if (legend && legend !== "__auto")
    return legend.replace(/\{\{\s*(.+?)\s*\}\}/g, (_, label) => labels[label] ?? "");
  const { __name__: name = "", ...rest } = labels;
  const pairs = Object.entries(rest).map(([key, value]) => `${key}="${value}"`);
  if (legend === "__auto" && pairs.length === 1 && !name) return Object.values(rest)[0];
  return pairs.length ? `${name}{${pairs.join(", ")}}` : name || "Value";
}

const field = (name, type, values, more = {}) => ({
  name,
  type,
  values,
  labels: {},
  config: {},
  ...more,
});

// One frame a series, with its times; an instant value is a point.
function seriesFrames(target) {
  return target.series.map((series) => {
    const samples = series.values ?? [series.value];
    const name = seriesName(series.metric, target.legendFormat);
    return {
      refId: target.refId,
      name,
      fields: [
        field(
          "Time",
          "time",
          samples.map(([at]) => at * 1000),
        ),
        field(
          "Value",
          "number",
          samples.map(([, value]) => number(value)),
          { labels: series.metric, series: name },
        ),
      ],
    };
  });
}

// All series in one frame: time, a column a label, value.
function tableFrame(target, isOnly) {
  const rows = target.series.flatMap((series) =>
    (series.values ?? [series.value]).map((sample) => [series.metric, sample]),
  );
  const labels = [...new Set(rows.flatMap(([metric]) => Object.keys(metric)))].sort();
  return {
    refId: target.refId,
    name: target.refId,
    fields: [
      field(
        "Time",
        "time",
        rows.map(([, [at]]) => at * 1000),
      ),
      ...labels.map((label) =>
        field(
          label,
          "string",
          rows.map(([metric]) => metric[label] ?? ""),
        ),
      ),
      field(
        isOnly ? "Value" : `Value #${target.refId}`,
        "number",
        rows.map(([, [, value]]) => number(value)),
      ),
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
const titled = (one) => one.config.displayName ?? one.series ?? one.name;

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
  return [
    {
      refId: frames[0].refId,
      name: "merged",
      fields: names.map((name) => ({
        ...like(name),
        values: [...rows.values()].map((cells) => cells[name] ?? null),
      })),
    },
  ];
}

function organized(
  frame,
  { excludeByName = {}, includeByName = {}, indexByName = {}, renameByName = {} },
) {
  const wanted = Object.values(includeByName).some(Boolean)
    ? (one) => includeByName[one.name]
    : (one) => !excludeByName[one.name];
  const place = (one) => indexByName[one.name] ?? Number.MAX_SAFE_INTEGER;
  const fields = frame.fields
    .filter(wanted)
    .map((one, at) => [one, at])
    .sort(([a, i], [b, j]) => place(a) - place(b) || i - j)
    .map(([one]) =>
      renameByName[one.name]
        ? { ...one, origin: one.name, name: renameByName[one.name], series: undefined }
        : one,
    );
  return { ...frame, fields };
}

export function compare(a, b) {
  const isNone = (one) => one === null || one === undefined || Number.isNaN(one);
  if (isNone(a) || isNone(b)) return isNone(a) - isNone(b) === 0 ? 0 : isNone(a) ? -1 : 1;
  return typeof a === "string" || typeof b === "string"
    ? String(a).localeCompare(String(b))
    : a - b;
}

export function sorted(frame, name, isDescending) {
  const by = frame.fields.find((one) => one.name === name || titled(one) === name);
  if (!by) return frame;
  const order = by.values
    .map((_, row) => row)
    .sort((a, b) => compare(by.values[a], by.values[b]) * (isDescending ? -1 : 1) || a - b);
  return {
    ...frame,
    fields: frame.fields.map((one) => ({ ...one, values: order.map((row) => one.values[row]) })),
  };
}

const TRANSFORMATIONS = {
  merge: (frames) => merged(frames),
  organize: (frames, options) => frames.map((frame) => organized(frame, options)),
  sortBy: (frames, { sort = [] }) =>
    frames.map((frame) => sort.reduce((one, by) => sorted(one, by.field, by.desc), frame)),
};

// Returns the frames, and the transformations that this viewer does not know.
export function transformed(frames, transformations = []) {
  const unknown = [];
  let result = frames;
  for (const { id, options = {}, disabled } of transformations) {
    if (disabled) continue;
    if (TRANSFORMATIONS[id]) result = TRANSFORMATIONS[id](result, options);
    else unknown.push(id);
  }
  return [result, unknown];
}

function fits({ id, options }, one, frame) {
  if (id === "byName")
    return one.name === options || titled(one) === options || one.origin === options;
  if (id === "byRegexp")
    return new RegExp(String(options).replace(/^\/(.*)\/[a-z]*$/, "$1")).test(titled(one));
  if (id === "byType") return one.type === options;
  if (id === "byFrameRefID") return frame.refId === options;
  if (id === "byNames") return options.names.includes(titled(one)) !== (options.mode === "exclude");
  return false;
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
  for (const frame of frames) {
    for (const one of frame.fields) {
      one.config = { ...structuredClone(defaults), ...one.config };
      one.config.custom ??= {};
      if (one.type !== "number")
        one.config = { ...one.config, unit: one.type === "time" ? "dateTimeAsIso" : undefined };
      if (one.type === "number") one.index = index++;
      for (const { matcher, properties } of overrides) {
        if (fits(matcher, one, frame))
          for (const { id, value } of properties) set(one.config, id, value);
      }
      one.display = titled(one);
    }
  }
  return frames;
}
