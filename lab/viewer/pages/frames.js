// Prometheus' answers as Grafana's frames: columns of values, transformed and configured.

import { REDUCERS } from "./values.js";

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

function joined(frames, key, isInner = false) {
  const usable = frames.filter((frame) => frame.fields.some((one) => one.name === key));
  const columnOf = (frame) => frame.fields.find((one) => one.name === key);
  const keys = [...new Set(usable.flatMap((frame) => columnOf(frame).values))].filter(
    (value) => !isInner || usable.every((frame) => columnOf(frame).values.includes(value)),
  );
  const taken = new Set([key]);
  const fields = usable.flatMap((frame) => {
    const rows = new Map(columnOf(frame).values.map((value, row) => [value, row]));
    return frame.fields
      .filter((one) => one.name !== key)
      .map((one) => {
        const name = taken.has(one.name)
          ? `${one.name} ${[...taken].filter((two) => two.startsWith(one.name)).length + 1}`
          : one.name;
        taken.add(name);
        return {
          ...one,
          name,
          values: keys.map((value) => (rows.has(value) ? one.values[rows.get(value)] : null)),
        };
      });
  });
  const first = usable[0] ? columnOf(usable[0]) : field(key, "string", []);
  return [
    { refId: frames[0]?.refId, name: "joined", fields: [{ ...first, values: keys }, ...fields] },
  ];
}

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

function reduced(
  frames,
  { reducers = ["lastNotNull"], mode = "seriesToRows", labelsToFields = false },
) {
  if (mode === "reduceFields") {
    return frames.map((frame) => ({
      ...frame,
      fields: frame.fields
        .filter((one) => one.type === "number")
        .map((one) => ({ ...one, values: [REDUCERS[reducers[0]](one.values)] })),
    }));
  }
  const all = frames.flatMap((frame) => frame.fields.filter((one) => one.type === "number"));
  const labels = labelsToFields
    ? [...new Set(all.flatMap((one) => Object.keys(one.labels)))].sort()
    : [];
  const headings = {
    lastNotNull: "Last *",
    last: "Last",
    max: "Max",
    min: "Min",
    mean: "Mean",
    sum: "Total",
    first: "First",
    firstNotNull: "First *",
    count: "Count",
    range: "Range",
    diff: "Difference",
  };
  return [
    {
      refId: frames[0]?.refId,
      name: "reduced",
      fields: [
        field("Field", "string", all.map(titled)),
        ...labels.map((label) =>
          field(
            label,
            "string",
            all.map((one) => one.labels[label] ?? ""),
          ),
        ),
        ...reducers.map((id) =>
          field(
            headings[id] ?? id,
            "number",
            all.map((one) => REDUCERS[id](one.values)),
          ),
        ),
      ],
    },
  ];
}

function filteredByName(frame, { include = {}, exclude = {} }) {
  const fits =
    ({ names = [], pattern }) =>
    (one) =>
      names.includes(one.name) ||
      (pattern ? new RegExp(pattern.replace(/^\/|\/$/g, "")).test(one.name) : false);
  const isNamed = (side) => side.names?.length || side.pattern;
  return {
    ...frame,
    fields: frame.fields.filter(
      (one) =>
        (!isNamed(include) || fits(include)(one)) && !(isNamed(exclude) && fits(exclude)(one)),
    ),
  };
}

function calculated(frame, { mode = "reduceRow", alias, binary, reduce = {}, replaceFields }) {
  const named = (name) => frame.fields.find((one) => one.name === name);
  const side = (one) => (row) =>
    typeof one === "object"
      ? one.fixed !== undefined
        ? Number(one.fixed)
        : named(one.matcher?.options)?.values[row]
      : (named(one)?.values[row] ?? Number(one));
  let value, title;
  if (mode === "binary") {
    const [left, right] = [side(binary.left), side(binary.right)];
    const operations = {
      "+": (a, b) => a + b,
      "-": (a, b) => a - b,
      "*": (a, b) => a * b,
      "/": (a, b) => a / b,
    };
    value = (row) => operations[binary.operator](left(row), right(row));
    title = "Calculation";
  } else {
    const among = frame.fields.filter(
      (one) =>
        one.type === "number" && (!reduce.include?.length || reduce.include.includes(one.name)),
    );
    value = (row) => REDUCERS[reduce.reducer ?? "sum"](among.map((one) => one.values[row]));
    title = reduce.reducer ?? "Total";
  }
  const result = field(
    alias || title,
    "number",
    Array.from({ length: rowsOf(frame) }, (_, row) => value(row)),
  );
  return { ...frame, fields: replaceFields ? [result] : [...frame.fields, result] };
}

function limited(frame, { limitField = 10 }) {
  return {
    ...frame,
    fields: frame.fields.map((one) => ({
      ...one,
      values: one.values.slice(0, Number(limitField)),
    })),
  };
}

function labelsToFields(frames, { keepLabels }) {
  return merged(
    frames.map((frame) => {
      const value = frame.fields.find((one) => one.type === "number");
      const kept = Object.entries(value.labels).filter(
        ([key]) => key !== "__name__" && (!keepLabels?.length || keepLabels.includes(key)),
      );
      const rest = frame.fields.filter((one) => one !== value);
      return {
        ...frame,
        fields: [
          ...rest,
          ...kept.map(([key, text]) =>
            field(
              key,
              "string",
              value.values.map(() => text),
            ),
          ),
          { ...value, labels: {}, series: undefined },
        ],
      };
    }),
  );
}

const TRANSFORMATIONS = {
  merge: (frames) => merged(frames),
  joinByField: (frames, { byField = "Time", mode }) => joined(frames, byField, mode === "inner"),
  seriesToColumns: (frames, { byField = "Time" }) => joined(frames, byField),
  organize: (frames, options) => frames.map((frame) => organized(frame, options)),
  sortBy: (frames, { sort = [] }) =>
    frames.map((frame) => sort.reduce((one, by) => sorted(one, by.field, by.desc), frame)),
  reduce: reduced,
  filterFieldsByName: (frames, options) => frames.map((frame) => filteredByName(frame, options)),
  calculateField: (frames, options) => frames.map((frame) => calculated(frame, options)),
  limit: (frames, options) => frames.map((frame) => limited(frame, options)),
  labelsToFields,
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
