// Elements of the page. All text is set as text: nothing that Prometheus says becomes markup.

export function element(name, { text, className, title, children = [], ...attributes } = {}) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  if (title) made.title = title;
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== undefined && value !== false)
      made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

export function svg(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// A link of a board; anything but http and this server's own pages is dropped. Browsers read a
// backslash as a slash, and leave out tabs and line ends.
export function anchor(href, text, more = {}) {
  const isSafe = /^(https?:\/\/|\/(?![/\\\s]))/.test(href);
  return element(isSafe ? "a" : "span", { text, ...(isSafe ? { href } : {}), ...more });
}
