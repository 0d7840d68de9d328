// Links from board to board: they keep variables and time, and choose what was clicked.

const chosenOf = (variable) =>
  variable.chosen.map((value) => `var-${variable.name}=${encodeURIComponent(value)}`).join("&");

// The address of a board, with the variables and the time of this one.
export const addressOf = (uid, { variables, range }) =>
  `/d/${uid}?${[...variables.map(chosenOf), new URLSearchParams(range)].join("&")}`;

// The links of a value, as addresses: `${cluster:queryparam}`, `${__url_time_range}`,
// `${__field.labels.proxy_vendor}` of a series and `${__data.fields.Vendor}` of a table's row.
export function dataLinks(field, current) {
  const valueOf = (path) => {
    if (path === "__url_time_range") return String(new URLSearchParams(current.range));
    const label = path.match(/^__field\.labels\.(\w+)$/);
    const cell = path.match(/^__data\.fields\.(\w+)$/);
    const variable = current.variables.find((one) => `${one.name}:queryparam` === path);
    if (variable) return chosenOf(variable);
    if (!label && !cell) throw new Error(`This page fills no \${${path}} into links; Grafana does.`);
    return encodeURIComponent((label ? field.labels[label[1]] : current.cells?.[cell[1]]) ?? "");
  };
  return (field.config.links ?? []).map(({ title, url }) => ({
    href: url.replace(/\$\{([^}]+)\}/g, (_, path) => valueOf(path)),
    title,
  }));
}
