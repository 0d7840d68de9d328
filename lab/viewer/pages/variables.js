// The variables of a board: what there is, what is chosen, and the controls for it.
//
// Each but the data source asks for values, and takes several of them or all.

import { element } from "./dom.js";

const ALL = "$__all";

// Ask for values in the board's order: a variable's query may name those before it.
export async function loadVariables(board, parameters, ask, timeParameters) {
  const loaded = [];
  for (const variable of board.templating?.list ?? []) {
    const { name, type } = variable;
    if (type === "datasource") {
      loaded.push({ name, chosen: [variable.current.value], values: null });
      continue;
    }
    if (type !== "query")
      throw new Error(`variable ${name}: this page does not know the kind ${type}`);
    const asked = timeParameters();
    for (const one of loaded) for (const value of one.chosen) asked.append(`var-${one.name}`, value);
    const values = await ask(`/variables/${encodeURIComponent(name)}`, asked);
    const chosen = parameters
      .getAll(`var-${name}`)
      .filter(Boolean)
      .map((one) => (one === "All" ? ALL : one)); // Grafana takes both
    loaded.push({ name, label: variable.label, chosen: chosen.length ? chosen : [ALL], values: values.sort() });
  }
  return loaded;
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
  const boxes = variable.values.map((value) => box(value, value, variable.chosen.includes(value)));
  return element("details", {
    id: name,
    children: [
      element("summary", { text: isAll ? "All" : variable.chosen.join(" + ") }),
      element("div", { children: [box("All", ALL, isAll), ...boxes] }),
    ],
  });
}

let drawn = "";

export function drawVariables(bar, variables, choose) {
  const signature = JSON.stringify(variables);
  if (signature === drawn) return; // else a refresh would close what is open
  drawn = signature;
  const open = bar.querySelector("details[open]")?.id;
  bar.replaceChildren(
    ...variables
      .filter((one) => one.values)
      .map((variable) => {
        const control = several(variable, choose);
        control.open = control.id === open;
        const label = element("label", { text: variable.label, for: control.id });
        return element("div", { className: "variable", children: [label, control] });
      }),
  );
}

document.addEventListener("click", (event) => {
  for (const one of document.querySelectorAll("details[open]"))
    if (!one.contains(event.target)) one.open = false;
});
