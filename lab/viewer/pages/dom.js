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

export const SVG = "http://www.w3.org/2000/svg";

export function svg(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// A link of a board; anything but http and this server's own pages is dropped. Browsers read a
// backslash as a slash, and leave out tabs and line ends.
export function anchor(href, text, more = {}) {
  const isSafe = /^(https?:\/\/|\/(?![/\\\s]))/.test(href);
  return element(isSafe ? "a" : "span", { text, ...(isSafe ? { href } : {}), ...more });
}

// Headings, lists, bold, code, links and paragraphs of a text panel's Markdown.
export function markdown(source) {
  const made = element("div", { className: "markdown" });
  let list = null;
  for (const line of source.split("\n")) {
    const item = line.match(/^\s*[-*] (.*)/),
      heading = line.match(/^(#{1,6}) (.*)/);
    if (!item) list = null;
    if (item) {
      if (!list) made.append((list = element("ul")));
      list.append(element("li", { children: inline(item[1]) }));
    } else if (heading)
      made.append(
        element(`h${Math.min(6, heading[1].length + 2)}`, { children: inline(heading[2]) }),
      );
    else if (line.trim()) made.append(element("p", { children: inline(line) }));
  }
  return made;
}

function inline(line) {
  return line
    .split(/(\*\*.+?\*\*|`.+?`|\[.+?\]\(.+?\))/)
    .filter(Boolean)
    .map((part) => {
      const link = part.match(/^\[(.+?)\]\((.+?)\)$/);
      if (link) return anchor(link[2], link[1]);
      if (part.startsWith("**")) return element("b", { text: part.slice(2, -2) });
      if (part.startsWith("`")) return element("code", { text: part.slice(1, -1) });
      return document.createTextNode(part);
    });
}
