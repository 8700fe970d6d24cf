// Arrays as pictures, tables and figures.

const isBad = (value) => typeof value === "string" && /NaN|∞/.test(value);

function scaleOf(array) {
  const sizes = array.cells.filter((v) => typeof v === "number").map(Math.abs);
  return Math.max(...sizes, 0);
}

function heat(value, scale, most = 100) {
  if (typeof value !== "number" || scale === 0) return "var(--mid)";
  const share = Math.round((Math.abs(value) / scale) * most);
  return `color-mix(in oklab, var(${value < 0 ? "--cold" : "--hot"}) ${share}%, var(--mid))`;
}

const cornerOf = (array) => [Math.min(array.table[0], 8), Math.min(array.table[1], 8)];

function thumbnail(array, x, y) {
  const [rows, columns] = cornerOf(array);
  if (!array.cells.length || rows * columns === 1) return null;
  const scale = scaleOf(array);
  const [wide, high] = [Math.min(THUMBNAIL / columns, 11), Math.min(THUMBNAIL / rows, 11)];
  const [w, h] = [columns * wide, rows * high];
  const [left, top] = [x + (THUMBNAIL - w) / 2, y + (THUMBNAIL - h) / 2];
  const cells = array.cells.map((value, i) =>
    svg("rect", {
      x: left + (i % columns) * wide,
      y: top + Math.floor(i / columns) * high,
      width: wide + 0.05,
      height: high + 0.05,
      style: `fill:${isBad(value) ? "url(#hatch)" : heat(value, scale)}`,
    }),
  );
  return svg(
    "g",
    { class: "thumbnail" },
    cells,
    svg("rect", { class: "cell-frame", x: left, y: top, width: w, height: h }),
  );
}

function numbersTable(array) {
  const columns = cornerOf(array)[1];
  const scale = scaleOf(array);
  const rows = [];
  array.cells.forEach((value, i) => {
    if (i % columns === 0) rows.push(html("tr"));
    const bad = isBad(value);
    const style = bad ? "" : `background:${heat(value, scale, 42)}`;
    rows.at(-1).append(html("td", { class: bad ? "bad" : "", style }, numberText(value, 3)));
  });
  return html("div", { class: "scroll" }, html("table", { class: "numbers" }, rows));
}

function cornerNote(array) {
  const parts = ["rows", "columns"].flatMap((what, i) =>
    array.table[i] > 8 ? [`8 of ${array.table[i]} ${what}`] : [],
  );
  return parts.length ? html("div", { class: "more" }, `the first ${parts.join(", ")}`) : null;
}

function statistics(array) {
  if (!array.moments && !array.nan && !array.inf) return null;
  const pairs = [];
  const add = (name, value, alarm) =>
    pairs.push(html("dt", {}, name), html("dd", { class: alarm ? "alarm" : "" }, value));
  const names = ["min", "max", "mean", "std", "L2 norm"];
  (array.moments || []).forEach((value, i) => add(names[i], numberText(value)));
  add("zeros", String(array.zeros));
  if (array.nan) add("NaN", String(array.nan), true);
  if (array.inf) add("infinite", String(array.inf), true);
  return html("dl", {}, pairs);
}

function histogram(array, kind) {
  const counts = array.histogram || [];
  if (!counts.length) return null;
  const most = Math.max(...counts);
  const bars = counts.map((count, i) =>
    svg("rect", { x: i + 0.06, y: 1 - count / most, width: 0.88, height: count / most }),
  );
  return html(
    "div",
    {},
    svg(
      "svg",
      {
        class: `histogram ${kind}`,
        viewBox: `0 0 ${counts.length} 1`,
        preserveAspectRatio: "none",
        role: "img",
        "aria-label": "histogram",
      },
      bars,
    ),
    html(
      "div",
      { class: "ends" },
      html("span", {}, numberText(array.moments[0])),
      html("span", {}, numberText(array.moments[1])),
    ),
  );
}

function block(title, index, full = false, kind = "") {
  const array = data.arrays[index];
  const about = html("span", { class: "shape" }, `${shapeText(array.shape)} ${array.dtype}`);
  return html(
    "div",
    { class: "block" },
    html("div", { class: "title" }, title, about),
    full ? statistics(array) : null,
    full ? histogram(array, kind) : null,
    array.cells.length ? numbersTable(array) : html("p", { class: "quiet" }, "empty"),
    cornerNote(array),
  );
}
