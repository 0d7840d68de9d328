// The variables of a board: what there is, what is chosen, and the controls for it.

import { element } from "./dom.js";

const ALL = "$__all";
const list = (value) =>
  value === undefined || value === null || value === "" ? [] : [value].flat();

function optionsOf(variable) {
  return (variable.query ?? "")
    .split(/(?<!\\),/)
    .map((one) => one.trim())
    .filter(Boolean)
    .map((one) => {
      const [text, value] = one.includes(" : ") ? one.split(" : ") : [one, one];
      return { text, value: value.trim() };
    });
}

function ordered(values, sort) {
  const rule = {
    1: (a, b) => a.localeCompare(b),
    2: (a, b) => b.localeCompare(a),
    3: (a, b) => a - b,
    4: (a, b) => b - a,
    5: (a, b) => a.localeCompare(b),
    6: (a, b) => b.localeCompare(a),
  }[sort];
  return rule ? [...values].sort(rule) : values;
}

function matching(values, regex) {
  const found = /^\/(.*)\/([a-z]*)$/.exec(regex ?? "");
  if (!found) return values;
  const pattern = new RegExp(found[1], found[2].replace("g", ""));
  return [
    ...new Set(
      values
        .map((one) => pattern.exec(one))
        .filter(Boolean)
        .map((one) => one.groups?.value ?? one[1] ?? one[0]),
    ),
  ];
}

// Ask for values in the board's order: a variable's query may name those before it.
export async function loadVariables(board, parameters, ask, timeParameters) {
  const loaded = [];
  for (const variable of board.templating?.list ?? []) {
    const asked = timeParameters();
    for (const one of loaded) for (const value of one.asked) asked.append(`var-${one.name}`, value);
    let options;
    if (variable.type === "query")
      options = ordered(
        matching(
          await ask(`/variables/${encodeURIComponent(variable.name)}`, asked),
          variable.regex,
        ),
        variable.sort,
      ).map((value) => ({ text: value, value }));
    else if (["custom", "interval", "constant"].includes(variable.type))
      options = optionsOf(variable);
    else if (variable.type === "datasource")
      options = [{ text: "Prometheus", value: variable.current?.value || "prometheus" }];
    else
      throw new Error(
        `variable ${variable.name}: this page does not know the kind ${variable.type}`,
      );
    const here = parameters
      .getAll(`var-${variable.name}`)
      .map((one) => (one === "All" ? ALL : one));
    const usual = list(variable.current?.value);
    let chosen = here.length
      ? here
      : usual.length
        ? usual
        : variable.includeAll
          ? [ALL]
          : options.slice(0, 1).map((one) => one.value);
    if (variable.type === "datasource") chosen = [options[0].value];
    if (!variable.multi) chosen = chosen.slice(0, 1);
    const isAll = chosen.includes(ALL);
    const shown = isAll ? options.map((one) => one.value) : chosen;
    // Without a text of its own for all, all is each value that there is.
    const sent = isAll && !variable.allValue && shown.length ? shown : chosen;
    loaded.push({ ...variable, options, chosen, shown, asked: sent });
  }
  return loaded;
}

function select(variable, choose) {
  const made = element("select", {
    id: `var-${variable.name}`,
    onchange: (event) => choose({ [`var-${variable.name}`]: event.target.value }),
  });
  const all = variable.includeAll ? [{ text: "All", value: ALL }] : [];
  for (const { text, value } of [...all, ...variable.options])
    made.append(element("option", { text, value, selected: variable.chosen.includes(value) }));
  return made;
}

function several(variable, choose) {
  const name = `var-${variable.name}`;
  const isAll = variable.chosen.includes(ALL);
  const change = (value, isOn) => {
    const rest = variable.chosen.filter((one) => one !== ALL && one !== value);
    const now = value === ALL ? [ALL] : isOn ? [...rest, value] : rest;
    choose({ [name]: now.length ? now : [ALL] });
  };
  const box = (text, value, checked) =>
    element("label", {
      children: [
        element("input", {
          type: "checkbox",
          value,
          checked,
          onchange: (event) => change(value, event.target.checked),
        }),
        document.createTextNode(text),
      ],
    });
  return element("details", {
    id: name,
    children: [
      element("summary", { text: isAll ? "All" : variable.chosen.join(" + ") }),
      element("div", {
        children: [
          ...(variable.includeAll ? [box("All", ALL, isAll)] : []),
          ...variable.options.map(({ text, value }) =>
            box(text, value, variable.chosen.includes(value)),
          ),
        ],
      }),
    ],
  });
}

let drawn = "";

export function drawVariables(bar, variables, choose) {
  const signature = JSON.stringify(
    variables.map(({ name, chosen, options }) => [name, chosen, options]),
  );
  if (signature === drawn) return; // else a refresh would close what is open
  drawn = signature;
  const open = bar.querySelector("details[open]")?.id;
  bar.replaceChildren(
    ...variables
      .filter((one) => one.hide !== 2 && one.type !== "constant")
      .map((variable) => {
        const control = variable.multi ? several(variable, choose) : select(variable, choose);
        if (control.id === open && control.tagName === "DETAILS") control.open = true;
        return element("div", {
          className: "variable",
          children: [
            element("label", {
              text: variable.label || variable.name,
              for: `var-${variable.name}`,
            }),
            control,
          ],
        });
      }),
  );
}

document.addEventListener("click", (event) => {
  for (const one of document.querySelectorAll("details[open]"))
    if (!one.contains(event.target)) one.open = false;
});
