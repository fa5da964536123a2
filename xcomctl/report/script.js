(() => {
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const make = (tag, attributes = {}, ...children) => {
  const one = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) one.setAttribute(name, value);
  one.append(...children);
  return one;
};
const draw = (tag, attributes = {}, text = null) => {
  const one = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) one.setAttribute(name, value);
  if (text !== null) one.textContent = text;
  return one;
};

// --- numbers, written as xcomctl writes them
const fixed = (number, digits = 1) => number.toLocaleString("en", {minimumFractionDigits: digits, maximumFractionDigits: digits});
const whole = (number) => number.toLocaleString("en");
const size = (bytes) => {
  if (bytes < 0) return "\u2212" + size(-bytes);
  if (bytes < 1024) return `${bytes} B`;
  let unit = 0;
  for (bytes /= 1024; bytes >= 1024 && unit < 3; unit++) bytes /= 1024;
  return `${bytes.toFixed(1)} ${["KiB", "MiB", "GiB", "TiB"][unit]}`;
};
const change = (bytes) => (bytes > 0 ? "+" : "") + size(bytes);
const percent = (share) => {
  const number = 100 * share;
  if (number > 0 && number < 0.1) return "<0.1%";
  if (number >= 1000) return fixed(number, 0) + "%";
  let text = number.toFixed(1) + "%";
  if (text === "100.0%" && number !== 100) {
    text = number.toFixed(2) + "%";
    if (text === "100.00%") return number < 100 ? "<100%" : ">100%";
  }
  return text;
};

// --- the groups, as rows and as a tree
const rows = [];
const root = {name: "All", parts: data.tree.map(([dag, limit, tasks]) => ({
  name: dag,
  parts: tasks.map(([task, keys]) => ({
    name: task,
    parts: keys.map(([key, count = 0, total = 0, largest = 0, color = 0, grown = 0, nulls = 0, growth = null, meets = ""]) => {
      const mean = count > nulls ? Math.round(total / (count - nulls)) : 0;
      const row = {dag, task, key: data.keys[key], count, total, share: data.total ? total / data.total : 0, mean, largest,
        ofLimit: limit ? largest / limit : 0, growth, meets: meets || "", change: grown, color};
      row.text = `${dag}\n${task}\n${row.key}`.toLowerCase();
      rows.push(row);
      return {name: row.key, row};
    }),
  })),
}))};
const sum = (node) => {
  node.total = node.row ? node.row.total : node.parts.reduce((all, part) => all + sum(part), 0);
  node.count = node.row ? node.row.count : node.parts.reduce((all, part) => all + part.count, 0);
  if (node.parts) {
    node.parts.sort((one, other) => other.total - one.total);
    for (const part of node.parts) part.parent = node;
  }
  return node.total;
};
sum(root);

// --- the treemap
const squarify = (parts, box) => {
  const total = parts.reduce((all, part) => all + part.total, 0);
  const found = [];
  if (!total || box.w <= 0 || box.h <= 0) return found;
  const areas = parts.map((part) => part.total * box.w * box.h / total);
  const worst = (largest, smallest, all, side) => smallest && side && all
    ? Math.max(side * side * largest / (all * all), all * all / (side * side * smallest)) : Infinity;
  let {x, y, w, h} = box;
  for (let at = 0; at < areas.length;) {
    const side = Math.min(w, h);
    let end = at + 1, all = areas[at], best = worst(areas[at], areas[at], all, side);
    while (end < areas.length) {
      const more = worst(areas[at], areas[end], all + areas[end], side);
      if (more > best) break;
      best = more;
      all += areas[end++];
    }
    const wide = w >= h, depth = side ? all / side : 0;
    let place = wide ? y : x;
    for (; at < end; at++) {
      const length = depth ? areas[at] / depth : 0;
      found.push({part: parts[at], ...(wide ? {x, y: place, w: depth, h: length} : {x: place, y, w: length, h: depth})});
      place += length;
    }
    if (wide) { x += depth; w -= depth; } else { y += depth; h -= depth; }
  }
  return found;
};
const mapBox = document.getElementById("map-box");
const path = document.getElementById("path");
let here = root;
const leaves = (node) => node.row ? [node] : node.parts.flatMap(leaves);
const shorten = (text, width) => {
  const letters = Math.floor(width / 7);
  return letters < 3 ? "" : text.length <= letters ? text : text.slice(0, letters - 1) + "\u2026";
};
const describe = (node) => {
  if (!node.row) return `${node.name}: ${size(node.total)}, ${whole(node.count)} XComs`;
  const row = node.row;
  const more = data.change ? `, ${change(row.change)}` : `, largest ${size(row.largest)} (${percent(row.ofLimit)} of the limit)`;
  return `${node.name}: ${size(row.total)}, ${whole(row.count)} XComs${more}`;
};
const drawMap = (focus = false) => {
  const width = Math.max(mapBox.clientWidth, 200), height = Math.round(Math.min(560, Math.max(300, width * 0.45)));
  const svg = draw("svg", {viewBox: `0 0 ${width} ${height}`, class: "map", role: "group", "aria-label": `Treemap of ${here.name} by bytes. Arrow keys move, Enter opens, Escape goes back.`});
  const boxes = squarify(here.parts.filter((part) => part.total), {x: 0, y: 0, w: width, h: height});
  boxes.forEach(({part, x, y, w, h}, at) => {
    const opens = Boolean(part.parts);
    const group = draw("g", {role: "button", tabindex: at ? -1 : 0, "aria-label": describe(part) + (opens ? "" : ". Shows it in the table.")});
    const title = w > 40 && h > 34 ? shorten(part.name, w - 10) : "";
    const top = opens && title ? 20 : 0;
    if (opens) {
      group.append(draw("rect", {x, y, width: Math.max(w, 0), height: Math.max(h, 0), fill: "transparent"}));
      const inside = {x: x + 1, y: y + top, w: Math.max(w - 2, 0), h: Math.max(h - top - 1, 0)};
      const small = leaves(part).filter((leaf) => leaf.total).sort((one, other) => other.total - one.total);
      const paths = {};
      const laid = squarify(small, inside);
      for (const leaf of laid) {
        const color = leaf.part.row.color;
        paths[color] = (paths[color] || "") + `M${(leaf.x + 0.5).toFixed(1)} ${(leaf.y + 0.5).toFixed(1)}h${Math.max(leaf.w - 1, 0.3).toFixed(1)}v${Math.max(leaf.h - 1, 0.3).toFixed(1)}h-${Math.max(leaf.w - 1, 0.3).toFixed(1)}z`;
      }
      for (const [color, d] of Object.entries(paths)) group.append(draw("path", {class: "c" + color, d}));
      for (const leaf of laid) {
        if (leaf.w < 90 || leaf.h < 40) continue;
        const {task, key} = leaf.part.row;
        const name = here === root ? (key === "return_value" ? task : `${task}: ${key}`) : leaf.part.name;
        group.append(draw("text", {x: leaf.x + 6, y: leaf.y + 16}, shorten(name, leaf.w - 10)));
        group.append(draw("text", {x: leaf.x + 6, y: leaf.y + 31}, size(leaf.part.total)));
      }
    } else {
      group.append(draw("rect", {x: x + 0.5, y: y + 0.5, width: Math.max(w - 1, 0.3), height: Math.max(h - 1, 0.3), class: "c" + part.row.color}));
    }
    if (title) group.append(draw("text", {x: x + 6, y: y + 14, class: "title"}, title));
    if (title && !opens && h > 50) group.append(draw("text", {x: x + 6, y: y + 30}, shorten(size(part.total), w - 10)));
    group.append(draw("rect", {x: x + 1, y: y + 1, width: Math.max(w - 2, 0), height: Math.max(h - 2, 0), class: "face"}));
    group.append(draw("title", {}, describe(part)));
    group.addEventListener("click", () => open(part));
    group.addEventListener("focus", () => { hint.textContent = describe(part); });
    group.addEventListener("mouseenter", () => { hint.textContent = describe(part); });
    svg.append(group);
  });
  svg.addEventListener("keydown", (event) => {
    const all = [...svg.querySelectorAll("[role=button]")];
    const at = all.indexOf(document.activeElement);
    const next = {ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: all.length - 1}[event.key];
    if (next !== undefined && all[next]) {
      all.forEach((one, index) => one.setAttribute("tabindex", index === next ? 0 : -1));
      all[next].focus();
      event.preventDefault();
    } else if ((event.key === "Enter" || event.key === " ") && at >= 0) {
      open(boxes[at].part, true);
      event.preventDefault();
    } else if ((event.key === "Escape" || event.key === "Backspace") && here.parent) {
      open(here.parent, true);
      event.preventDefault();
    }
  });
  mapBox.replaceChildren(svg);
  path.replaceChildren();
  const way = [];
  for (let node = here; node; node = node.parent) way.unshift(node);
  if (way.length > 1) {
    way.forEach((node, at) => {
      if (at) path.append(" \u203a ");
      if (node === here) path.append(make("span", {"aria-current": "true"}, node.name));
      else {
        const back = make("button", {type: "button"}, node.name);
        back.addEventListener("click", () => open(node, true));
        path.append(back);
      }
    });
  }
  if (focus) svg.querySelector("[role=button]")?.focus();
};
const open = (node, focus = false) => {
  if (node.row) {
    filter.value = [node.row.dag, node.row.task, node.row.key].join(" ");
    show();
    document.getElementById("groups").scrollIntoView();
    if (focus) filter.focus();
    return;
  }
  here = node;
  while (here.parts && here.parts.length === 1 && here.parts[0].parts && here !== root && node !== here.parts[0].parent?.parent) here = here.parts[0];
  hint.textContent = describe(here);
  drawMap(focus);
};
const hint = make("p", {id: "hint", class: "note", "aria-live": "polite"}, "Open a box to see its tasks and keys.");
if (mapBox) {
  mapBox.after(hint);
  document.getElementById("treemap").classList.toggle("by-change", data.change);
  let drawn = 0;
  new ResizeObserver(() => {
    if (mapBox.clientWidth !== drawn) { drawn = mapBox.clientWidth; drawMap(); }
  }).observe(mapBox);
}

// --- the table
const columns = [
  ["DAG", (row) => row.dag], ["Task", (row) => row.task], ["Key", (row) => row.key],
  ["XComs", (row) => row.count, whole], ["Total", (row) => row.total, size], ["Share", (row) => row.share, percent],
  ["Mean", (row) => row.mean, size], ["Largest", (row) => row.largest, size], ["Of limit", (row) => row.ofLimit, percent],
  ["Growth/day", (row) => row.growth, change], ["Meets limit", (row) => row.meets, (day) => day],
];
if (data.change) columns.push(["Change", (row) => row.change, change]);
const PAGE = 50;
const table = document.querySelector("#groups table");
const filter = make("input", {type: "search", id: "filter", autocomplete: "off", spellcheck: "false", placeholder: "DAG, task or key"});
const counted = make("span", {role: "status", class: "note"});
const more = make("button", {type: "button", class: "more"}, "Show more");
let sorted = 4, descending = true, limit = PAGE;
const cell = (row, [, value, format]) => {
  const given = value(row);
  const one = make("td", {class: format ? "n" : "id"}, given === null || given === "" ? "" : format ? format(given) : given);
  if (format === size || format === change) one.title = given === null ? "" : `${whole(given)} B`;
  return one;
};
const show = () => {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = rows.filter((row) => words.every((word) => row.text.includes(word)));
  const value = columns[sorted][1];
  const compare = (one, other) => {
    const [first, second] = [value(one), value(other)];
    const empty = (first === null || first === "" ? 1 : 0) - (second === null || second === "" ? 1 : 0);
    if (empty) return empty;
    const order = typeof first === "string" ? (first < second ? -1 : first > second ? 1 : 0) : first - second;
    return descending ? -order : order;
  };
  found.sort(compare);
  table.tBodies[0].replaceChildren(...found.slice(0, limit).map((row) => make("tr", {}, ...columns.map((column) => cell(row, column)))));
  const total = found.reduce((all, row) => all + row.total, 0);
  counted.textContent = `${whole(found.length)} of ${whole(rows.length)} groups, ${size(total)}`;
  more.hidden = found.length <= limit;
};
if (table && rows.length) {
  const head = table.tHead.rows[0];
  columns.forEach(([name, , format], at) => {
    const button = make("button", {type: "button"}, name);
    button.addEventListener("click", () => {
      descending = sorted === at ? !descending : Boolean(format);
      sorted = at;
      mark();
      show();
    });
    head.cells[at].replaceChildren(button);
  });
  const mark = () => {
    columns.forEach((_, at) => {
      if (at === sorted) head.cells[at].setAttribute("aria-sort", descending ? "descending" : "ascending");
      else head.cells[at].removeAttribute("aria-sort");
    });
  };
  filter.addEventListener("input", () => { limit = PAGE; show(); });
  more.addEventListener("click", () => { limit += 5 * PAGE; show(); });
  document.getElementById("tools").append(make("div", {class: "tools"}, make("label", {for: "filter"}, "Filter"), filter, counted));
  table.closest(".scroll").after(more);
  document.getElementById("static")?.remove();
  window.addEventListener("beforeprint", () => { limit = Math.max(limit, 400); show(); });
  mark();
  show();
}
})();
