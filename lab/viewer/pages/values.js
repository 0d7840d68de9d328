// Values as Grafana shows them: units, decimals, mappings, thresholds, colours.
//
// What no board of dashboards/ has is not here, and is an error that its panel shows.

const STEPS = ["", "K", "M", "B"];
const THOUSANDS = ["", "k", "M", "G", "T", "P"];
const SHORT = ["", " K", " Mil", " Bil", " Tri"];
const SIGNS = { currencyUSD: "$", currencyEUR: "€", currencyGBP: "£", currencyJPY: "¥" };
// The number is shortened, the word stays.
const RATES = { reqps: "req/s", ops: "ops/s", cps: "c/s" };
const BYTES = { decbytes: "B", Bps: "B/s" };
const SECONDS = { ms: 1e-3, s: 1 };
// A unit of time, its seconds, and from how many on the next one is used.
const LADDER = [
  ["µs", 1e-6, 1e-3],
  ["ms", 1e-3, 1],
  ["s", 1, 60],
  ["mins", 60, 3600],
  ["hours", 3600, 86400],
  ["days", 86400, 604800],
  ["weeks", 604800, 31536000],
  ["years", 31536000, Infinity],
];

export const isMissing = (value) => value === null || value === undefined || Number.isNaN(value);

// Grafana's rule: about three digits, none after the point of a whole number.
function decimalsFor(value) {
  const size = Math.abs(value);
  if (size === 0 || value % 1 === 0) return 0;
  const digits = 1 - Math.floor(Math.log10(size));
  return Math.min(20, Math.max(0, size * 10 ** digits > 22.5 ? digits + 1 : digits));
}

const fixed = (value, decimals) => value.toFixed(decimals ?? decimalsFor(value));

function scaled(value, decimals, names) {
  let number = value,
    step = 0;
  while (Math.abs(number) >= 1000 && step < names.length - 1) {
    number /= 1000;
    step += 1;
  }
  return [fixed(number, decimals), names[step]];
}

function duration(value, unit, decimals) {
  const seconds = value * SECONDS[unit];
  const size = Math.abs(seconds);
  if (size === 0) return [fixed(0, decimals), unit];
  const [name, length] = LADDER.find(([, , most]) => size < most);
  return [fixed(seconds / length, decimals), name];
}

// Returns [text, suffix].
export function format(value, unit = "none", decimals = undefined) {
  if (isMissing(value)) return ["-", ""];
  if (typeof value === "string") return [value, ""];
  if (!Number.isFinite(value)) return [value > 0 ? "∞" : "-∞", ""];
  if (unit === "none") return [fixed(value, decimals), ""];
  if (unit === "percentunit") return [fixed(value * 100, decimals), "%"];
  if (unit === "short") return scaled(value, decimals, SHORT);
  if (unit in RATES) return [scaled(value, decimals, STEPS).join(""), ` ${RATES[unit]}`];
  if (unit in BYTES) {
    const [text, name] = scaled(value, decimals, THOUSANDS);
    return [text, ` ${name}${BYTES[unit]}`];
  }
  if (unit in SECONDS) {
    const [text, name] = duration(value, unit, decimals);
    return [text, ` ${name}`];
  }
  if (unit in SIGNS) {
    const text = scaled(Math.abs(value), decimals, STEPS).join("");
    return [(value < 0 ? "-" : "") + SIGNS[unit] + text, ""];
  }
  if (unit.startsWith("suffix:")) return [fixed(value, decimals), ` ${unit.slice(7)}`];
  throw new Error(`This page has no unit ${unit}; Grafana has.`);
}

export function stamp(milliseconds) {
  return new Date(milliseconds - new Date(milliseconds).getTimezoneOffset() * 60000)
    .toISOString()
    .slice(0, 19)
    .replace("T", " ");
}

// Grafana's classic palette, in its order.
const PALETTE = `
  #73BF69 #F2CC0C #8AB8FF #FF780A #F2495C #5794F2 #B877D9 #705DA0 #37872D #FADE2A
  #447EBC #C15C17 #890F02 #0A437C #6D1F62 #584477 #B7DBAB #F4D598 #70DBED #F9BA8F
  #F29191 #82B5D8 #E5A8E2 #AEA2E0 #629E51 #E5AC0E #64B0C8 #E0752D #BF1B00 #0A50A1
  #962D82 #614D93 #9AC48A #F2C96D #65C5DB #F9934E #EA6460 #5195CE #D683CE #806EB7
  #3F6833 #967302 #2F575E #99440A #58140C #052B51 #511749 #3F2B5B #E0F9D7 #FCEACA
  #CFFAFF #F9E2D2 #FCE2DE #BADFF4 #F9D9F9 #DEDAF7
`.match(/#\w+/g);

export const colour = (name) => (name === "text" ? "#d8d9da" : name);

// The mapping that fits a value, else undefined: {text, color}.
function mappingOf(value, { mappings = [] }) {
  for (const { type, options } of mappings) {
    if (type !== "value") throw new Error(`This page has no mapping ${type}; Grafana has.`);
    if (Object.hasOwn(options, String(value))) return options[String(value)];
  }
  return undefined;
}

// Text and colour of a value in a field: what every panel shows.
export function display(value, field) {
  const { config } = field;
  const mapped = mappingOf(value, config);
  const [text, suffix] =
    mapped?.text !== undefined
      ? [mapped.text, ""]
      : isMissing(value) && config.noValue
        ? [config.noValue, ""]
        : format(value, config.unit, config.decimals);
  return {
    text,
    suffix,
    all: text + suffix,
    color: mapped?.color ? colour(mapped.color) : colourOf(value, field),
  };
}

// The colour of a value: of the threshold that it has reached, or its line's.
function colourOf(value, field) {
  if ((field.config.color?.mode ?? "thresholds") !== "thresholds") return seriesColour(field);
  const reached = field.config.thresholds?.steps.findLast(
    (step) => step.value === null || value >= step.value,
  );
  return colour(reached?.color ?? PALETTE[0]); // Grafana's own without thresholds
}

// The colour of a whole line; by thresholds, its last value's.
export function seriesColour(field) {
  const { mode = "thresholds", fixedColor } = field.config.color ?? {};
  if (mode === "fixed") return colour(fixedColor);
  if (mode === "palette-classic") return PALETTE[field.index % PALETTE.length];
  if (mode === "thresholds") return colourOf(lastOf(field.values), field);
  throw new Error(`This page has no colour mode ${mode}; Grafana has.`);
}

export const lastOf = (values) => values.findLast((one) => !isMissing(one)) ?? null;
