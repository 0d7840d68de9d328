// Values as Grafana shows them: units, decimals, mappings, thresholds, colours.

const THOUSANDS = ["", "k", "M", "G", "T", "P"];
const SHORT = ["", " K", " Mil", " Bil", " Tri"];
const BINARY = ["", "Ki", "Mi", "Gi", "Ti", "Pi"];
const CURRENCIES = { currencyUSD: "$", currencyEUR: "€", currencyGBP: "£", currencyJPY: "¥" };
// Rates: the number is shortened, the word stays.
const RATES = {
  reqps: "req/s",
  rps: "rd/s",
  ops: "ops/s",
  cps: "c/s",
  wps: "wr/s",
  iops: "io/s",
  eps: "evt/s",
  mps: "msg/s",
  opm: "ops/min",
  reqpm: "req/min",
  cpm: "c/min",
  pps: "p/s",
  hertz: "Hz",
  "reads/s": "rd/s",
};
const METRIC = {
  // symbol, and the power of 1000 at which the value is given
  decbytes: ["B", 0],
  deckbytes: ["B", 1],
  decmbytes: ["B", 2],
  decgbytes: ["B", 3],
  Bps: ["B/s", 0],
  KBs: ["B/s", 1],
  MBs: ["B/s", 2],
  GBs: ["B/s", 3],
  bps: ["b/s", 0],
  decbits: ["b", 0],
  watt: ["W", 0],
};
const BINARIES = {
  bytes: ["B", 0],
  kbytes: ["B", 1],
  mbytes: ["B", 2],
  gbytes: ["B", 3],
  binBps: ["B/s", 0],
};
const TIME_SECONDS = { ns: 1e-9, µs: 1e-6, ms: 1e-3, s: 1, m: 60, h: 3600, d: 86400 };
const LADDER = [
  ["ns", 1e-9, 1e-6],
  ["µs", 1e-6, 1e-3],
  ["ms", 1e-3, 1],
  ["s", 1, 60],
  ["mins", 60, 3600],
  ["hours", 3600, 86400],
  ["days", 86400, 604800],
  ["weeks", 604800, 31536000],
  ["years", 31536000, Infinity],
];

// Grafana's rule: about three digits, none after the point of a whole number.
export function decimalsFor(value) {
  const size = Math.abs(value);
  if (size === 0 || value % 1 === 0) return 0;
  const digits = 1 - Math.floor(Math.log10(size));
  return Math.min(20, Math.max(0, size * 10 ** digits > 22.5 ? digits + 1 : digits));
}

const fixed = (value, decimals) => value.toFixed(decimals ?? decimalsFor(value));

function scaled(value, decimals, names, base, start = 0) {
  let number = value,
    step = start;
  while (Math.abs(number) >= base && step < names.length - 1) {
    number /= base;
    step += 1;
  }
  return [fixed(number, decimals), names[step]];
}

function duration(value, unit, decimals) {
  const seconds = value * TIME_SECONDS[unit];
  const size = Math.abs(seconds);
  if (size === 0) return [fixed(0, decimals), unit];
  const found = LADDER.find(([, , most]) => size < most);
  return [fixed(seconds / found[1], decimals), found[0]];
}

function clock(seconds) {
  const parts = [
    ["d", 86400],
    ["h", 3600],
    ["m", 60],
    ["s", 1],
  ];
  let left = Math.round(Math.abs(seconds));
  const said = [];
  for (const [name, size] of parts) {
    if (left >= size || (name === "s" && !said.length))
      said.push(`${Math.floor(left / size)}${name}`);
    left %= size;
  }
  return (seconds < 0 ? "-" : "") + said.slice(0, 2).join(" ");
}

function ago(milliseconds) {
  const seconds = (milliseconds - Date.now()) / 1000;
  return seconds < 0 ? `${clock(-seconds)} ago` : `in ${clock(seconds)}`;
}

// Returns [text, suffix]; Infinity and NaN as words.
export function format(value, unit = "", decimals = undefined) {
  if (value === null || value === undefined || Number.isNaN(value)) return ["-", ""];
  if (typeof value === "string") return [value, ""];
  if (!Number.isFinite(value)) return [value > 0 ? "∞" : "-∞", ""];
  if (unit === "percent") return [fixed(value, decimals), "%"];
  if (unit === "percentunit") return [fixed(value * 100, decimals), "%"];
  if (unit === "short") {
    const [text, name] = scaled(value, decimals, SHORT, 1000);
    return [text, name];
  }
  if (unit in RATES) {
    const [text, name] = scaled(value, decimals, ["", "K", "M", "B"], 1000);
    return [text + name, ` ${RATES[unit]}`];
  }
  if (unit in METRIC) {
    const [symbol, start] = METRIC[unit];
    const [text, name] = scaled(value, decimals, THOUSANDS, 1000, start);
    return [text, ` ${name}${symbol}`];
  }
  if (unit in BINARIES) {
    const [symbol, start] = BINARIES[unit];
    const [text, name] = scaled(value, decimals, BINARY, 1024, start);
    return [text, ` ${name}${symbol}`];
  }
  if (unit in TIME_SECONDS) {
    const [text, name] = duration(value, unit, decimals);
    return [text, ` ${name}`];
  }
  if (unit in CURRENCIES || unit.startsWith("currency:")) {
    const symbol = CURRENCIES[unit] ?? unit.split(":").pop();
    const [text, name] = scaled(value, decimals, ["", "K", "M", "B"], 1000);
    return [value < 0 ? `-${symbol}${text.slice(1)}${name}` : symbol + text + name, ""];
  }
  if (unit === "dtdurations" || unit === "clocks") return [clock(value), ""];
  if (unit === "dtdurationms" || unit === "clockms") return [clock(value / 1000), ""];
  if (unit.startsWith("dateTimeFromNow")) return [ago(value), ""];
  if (unit.startsWith("dateTime") || unit.startsWith("time:")) return [stamp(value), ""];
  if (unit === "bool") return [value ? "True" : "False", ""];
  if (unit === "bool_yes_no") return [value ? "Yes" : "No", ""];
  if (unit === "bool_on_off") return [value ? "On" : "Off", ""];
  if (unit.startsWith("suffix:")) return [fixed(value, decimals), ` ${unit.slice(7)}`];
  if (unit.startsWith("prefix:")) return [unit.slice(7) + fixed(value, decimals), ""];
  if (unit === "locale")
    return [value.toLocaleString("en-US", { maximumFractionDigits: decimals ?? 2 }), ""];
  if (unit === "" || unit === "none" || unit === "string" || unit === "sishort")
    return [fixed(value, decimals), ""];
  return [fixed(value, decimals), ` ${unit}`]; // an unknown id is shown, as Grafana does
}

export function stamp(milliseconds) {
  return new Date(milliseconds - new Date(milliseconds).getTimezoneOffset() * 60000)
    .toISOString()
    .slice(0, 19)
    .replace("T", " ");
}

const HUES = {
  red: ["#FFA6B0", "#FF7383", "#F2495C", "#E02F44", "#C4162A"],
  orange: ["#FFCB7D", "#FFB357", "#FF9830", "#FF780A", "#FA6400"],
  yellow: ["#FFF899", "#FFEE52", "#FADE2A", "#F2CC0C", "#E0B400"],
  green: ["#C8F2C2", "#96D98D", "#73BF69", "#56A64B", "#37872D"],
  blue: ["#C0D8FF", "#8AB8FF", "#5794F2", "#3274D9", "#1F60C4"],
  purple: ["#DEB6F2", "#CA95E5", "#B877D9", "#A352CC", "#8F3BB8"],
};
const SHADES = ["super-light-", "light-", "", "semi-dark-", "dark-"];
const NAMED = new Map([
  ["text", "#d8d9da"],
  ["transparent", "transparent"],
  ["white", "#ffffff"],
  ["black", "#000000"],
  ["gray", "#8e8e8e"],
  ["grey", "#8e8e8e"],
]);
for (const [hue, shades] of Object.entries(HUES)) {
  shades.forEach((colour, position) => NAMED.set(SHADES[position] + hue, colour));
}

// Grafana's classic palette, in its order.
const PALETTE = [
  "green",
  "semi-dark-yellow",
  "light-blue",
  "semi-dark-orange",
  "red",
  "blue",
  "purple",
  "#705DA0",
  "dark-green",
  "yellow",
  "#447EBC",
  "#C15C17",
  "#890F02",
  "#0A437C",
  "#6D1F62",
  "#584477",
  "#B7DBAB",
  "#F4D598",
  "#70DBED",
  "#F9BA8F",
  "#F29191",
  "#82B5D8",
  "#E5A8E2",
  "#AEA2E0",
  "#629E51",
  "#E5AC0E",
  "#64B0C8",
  "#E0752D",
  "#BF1B00",
  "#0A50A1",
  "#962D82",
  "#614D93",
  "#9AC48A",
  "#F2C96D",
  "#65C5DB",
  "#F9934E",
  "#EA6460",
  "#5195CE",
  "#D683CE",
  "#806EB7",
  "#3F6833",
  "#967302",
  "#2F575E",
  "#99440A",
  "#58140C",
  "#052B51",
  "#511749",
  "#3F2B5B",
  "#E0F9D7",
  "#FCEACA",
  "#CFFAFF",
  "#F9E2D2",
  "#FCE2DE",
  "#BADFF4",
  "#F9D9F9",
  "#DEDAF7",
];

export const colour = (name) => NAMED.get(name) ?? name;

// What the npm package string-hash gives, by which Grafana chooses a colour for a name.
function hashed(text) {
  let hash = 5381;
  for (let position = text.length; position;) hash = (hash * 33) ^ text.charCodeAt((position -= 1));
  return hash >>> 0;
}

// The step of the thresholds that a value has reached.
export function thresholdOf(value, config, low = 0, high = 100) {
  const {
    steps = [
      { color: "green", value: null },
      { color: "red", value: 80 },
    ],
    mode,
  } = config.thresholds ?? {};
  const at =
    mode === "percentage" && value !== null ? ((value - low) / (high - low || 1)) * 100 : value;
  let found = steps[0] ?? { color: "green", value: null };
  for (const step of steps) if (step.value === null || at >= step.value) found = step;
  return found;
}

// The mapping that fits a value, else undefined: {text, color}.
export function mappingOf(value, config) {
  const one =
    typeof value === "string" && value !== "" && !Number.isNaN(Number(value))
      ? Number(value)
      : value;
  const isNothing = one === null || one === undefined;
  for (const { type, options } of config.mappings ?? []) {
    if (type === "value" && !isNothing && Object.hasOwn(options, String(value)))
      return options[String(value)];
    if (
      type === "range" &&
      typeof one === "number" &&
      one >= (options.from ?? -Infinity) &&
      one <= (options.to ?? Infinity)
    )
      return options.result;
    if (
      type === "regex" &&
      !isNothing &&
      new RegExp(options.pattern.replace(/^\/|\/$/g, "")).test(String(value))
    )
      return options.result;
    if (type === "special") {
      const { match } = options;
      const fits =
        (match === "null" && isNothing) ||
        (match === "nan" && Number.isNaN(value)) ||
        (match === "null+nan" && (isNothing || Number.isNaN(value))) ||
        (match === "empty" && value === "") ||
        (match === "true" && value === true) ||
        (match === "false" && value === false);
      if (fits) return options.result;
    }
  }
  return undefined;
}

// Text and colour of a value in a field: what every panel shows.
export function display(value, field) {
  const { config } = field;
  const mapped = mappingOf(value, config);
  const isMissing = value === null || value === undefined || Number.isNaN(value);
  const [text, suffix] =
    mapped?.text !== undefined
      ? [mapped.text, ""]
      : isMissing && config.noValue
        ? [config.noValue, ""]
        : format(value, config.unit, config.decimals);
  return {
    text,
    suffix,
    all: text + suffix,
    color: mapped?.color ? colour(mapped.color) : colourOf(value, field),
  };
}

// The colour of a value by the field's colour mode.
export function colourOf(value, field) {
  const { mode = "thresholds" } = field.config.color ?? {};
  if (mode === "thresholds")
    return colour(thresholdOf(value, field.config, ...bounds(field)).color);
  return seriesColour(field);
}

// The colour of a whole line; by value, the last one's.
export function seriesColour(field) {
  const { mode = "palette-classic", fixedColor = "green" } = field.config.color ?? {};
  if (mode === "fixed" || mode === "shades") return colour(fixedColor);
  if (mode === "palette-classic-by-name")
    return colour(PALETTE[hashed(field.display) % PALETTE.length]);
  if (mode.startsWith("palette")) return colour(PALETTE[(field.index ?? 0) % PALETTE.length]);
  return colourOf(
    field.values.findLast((one) => one !== null),
    field,
  );
}

export function bounds(field) {
  if (field.bounds) return field.bounds;
  let low = Infinity,
    high = -Infinity;
  for (const one of field.values) {
    if (typeof one === "number" && Number.isFinite(one)) {
      low = Math.min(low, one);
      high = Math.max(high, one);
    }
  }
  field.bounds = [
    field.config.min ?? (low === Infinity ? 0 : low),
    field.config.max ?? (high === -Infinity ? 100 : high),
  ];
  return field.bounds;
}

const numbers = (values) => values.filter((one) => typeof one === "number" && !Number.isNaN(one));
const sum = (values) => values.reduce((all, one) => all + one, 0);
export const REDUCERS = {
  lastNotNull: (values) => values.findLast((one) => one !== null && !Number.isNaN(one)) ?? null,
  last: (values) => values.at(-1) ?? null,
  first: (values) => values[0] ?? null,
  firstNotNull: (values) => values.find((one) => one !== null && !Number.isNaN(one)) ?? null,
  min: (values) => numbers(values).reduce((a, b) => Math.min(a, b), Infinity),
  max: (values) => numbers(values).reduce((a, b) => Math.max(a, b), -Infinity),
  mean: (values) => (numbers(values).length ? sum(numbers(values)) / numbers(values).length : null),
  sum: (values) => sum(numbers(values)),
  count: (values) => values.length,
  range: (values) => REDUCERS.max(values) - REDUCERS.min(values),
  diff: (values) => REDUCERS.lastNotNull(values) - REDUCERS.firstNotNull(values),
};
REDUCERS.avg = REDUCERS.mean;
