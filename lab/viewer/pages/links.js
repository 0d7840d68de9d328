// Links from board to board: they keep variables and time, and choose what was clicked.

const timed = ({ range }) =>
  `from=${encodeURIComponent(range.from)}&to=${encodeURIComponent(range.to)}`;

function query(variable) {
  return variable.chosen
    .map((value) => `var-${variable.name}=${encodeURIComponent(value)}`)
    .join("&");
}

// Add variables and time to an address, those that it has already excepted.
export function addressOf(url, current, withVariables, withTime) {
  const [path, own = ""] = url.split("?");
  const parameters = new URLSearchParams(own);
  const added = new URLSearchParams();
  if (withVariables)
    for (const variable of current.variables)
      if (!parameters.has(`var-${variable.name}`))
        for (const value of variable.chosen) added.append(`var-${variable.name}`, value);
  if (withTime && !parameters.has("from")) {
    added.set("from", current.range.from);
    added.set("to", current.range.to);
  }
  const all = [parameters.toString(), added.toString()].filter(Boolean).join("&");
  return all ? `${path}?${all}` : path;
}

// Fill Grafana's variables into a text or an address.
export function filled(text, current, more = {}) {
  return text.replace(
    /\$\{(\w+)((?:\.[\w]+|\[(?:"[^"]*"|\d+)\])*)(?::(\w+))?\}|\$(\w+)/g,
    (whole, name, path, form, bare) => {
      const key = name ?? bare;
      if (key === "__url_time_range") return timed(current);
      if (key === "__all_variables") return current.variables.map((one) => query(one)).join("&");
      if (key === "__from" || key === "__to") return current.range[key.slice(2)];
      if (key in more) {
        const value = at(more[key], path ?? "");
        return more.encode ? encodeURIComponent(value ?? "") : String(value ?? "");
      }
      const variable = current.variables.find((one) => one.name === key);
      if (!variable) return whole;
      if (form === "queryparam") return query(variable);
      const shown = variable.chosen.map((value) =>
        value === "$__all" ? (more.encode ? value : "All") : value,
      );
      const joined = shown.join(
        form === "pipe" ? "|" : form === "csv" || more.encode ? "," : " + ",
      );
      return more.encode ? encodeURIComponent(joined) : joined;
    },
  );
}

function at(value, path) {
  for (const [, dotted, quoted, index] of path.matchAll(/\.(\w+)|\["([^"]*)"\]|\[(\d+)\]/g)) {
    if (value === undefined || value === null) return undefined;
    value = index !== undefined ? Object.values(value)[Number(index)] : value[dotted ?? quoted];
  }
  return value;
}

// The data links of a value, as addresses.
export function dataLinks(field, row, current) {
  return (field.config.links ?? []).map(({ title = "", url }) => {
    const value = field.values[row];
    const more = {
      __field: { name: field.display, labels: field.labels },
      __series: { name: field.display },
      __value: { raw: value, text: value, numeric: value, time: undefined },
      __data: { fields: current.cells ?? {} },
      encode: true,
    };
    return {
      href: filled(url, current, more),
      title: filled(title, current, { ...more, encode: false }),
    };
  });
}
