"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const HEIGHT = 44;
  const THUMBNAIL = 34;
  const READABLE = 0.6;
  const SVG = "http://www.w3.org/2000/svg";
  const calm = matchMedia("(prefers-reduced-motion: reduce)");

  const last = data.steps.length - 1;
  const state = { view: -1, step: last, node: null, shown: "overview", query: "", hit: -1, saved: true, hover: null };
  const camera = { x: 0, y: 0, k: 1 };
  let scene = null;
  let timer = 0;

  // elements: text always becomes a text node, never markup -----------------------------------

  function make(element, attributes, children) {
    for (const [key, value] of Object.entries(attributes)) {
      if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
      else if (value !== null && value !== false) element.setAttribute(key, value);
    }
    element.append(...children.flat().filter((child) => child !== null));
    return element;
  }
  const html = (tag, attributes = {}, ...children) =>
    make(document.createElement(tag), attributes, children);
  const svg = (tag, attributes = {}, ...children) =>
    make(document.createElementNS(SVG, tag), attributes, children);

  // words ---------------------------------------------------------------------------------------

  const shapeText = (shape) => shape.join("×") || "scalar";
  const spoken = (shape) => shape.replaceAll("×", " by ");

  function numberText(value, digits = 4) {
    if (typeof value === "string") return value;
    const short = Number.isInteger(value) && Math.abs(value) < 1e6 ? value : Number(value.toPrecision(digits));
    return String(short).replaceAll("-", "−");
  }

  function label(number) {
    const tensor = data.tensors[number];
    return tensor.name || tensor.badge;
  }

  const GIVEN = ["parameter", "input"];
  const born = new Map(data.steps.flatMap((step, i) => (step.kind === "value" ? [[step.tensor, i]] : [])));
  /** Name a tensor so that it can be told from others: an unnamed one by the step that made it. */
  function told(number) {
    const { name, badge } = data.tensors[number];
    return name || (born.has(number) ? `${badge} (step ${born.get(number) + 1})` : badge);
  }

  function gradientOf(number) {
    const name = data.tensors[number].name;
    return name && name.includes(" ") ? `∂(${name})` : `∂${name ? "" : " "}${told(number)}`;
  }

  const pen = document.createElement("canvas").getContext("2d");
  const widths = new Map();
  function measured(text, font) {
    const key = font + text;
    if (!widths.has(key)) {
      pen.font = font;
      widths.set(key, pen.measureText(text).width);
    }
    return widths.get(key);
  }

  function cut(text, width, font) {
    if (measured(text, font) <= width) return text;
    let kept = text.length;
    while (kept > 1 && measured(`${text.slice(0, kept)}…`, font) > width) kept -= 1;
    return `${text.slice(0, kept)}…`;
  }
  const SANS = '"Helvetica Neue", Helvetica, Arial, "Liberation Sans", sans-serif';

  // arrays ---------------------------------------------------------------------------------------

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
    return svg("g", { class: "thumbnail" }, cells,
      svg("rect", { class: "cell-frame", x: left, y: top, width: w, height: h }));
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
      array.table[i] > 8 ? [`8 of ${array.table[i]} ${what}`] : []);
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
      svg("rect", { x: i + 0.06, y: 1 - count / most, width: 0.88, height: count / most }));
    return html("div", {},
      svg("svg", { class: `histogram ${kind}`, viewBox: `0 0 ${counts.length} 1`, preserveAspectRatio: "none",
        role: "img", "aria-label": "histogram" }, bars),
      html("div", { class: "ends" },
        html("span", {}, numberText(array.moments[0])), html("span", {}, numberText(array.moments[1]))));
  }

  function block(title, index, full = false, kind = "") {
    const array = data.arrays[index];
    const about = html("span", { class: "shape" }, `${shapeText(array.shape)} ${array.dtype}`);
    return html("div", { class: "block" },
      html("div", { class: "title" }, title, about),
      full ? statistics(array) : null,
      full ? histogram(array, kind) : null,
      array.cells.length ? numbersTable(array) : html("p", { class: "quiet" }, "empty"),
      cornerNote(array));
  }

  // the scene: one view drawn ----------------------------------------------------------------------

  function sceneOf(index) {
    const view = data.views[index];
    const cards = view.cards.map(([face, x, y], i) => ({
      ...data.faces[face], face, number: i, x, y, width: view.card, stub: (view.stubs || []).includes(i) }));
    const found = { view, cards, at: new Map(), gradientAt: new Map(), edges: [], elements: [] };
    for (const card of cards) {
      const where = card.image ? found.gradientAt : found.at;
      for (const tensor of card.members || [card.tensor]) {
        if (!where.has(tensor) || !card.stub) where.set(tensor, card.number);
      }
    }
    found.activity = activityOf(found);
    return found;
  }

  /** Say for each card at which steps something happens to it. */
  function activityOf(found) {
    const activity = found.cards.map(() => []);
    data.steps.forEach((step, i) => {
      for (const card of activeAt(found, step)) activity[card].push(i);
    });
    return activity;
  }

  function activeAt(found, step) {
    if (step.kind === "value") return onlyKnown([found.at.get(step.tensor)]);
    if (found.view.kind === "operations") return recordedAt(found, step);
    const to = step.kind === "seed" ? [step.tensor] : step.parts.map((part) => part.tensor);
    const images = onlyKnown(to.map((tensor) => found.gradientAt.get(tensor)));
    return images.length || found.gradientAt.size ? images : onlyKnown([found.at.get(step.tensor)]);
  }

  function recordedAt(found, step) {
    if (step.kind === "seed") return found.cards.filter((c) => c.kind === "seed").map((c) => c.number);
    return found.cards
      .filter((card) => card.level > 0 && data.tensors[card.tensor]?.rule_of === step.tensor)
      .map((card) => card.number);
  }

  const onlyKnown = (numbers) => [...new Set(numbers.filter((n) => n !== undefined))];

  function keyOf(card) {
    if (card.kind === "scope") return `s${card.face}`;
    return `${card.image ? "g" : "n"}${card.tensor}`;
  }

  function draw() {
    const { view } = scene;
    byId("frames").replaceChildren(...view.frames.map(drawFrame));
    byId("titles").replaceChildren(...view.frames.map(drawTitle));
    byId("cards").replaceChildren(...scene.cards.map(drawCard));
    scene.elements = [...byId("cards").children];
    scene.edges = [...view.saved.map(savedEdge), ...view.edges.map(flowEdge), ...turnEdge()];
    byId("edges").replaceChildren(...scene.edges.flatMap((edge) => edge.elements));
    byId("saved-switch").hidden = !view.saved.length;
    rove(0, false);
  }

  function drawFrame([face, x, y, width, height]) {
    const { level, depth, opens } = data.faces[face];
    const side = level % 2 ? "backward" : "forward";
    return svg("g", { class: `frame ${side} depth-${Math.min(depth, 3)}`, ondblclick: () => show(opens) },
      svg("rect", { x, y, width, height }));
  }

  function drawTitle([face, x, y, width]) {
    const { name, level, opens } = data.faces[face];
    return svg("text", { class: `title ${level % 2 ? "backward" : "forward"}`, x: x + 11, y: y + 16, ondblclick: () => show(opens) },
      cut(name, width - 16, `600 12px ${SANS}`));
  }

  function drawCard(card) {
    const side = card.level % 2 ? "backward" : "forward";
    const classes = ["card", card.kind, side, card.stub ? "stub" : "", card.result ? "result" : ""];
    const group = svg("g", {
      class: classes.filter(Boolean).join(" "),
      transform: `translate(${card.x} ${card.y})`,
      style: `--family:var(--${card.family})`,
      role: "button",
      tabindex: -1,
      "aria-label": spokenCard(card),
      "data-number": card.number,
    }, svg("rect", { class: "body", width: card.width, height: HEIGHT }), badge(card));
    group.append(...cardText(card), pictureOf(card) || "");
    return group;
  }

  function spokenCard(card) {
    const op = data.tensors[card.tensor]?.op;
    const title = card.kind === "scope" ? `${card.name}, collapsed scope` : card.name || card.badge;
    const parts = [title, op && op !== title ? op.replaceAll("_", " ") : null, card.shape && spoken(card.shape),
      card.note, card.value];
    const at = data.steps.length ? scene.activity[card.number] : [];
    if (at.length) parts.push(`step ${at[0] + 1}`);
    return parts.filter(Boolean).join(", ");
  }

  const badgeFont = (text) => `700 ${measured(text, `700 13px ${SANS}`) > 74 ? 11.5 : 13}px ${SANS}`;
  const badgeWidth = (card) =>
    card.badge ? Math.min(Math.max(30, measured(card.badge, badgeFont(card.badge)) + 14), 112) : 30;

  function badge(card) {
    if (card.kind === "scope") {
      return svg("path", { class: "plus", d: "M12 14h16v16h-16z M20 18v8 M16 22h8" });
    }
    const width = badgeWidth(card);
    const font = badgeFont(card.badge);
    const text = cut(card.badge, width - 8, font);
    return svg("g", {}, svg("rect", { class: "badge", x: 5, y: 5, width, height: HEIGHT - 10 }),
      svg("text", { class: font.includes("11.5") ? "symbol long" : "symbol", x: 5 + width / 2, y: 26.5 }, text));
  }

  function cardText(card) {
    const left = badgeWidth(card) + 13;
    const room = card.width - left - (hasPicture(card) ? THUMBNAIL + 12 : 8);
    const size = [card.shape, card.kind === "scope" ? "" : card.note].filter(Boolean).join(" · ");
    const own = card.name ? "own" : "";
    const sizeWidth = measured(size, `11.5px ${MONO}`) + 7;
    const font = `${own ? "700 " : ""}14px ${SANS}`;
    const title = cut(card.name || card.title || "", Math.max(room - sizeWidth, 24), font);
    const start = left + (title ? measured(title, font) + 7 : 0);
    const line = card.kind === "scope" ? card.note || card.value : card.value;
    return [
      svg("text", { class: `name ${own}`, x: left, y: line ? 19 : 27 }, title),
      svg("text", { class: "size", x: start, y: line ? 18.5 : 26.5 }, cut(size, left + room - start, `11.5px ${MONO}`)),
      svg("text", { class: `summary ${card.alarm ? "alarm" : ""}`, x: left, y: 35 },
        cut(`${card.alarm ? "⚠ " : ""}${line || ""}`, room, `11.5px ${SANS}`)),
    ];
  }
  const MONO = 'ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace';

  function arrayOf(card, step = last) {
    const number = card.tensor ?? card.shows;
    if (number === undefined) return -1;
    const tensor = data.tensors[number];
    if (!card.image) return tensor.value;
    const sum = partsTo(number).filter(([i]) => i <= step).at(-1);
    return sum ? sum[1].total : tensor.gradient;
  }

  const contributions = new Map();
  /** List the contributions to the gradient of a tensor, each with its step. */
  function partsTo(tensor) {
    if (!contributions.size) {
      data.steps.forEach((step, i) => (step.parts || []).forEach((part) => {
        contributions.set(part.tensor, [...(contributions.get(part.tensor) || []), [i, part, step]]);
      }));
    }
    return contributions.get(tensor) || [];
  }

  function hasPicture(card) {
    const array = data.arrays[arrayOf(card)];
    return Boolean(array && array.cells.length > 1);
  }

  function pictureOf(card, step = last) {
    const array = data.arrays[arrayOf(card, step)];
    const drawn = array && thumbnail(array, card.width - THUMBNAIL - 5, (HEIGHT - THUMBNAIL) / 2);
    return drawn && make(drawn, { "data-array": arrayOf(card, step) }, []);
  }

  function pathText(lengths) {
    let [x, y] = [0, 0];
    const points = [];
    for (let i = 0; i < lengths.length; i += 2) {
      x += lengths[i];
      y += lengths[i + 1];
      points.push(`${x} ${y}`);
    }
    return `M${points[0]}C${points.slice(1).join(" ")}`;
  }

  function flowEdge([from, to, mark, lengths]) {
    const backward = scene.cards[to].level % 2 === 1;
    const path = svg("path", { class: `edge ${backward ? "backward" : "forward"}`, d: pathText(lengths) });
    const elements = mark ? [path, markText(mark, lengths, backward)] : [path];
    return { from, to, elements };
  }

  function markText(mark, lengths, backward) {
    const points = [[lengths[0], lengths[1]]];
    for (let i = 2; i < lengths.length; i += 2) {
      points.push([points.at(-1)[0] + lengths[i], points.at(-1)[1] + lengths[i + 1]]);
    }
    const [[ax, ay], [bx, by]] = backward ? points : [points.at(-1), points.at(-2)];
    const far = Math.hypot(bx - ax, by - ay) || 1;
    const along = Math.min(15, far) / far;
    return svg("text", { class: "mark", x: ax + (bx - ax) * along + 5, y: ay + (by - ay) * along + 3 }, mark);
  }

  /** Draw where a saved value is read: a quiet line from the side of one card to the other. */
  function savedEdge([from, to]) {
    const [a, b] = [scene.cards[from], scene.cards[to]];
    const across = b.x > a.x + a.width;
    const start = [across ? a.x + a.width : a.x + a.width / 2, across ? a.y + HEIGHT / 2 : a.y + HEIGHT];
    const end = [across ? b.x : b.x + b.width / 2, across ? b.y + HEIGHT / 2 : b.y];
    const bend = across ? [(end[0] - start[0]) / 2, 0] : [0, (end[1] - start[1]) / 2];
    const d = `M${start}C${start[0] + bend[0]} ${start[1] + bend[1]} ${end[0] - bend[0]} ${end[1] - bend[1]} ${end}`;
    return { from, to, saved: true, elements: [svg("path", { class: "edge saved", d })] };
  }

  /** Draw the turn: from the result to the gradient that the backward sweep begins with. */
  function turnEdge() {
    const to = scene.cards.find((card) => card.kind === "seed" && card.image);
    const from = to && scene.cards[scene.at.get(to.tensor)];
    if (!from) return [];
    const across = to.x > from.x + from.width;
    const d = across
      ? `M${from.x + from.width} ${from.y + HEIGHT / 2}H${to.x}`
      : `M${from.x + from.width / 2} ${from.y + HEIGHT}V${to.y}`;
    return [{ from: from.number, to: to.number, elements: [svg("path", { class: "edge turn", d })] }];
  }

  // the camera -------------------------------------------------------------------------------------

  const place = () =>
    byId("world").setAttribute("transform", `translate(${camera.x} ${camera.y}) scale(${camera.k})`);
  const room = () => byId("stage").getBoundingClientRect();

  function fit(least = 0) {
    const { width, height } = room();
    const [w, h] = scene.view.size;
    const whole = Math.min((width - 48) / w, (height - 84) / h, 1.7);
    camera.k = Math.max(whole, least);
    camera.x = Math.max((width - w * camera.k) / 2, 24);
    camera.y = Math.max((height - 40 - h * camera.k) / 2, 20);
    place();
  }

  function zoom(factor, x = room().width / 2, y = room().height / 2) {
    const k = Math.min(Math.max(camera.k * factor, 0.05), 6);
    camera.x = x - ((x - camera.x) * k) / camera.k;
    camera.y = y - ((y - camera.y) * k) / camera.k;
    camera.k = k;
    place();
  }

  function glide(x, y) {
    const from = { x: camera.x, y: camera.y };
    const start = performance.now();
    const time = calm.matches ? 0 : 220;
    const frame = (now) => {
      const t = time ? Math.min((now - start) / time, 1) : 1;
      const eased = 1 - (1 - t) ** 3;
      camera.x = from.x + (x - from.x) * eased;
      camera.y = from.y + (y - from.y) * eased;
      place();
      if (t < 1) gliding = requestAnimationFrame(frame);
    };
    cancelAnimationFrame(gliding);
    frame(start);
  }
  let gliding = 0;

  /** Bring cards into sight, with some room around them, if they are out of it. */
  function follow(numbers) {
    if (!numbers.length) return;
    const { width, height } = room();
    const cards = numbers.map((n) => scene.cards[n]);
    const left = Math.min(...cards.map((c) => c.x)) * camera.k + camera.x;
    const right = Math.max(...cards.map((c) => c.x + c.width)) * camera.k + camera.x;
    const top = Math.min(...cards.map((c) => c.y)) * camera.k + camera.y;
    const bottom = Math.max(...cards.map((c) => c.y + HEIGHT)) * camera.k + camera.y;
    const inside = left >= 8 && top >= 8 && right <= width - 8 && bottom <= height - 60;
    if (!inside) glide(camera.x + (width - left - right) / 2, camera.y + (height - top - bottom) / 2);
  }

  // what is highlighted -----------------------------------------------------------------------------

  const stepping = () => state.shown === "step" || state.step < last;

  function paint() {
    const lit = litNow();
    scene.elements.forEach((element, i) => paintCard(element, i, lit));
    for (const edge of scene.edges) paintEdge(edge, lit);
    byId("canvas").classList.toggle("no-saved", !state.saved);
  }

  /** Collect what the step, the selection and the search light up. */
  function litNow() {
    const step = data.steps[state.step];
    const now = stepping() && step ? activeAt(scene, step) : [];
    const selected = selectedCard();
    return {
      now: new Set(now),
      read: new Set(stepping() && step ? readAt(step) : []),
      selected: selected ? selected.number : -1,
      near: selected && !stepping() ? nearTo(selected) : null,
      hits: state.query ? new Set(hits()) : null,
    };
  }

  function readAt(step) {
    if (step.kind === "value") {
      const operands = data.tensors[step.tensor].operands || [];
      return onlyKnown(operands.map((operand) => scene.at.get(operand.tensor)));
    }
    if (step.kind === "seed") return onlyKnown([scene.at.get(step.tensor)]);
    const reads = step.parts.flatMap((part) => part.reads).map((read) => scene.at.get(read.tensor));
    return onlyKnown([scene.gradientAt.get(step.tensor), scene.at.get(step.tensor), ...reads]);
  }

  function nearTo(card) {
    const near = new Set([card.number]);
    for (const { from, to } of scene.edges) {
      if (from === card.number) near.add(to);
      if (to === card.number) near.add(from);
    }
    for (const tensor of card.members || [card.tensor]) {
      const other = card.image ? scene.at.get(tensor) : scene.gradientAt.get(tensor);
      if (other !== undefined) near.add(other);
    }
    return near;
  }

  const isFuture = (i) => {
    const activity = scene.activity[i];
    return stepping() && activity.length > 0 && activity[0] > state.step;
  };

  function paintCard(element, i, lit) {
    const classes = element.classList;
    classes.toggle("future", isFuture(i));
    classes.toggle("current", lit.now.has(i));
    classes.toggle("read", lit.read.has(i) && !lit.now.has(i));
    classes.toggle("selected", i === lit.selected);
    classes.toggle("hit", Boolean(lit.hits && lit.hits.has(i)));
    classes.toggle("dim", Boolean(lit.hits ? !lit.hits.has(i) : lit.near && !lit.near.has(i)));
    const card = scene.cards[i];
    if (card.image) refresh(element, card);
  }

  /** Show the sum so far in the picture of a gradient to which several rules contribute. */
  function refresh(element, card) {
    const old = element.querySelector(".thumbnail");
    const step = stepping() ? state.step : last;
    if (!old || Number(old.dataset.array) === arrayOf(card, step)) return;
    const drawn = pictureOf(card, step);
    if (drawn) old.replaceWith(drawn);
  }

  function paintEdge(edge, lit) {
    const future = isFuture(edge.from) || isFuture(edge.to);
    const flows = lit.now.has(edge.to) && (lit.read.has(edge.from) || lit.now.has(edge.from));
    const touched = edge.from === lit.selected || edge.to === lit.selected;
    for (const element of edge.elements) {
      element.classList.toggle("future", future);
      element.classList.toggle("lit", flows || (touched && !stepping()));
      element.classList.toggle("dim", Boolean(lit.hits || (lit.near && !touched)));
    }
  }

  // selection and search -----------------------------------------------------------------------------

  function selectedCard() {
    if (!state.node) return null;
    const exact = scene.cards.find((card) => keyOf(card) === state.node);
    if (exact) return exact;
    const where = state.node[0] === "g" ? scene.gradientAt : scene.at;
    const number = where.get(Number(state.node.slice(1)));
    return state.node[0] === "s" || number === undefined ? null : scene.cards[number];
  }

  function select(card) {
    state.node = card ? keyOf(card) : null;
    state.shown = card ? "card" : "overview";
    stop();
    if (card) {
      state.step = last;
      rove(card.number, false);
    }
    update();
  }

  function hits() {
    const words = state.query.toLowerCase();
    return scene.cards.filter((card) => searchText(card).includes(words)).map((card) => card.number);
  }

  function searchText(card) {
    const tensors = (card.members || [card.tensor]).map((n) => data.tensors[n]).filter(Boolean);
    const texts = tensors.flatMap((t) => [t.name, t.op, ...t.scope]);
    return [card.name, card.badge, card.title, card.note, card.shape, ...texts].join(" ").toLowerCase();
  }

  function search(query) {
    state.query = query.trim();
    state.hit = -1;
    update();
  }

  function nextHit() {
    const found = hits();
    if (!state.query || !found.length) return;
    state.hit = (state.hit + 1) % found.length;
    state.node = keyOf(scene.cards[found[state.hit]]);
    state.shown = "card";
    state.step = last;
    update();
    follow([found[state.hit]]);
  }

  // the panel ----------------------------------------------------------------------------------------

  function panel() {
    const preview = state.shown === "overview" ? state.hover : null;
    const card = preview || selectedCard();
    const content = state.shown === "step" && data.steps.length ? stepPanel(data.steps[state.step])
      : card ? cardPanel(card) : overview();
    byId("panel").replaceChildren(...content.flat().filter((part) => part !== null));
    byId("panel").scrollTop = 0;
  }

  function tensorLink(number) {
    const open = () => {
      const card = scene.at.get(number);
      if (card === undefined) return;
      select(scene.cards[card]);
      follow([card]);
    };
    return html("button", { class: "link", onclick: open }, told(number));
  }

  function cardPanel(card) {
    if (card.kind === "scope") return scopePanel(card);
    const tensor = data.tensors[card.tensor];
    const value = html("h3", {}, "value");
    const gradient = tensor.gradient === undefined ? [] : [
      html("h3", { class: "grad" }, "gradient"), block("∂", tensor.gradient, true, "grad"), ...contributionsPanel(card.tensor)];
    const forward = [value, block("", tensor.value, true)];
    return [
      html("h2", {}, card.image ? html("span", { class: "grad-text" }, gradientOf(card.tensor)) : label(card.tensor)),
      html("div", { class: "path" }, [tensor.op || tensor.kind, ...tensor.scope.slice().reverse().map((s) => `in ${s}`)].join(" ")),
      tensor.doc ? html("p", {}, tensor.doc) : null,
      ...(card.image ? [...gradient, ...forward] : [...forward, ...gradient]),
      ...operandsPanel(tensor),
      ...rulesPanel(tensor),
      ...sourcePanel(tensor),
    ];
  }

  function operandsPanel(tensor) {
    if (!tensor.operands || !tensor.operands.length) return [];
    const lines = tensor.operands.map((operand) =>
      html("li", {}, html("code", {}, operand.as), " = ", operandText(operand)));
    return [html("h3", {}, "operands"), html("ul", { class: "members" }, lines)];
  }

  function operandText(operand) {
    if (operand.text !== undefined) return operand.text;
    return operand.tensor === undefined ? shapeText(data.arrays[operand.array].shape) : tensorLink(operand.tensor);
  }

  function rulesPanel(tensor) {
    if (!tensor.rules || !tensor.rules.length) return [];
    const rules = tensor.rules.map(([i, rule]) => html("div", {},
      html("div", {}, "to ", html("code", {}, tensor.operands[i].as), " = ", operandText(tensor.operands[i])),
      html("pre", {}, data.rules[rule])));
    return [html("h3", {}, "derivative rules"), ...rules];
  }

  function contributionsPanel(tensor) {
    const parts = partsTo(tensor);
    if (parts.length < 2) return [];
    const lines = parts.map(([i, part, step]) => html("li", {},
      html("button", { class: "link", onclick: () => go(i) }, `step ${i + 1}`),
      ` from ${label(step.tensor)}: contribution ${part.nth} of ${part.of}`));
    return [html("p", {}, `The sum of ${parts.length} contributions:`), html("ul", { class: "members" }, lines)];
  }

  function sourcePanel(tensor) {
    if (!tensor.where) return [];
    const [file, line, text] = tensor.where;
    return [html("h3", {}, "recorded at", html("span", { class: "shape" }, `${file}:${line}`)),
      text ? html("pre", {}, text) : null];
  }

  function scopePanel(card) {
    const lines = card.members.filter((n) => data.tensors[n].op).map((n) => html("li", {},
      html("b", {}, data.tensors[n].badge), ` ${data.tensors[n].name || data.tensors[n].op} `,
      html("span", { class: "shape" }, shapeText(data.arrays[data.tensors[n].value].shape))));
    const open = html("button", { onclick: () => show(card.opens) }, "open this scope");
    return [
      html("h2", {}, card.name),
      html("p", { class: "quiet" }, `collapsed scope · ${card.note || card.shape}`),
      card.opens >= 0 ? open : null,
      html("h3", {}, "operations"), html("ul", { class: "members" }, lines),
    ];
  }

  function stepPanel(step) {
    return step.kind === "value" ? valuePanel(step) : step.kind === "seed" ? seedPanel(step) : rulePanel(step);
  }

  function valuePanel(step) {
    const tensor = data.tensors[step.tensor];
    if (!tensor.operands) {
      return [html("h2", {}, label(step.tensor)), html("p", { class: "quiet" }, `${tensor.kind}: a value that is given`),
        block("value", tensor.value, true)];
    }
    const operands = tensor.operands.map((operand) => given(operand));
    return [
      html("h2", {}, `${tensor.badge}${tensor.name ? ` → ${tensor.name}` : ""}`),
      html("div", { class: "path" }, [sideOf(step), tensor.op, ...tensor.scope.slice().reverse().map((s) => `in ${s}`)].join(" · ")),
      tensor.doc ? html("p", {}, tensor.doc) : null,
      html("h3", {}, "operands"), ...operands,
      html("h3", {}, "result"), block(html("b", {}, label(step.tensor)), tensor.value),
    ];
  }

  function given(operand) {
    const name = html("code", {}, operand.as);
    if (operand.text !== undefined) return html("div", { class: "block" }, html("div", { class: "title" }, name, `= ${operand.text}`));
    const title = operand.tensor === undefined ? [name] : [name, "=", tensorLink(operand.tensor)];
    return block(html("span", {}, title.flatMap((part) => [part, " "])), operand.array);
  }

  function seedPanel(step) {
    return [
      html("h2", {}, html("span", { class: "grad-text" }, gradientOf(step.tensor))),
      html("p", {}, "The backward sweep begins: the derivative of the result with respect to itself is 1. " +
        "From here every operation, the last first, passes its gradient on to its operands."),
      block("gradient", data.tensors[step.tensor].gradient),
    ];
  }

  function rulePanel(step) {
    const tensor = data.tensors[step.tensor];
    const reads = new Map(step.parts.flatMap((part) => part.reads).map((read) => [read.as, read]));
    return [
      html("h2", {}, html("span", { class: "grad-text" }, `back through ${tensor.badge}`), tensor.name ? ` (${tensor.name})` : ""),
      html("div", { class: "path" }, ["backward", tensor.op, ...tensor.scope.slice().reverse().map((s) => `in ${s}`)].join(" · ")),
      html("h3", { class: "grad" }, "gradient that arrives"),
      block(html("span", {}, html("code", {}, "g"), ` = ${gradientOf(step.tensor)}`), step.g),
      reads.size ? html("h3", {}, "values that the rule reads") : null,
      ...[...reads.values()].map((read) => given(read)),
      html("h3", { class: "grad" }, step.parts.length > 1 ? "rules, one for each operand" : "rule"),
      ...step.parts.map((part) => partPanel(part, tensor)),
    ];
  }

  function partPanel(part, tensor) {
    const name = tensor.operands[part.operand].as;
    const code = data.rules[part.rule].replace(/^lambda [^:]*: /, "");
    const sum = part.of > 1
      ? [html("div", {}, `contribution ${part.nth} of ${part.of} to ${gradientOf(part.tensor)}; `,
        html("b", {}, part.nth === part.of ? "the sum is complete:" : "the sum so far:")), block("sum", part.total)]
      : [];
    return html("div", { class: "part" },
      html("div", {}, "to ", html("code", {}, name), " = ", tensorLink(part.tensor)),
      html("pre", { title: data.rules[part.rule] }, code),
      part.summed ? html("p", { class: "quiet" }, `then summed over what was broadcast, ${part.summed}`) : null,
      block(part.of > 1 ? "contribution" : gradientOf(part.tensor), part.piece), ...sum);
  }

  function overview() {
    const forward = data.steps.filter((step) => sideOf(step) === "forward").length;
    const backward = data.steps.length - forward;
    const alarms = scene.cards.filter((card) => card.alarm).slice(0, 8);
    return [
      html("h2", {}, scene.view.path ? scene.view.path.at(-1)[0] : data.title),
      html("p", {}, explained(backward)),
      data.steps.length ? html("p", {}, html("button", { onclick: () => { state.step = -1; move(1); } }, "▶ step through from the start"),
        html("span", { class: "quiet" }, `  ${forward} forward${backward ? `, ${backward} backward` : ""}`)) : null,
      alarms.length ? html("p", { class: "alarm" }, "NaN or infinite: ",
        ...alarms.flatMap((card) => [html("button", { class: "link alarm", onclick: () => select(card) }, card.name || card.badge), " "])) : null,
      ...inputsAndResults(),
      html("h3", {}, "ways around"), keysList(),
    ];
  }

  function explained(backward) {
    if (scene.cards.some((card) => card.image)) {
      return "The forward computation flows down. Beside each value stands its gradient ∂: these flow back up, one derivative rule along each red arrow.";
    }
    if (scene.cards.some((card) => card.level % 2)) {
      return "Every operation as it was recorded: the forward computation flows down, in red the operations of the gradient flow back up.";
    }
    return backward ? "The forward computation; the steps show its gradient too."
      : "The forward computation, as it was recorded. A result of one element would have its gradient beside it.";
  }

  function inputsAndResults() {
    const given = data.tensors.flatMap((tensor, i) => (tensor.name && born.has(i) && GIVEN.includes(tensor.kind) ? [i] : []));
    const line = (number) => html("li", {}, tensorLink(number), " ",
      html("span", { class: "shape" }, shapeText(data.arrays[data.tensors[number].value].shape)));
    return [
      data.results.length ? html("h3", {}, data.results.length > 1 ? "results" : "result") : null,
      ...data.results.slice(0, 4).map((number) => block(tensorLink(number), data.tensors[number].value)),
      given.length ? html("h3", {}, "given") : null,
      given.length ? html("ul", { class: "members columns" }, given.slice(0, 24).map(line)) : null,
    ];
  }

  function keysList() {
    const keys = [["click", "numbers, statistics and rules of a card"], ["double-click", "open a scope; Escape returns"],
      ["← →", "one step back or forward"], ["space", "play or pause"], ["/", "search; Enter goes to the next hit"],
      ["f + −", "fit all, zoom in, zoom out"], ["Tab ↑ ↓", "move among the cards, Enter opens"]];
    return html("ul", { class: "keys" }, keys.map(([key, what]) =>
      html("li", {}, html("span", {}, html("kbd", {}, key)), html("span", {}, what))));
  }

  // steps in time --------------------------------------------------------------------------------------

  function go(step) {
    if (!data.steps.length) return;
    state.step = Math.min(Math.max(step, 0), last);
    state.shown = "step";
    state.node = null;
    update();
    const shown = data.steps[state.step];
    follow(onlyKnown([...activeAt(scene, shown), ...(shown.kind === "rule" ? [scene.gradientAt.get(shown.tensor)] : [])]));
  }

  function move(by) {
    stop();
    go(state.shown !== "step" && state.step === last && by > 0 ? 0 : state.step + by);
  }

  function toggle() {
    if (timer) {
      stop();
    } else if (data.steps.length) {
      if (state.step >= last) go(0);
      tick();
    }
    timeline();
  }

  function tick() {
    timer = setTimeout(() => {
      if (state.step >= last) {
        stop();
      } else {
        go(state.step + 1);
        tick();
      }
      timeline();
    }, Number(byId("speed").value));
  }

  function stop() {
    clearTimeout(timer);
    timer = 0;
    timeline();
  }

  function timeline() {
    byId("stepper").hidden = !data.steps.length;
    byId("play").textContent = timer ? "❚❚" : "▶";
    byId("play").setAttribute("aria-label", timer ? "Pause" : "Play");
    byId("time").max = last;
    byId("time").value = state.step;
    byId("told").replaceChildren(...toldStep());
  }

  const sideOf = (step) =>
    step.kind === "value" && data.tensors[step.tensor].level % 2 === 0 ? "forward" : "backward";

  function toldStep() {
    const step = data.steps[state.step];
    if (!step || !stepping()) return [`${data.steps.length} steps · space plays them`];
    const side = sideOf(step);
    const shape = shapeText(data.arrays[data.tensors[step.tensor].value].shape);
    const { name, badge, op } = data.tensors[step.tensor];
    return [`step ${state.step + 1} of ${data.steps.length} · `, html("b", { class: side }, side), ` ${op ? badge : name || badge} → ${shape}`];
  }

  // views ----------------------------------------------------------------------------------------------

  const drawable = (index) => Boolean(data.views[index] && data.views[index].cards);

  function show(index, least = READABLE) {
    if (!drawable(index) || index === state.view) return;
    const before = state.view >= 0 && selectedCard();
    state.view = index;
    scene = sceneOf(index);
    state.hover = null;
    if (before && before.kind === "scope") {
      state.node = null;
      state.shown = "overview";
    }
    draw();
    fit(least);
    update();
  }

  function levels() {
    const shown = data.views.map((view, i) => ({ view, i })).filter(({ view }) => view.kind !== "focus");
    byId("level").replaceChildren(...shown.map(({ view, i }) => html("option", { value: i, disabled: view.cards ? null : "" },
      `${view.label} (${view.count.toLocaleString("en")})${view.cards ? "" : ": too many to lay out"}`)));
  }

  let level = data.opening;
  function crumbs() {
    const view = data.views[state.view];
    const focused = view.kind === "focus";
    if (!focused) level = state.view;
    byId("level").value = String(level);
    const path = focused ? view.path : [];
    byId("crumbs").replaceChildren(...(focused ? [html("button", { onclick: () => show(level) }, "whole graph")] : []),
      ...path.flatMap(([name, opens], i) => ["›", i === path.length - 1 ? html("strong", {}, name)
        : html("button", { onclick: () => show(opens), disabled: drawable(opens) ? null : "" }, name)]));
  }

  function up() {
    const view = data.views[state.view];
    if (view.kind !== "focus") return false;
    const parents = view.path.slice(0, -1).map((scope) => scope[1]).filter(drawable);
    show(parents.length ? parents.at(-1) : level);
    return true;
  }

  function escape() {
    if (state.query || document.activeElement === byId("search")) {
      byId("search").value = "";
      byId("search").blur();
      search("");
    } else if (state.node || state.shown === "step") {
      state.step = last;
      select(null);
    } else {
      up();
    }
  }

  function update() {
    paint();
    panel();
    timeline();
    crumbs();
    byId("hits").textContent = state.query ? countedHits() : "";
    remember();
  }

  function countedHits() {
    const count = hits().length;
    return state.hit >= 0 ? `${state.hit + 1} of ${count}` : `${count} hit${count === 1 ? "" : "s"}`;
  }

  // the address ----------------------------------------------------------------------------------------

  let remembering = 0;
  function remember() {
    clearTimeout(remembering);
    remembering = setTimeout(address, 100);
  }

  function address() {
    const parts = [`view=${state.view}`];
    if (stepping()) parts.push(`step=${state.step + 1}`);
    if (state.node) parts.push(`node=${state.node}`);
    guarded(() => history.replaceState(null, "", `#${parts.join("&")}`));
  }

  /** Do what a sandboxed frame may forbid. */
  function guarded(action) {
    try {
      return action();
    } catch {
      return null;
    }
  }

  function restore() {
    const wanted = new URLSearchParams(location.hash.slice(1));
    const view = Number(wanted.get("view") ?? data.opening);
    show(drawable(view) ? view : data.opening);
    if (/^[ngs]\d+$/.test(wanted.get("node") || "")) {
      state.node = wanted.get("node");
      state.shown = "card";
    }
    const step = Number(wanted.get("step"));
    if (Number.isInteger(step) && step > 0 && data.steps.length) go(step - 1);
    else update();
  }

  // light and dark ---------------------------------------------------------------------------------------

  function theme(chosen) {
    document.documentElement.style.colorScheme = chosen || "";
    guarded(() => localStorage.setItem("tinygrad_bn.theme", chosen));
  }

  function otherTheme() {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const now = document.documentElement.style.colorScheme || (dark ? "dark" : "light");
    theme(now === "dark" ? "light" : "dark");
  }

  function legend() {
    const swatch = (name, style) => html("span", {}, svg("svg", { width: 22, height: 12 }, style), name);
    const line = (kind) => svg("path", { class: `edge ${kind}`, d: "M0 6H20", style: "opacity:1" });
    const box = (kind, side = "forward") => svg("g", { class: `card ${kind} ${side}` }, svg("rect", { class: "body", width: 20, height: 12 }));
    const any = (test) => data.faces.some(test);
    const backward = any((face) => face.level % 2 === 1);
    byId("legend").replaceChildren(...[
      swatch("forward", line("forward")),
      backward ? swatch("gradient ∂", line("backward")) : null,
      data.views.some((view) => view.saved?.length) ? swatch("value read by a rule", line("saved")) : null,
      any((face) => face.kind === "parameter") ? swatch("needs a gradient", box("parameter")) : null,
      any((face) => face.kind === "input") ? swatch("input", box("input")) : null,
      swatch("negative", svg("rect", { width: 20, height: 12, style: "fill:var(--cold)" })),
      swatch("positive", svg("rect", { width: 20, height: 12, style: "fill:var(--hot)" })),
    ].filter(Boolean));
  }

  // what the user does -----------------------------------------------------------------------------------

  const cardUnder = (event) => {
    const element = event.target.closest(".card[data-number]");
    return element && scene.cards[Number(element.dataset.number)];
  };

  function rove(number, focus = true) {
    scene.elements.forEach((element, i) => element.setAttribute("tabindex", i === number ? 0 : -1));
    scene.roving = number;
    if (focus && scene.elements[number]) {
      scene.elements[number].focus({ preventScroll: true });
      follow([number]);
    }
  }

  /** Show in the panel what the pointer rests on, while nothing is selected. */
  function hover(card) {
    if (state.hover === card) return;
    state.hover = card;
    if (state.shown === "overview" && !pointers.size) panel();
  }

  function pressCard(card, event) {
    if (event.key === "Enter") {
      if (selectedCard() === card && card.opens >= 0) show(card.opens);
      else select(card);
    } else {
      const by = event.key === "ArrowDown" ? 1 : -1;
      rove((card.number + by + scene.cards.length) % scene.cards.length);
    }
    event.preventDefault();
  }

  const KEYS = {
    ArrowLeft: () => move(-1), ArrowRight: () => move(1), " ": toggle, f: () => fit(), "+": () => zoom(1.25), "=": () => zoom(1.25),
    "-": () => zoom(0.8), "/": () => byId("search").focus(), Escape: escape,
  };

  function press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.matches("input[type=search], select");
    if (typing && event.key === "Enter" && event.target.id === "search") nextHit();
    if (typing && event.key !== "Escape") return;
    const card = event.target.closest?.(".card[data-number]") && cardUnder(event);
    if (card && ["Enter", "ArrowDown", "ArrowUp"].includes(event.key)) pressCard(card, event);
    else if (KEYS[event.key] && !(event.key === " " && event.target.matches("button, input"))) {
      event.preventDefault();
      KEYS[event.key]();
    }
  }

  const pointers = new Map();
  let travelled = 0;

  function hold(event) {
    if (event.button > 0) return;
    pointers.set(event.pointerId, { clientX: event.clientX, clientY: event.clientY });
    if (pointers.size === 1) travelled = 0;
  }

  function drag(event) {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    if (event.buttons === 0) {
      release(event);
      return;
    }
    const [dx, dy] = [event.clientX - before.clientX, event.clientY - before.clientY];
    const spread = pinchOf();
    Object.assign(before, { clientX: event.clientX, clientY: event.clientY });
    travelled += Math.hypot(dx, dy);
    if (travelled < 4) return;
    byId("canvas").classList.add("held");
    camera.x += dx / pointers.size;
    camera.y += dy / pointers.size;
    if (spread) pinch(spread);
    place();
  }

  function pinchOf() {
    if (pointers.size !== 2) return 0;
    const [a, b] = [...pointers.values()];
    return Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
  }

  function pinch(spread) {
    const [a, b] = [...pointers.values()];
    const { left, top } = room();
    zoom(pinchOf() / spread, (a.clientX + b.clientX) / 2 - left, (a.clientY + b.clientY) / 2 - top);
  }

  function release(event) {
    pointers.delete(event.pointerId);
    byId("canvas").classList.remove("held");
  }

  function listen() {
    const canvas = byId("canvas");
    canvas.addEventListener("pointerdown", hold);
    addEventListener("pointermove", drag);
    addEventListener("pointerup", release);
    addEventListener("pointercancel", release);
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      const { left, top } = room();
      const fine = event.deltaMode ? 0.05 : 0.0016;
      zoom(Math.exp(-event.deltaY * (event.ctrlKey ? 6 * fine : fine)), event.clientX - left, event.clientY - top);
    }, { passive: false });
    canvas.addEventListener("click", (event) => {
      if (travelled < 4) select(cardUnder(event));
    });
    let hovering = 0;
    canvas.addEventListener("pointerover", (event) => {
      clearTimeout(hovering);
      hovering = setTimeout(() => hover(cardUnder(event)), 140);
    });
    canvas.addEventListener("dblclick", (event) => {
      const card = cardUnder(event);
      if (card && card.opens >= 0) show(card.opens);
    });
    listenToControls();
  }

  function listenToControls() {
    const on = (id, event, action) => byId(id).addEventListener(event, action);
    document.addEventListener("keydown", press);
    on("level", "change", (event) => show(Number(event.target.value)));
    on("saved", "change", (event) => { state.saved = event.target.checked; paint(); });
    on("search", "input", (event) => search(event.target.value));
    on("theme", "click", otherTheme);
    on("back", "click", () => move(-1));
    on("forth", "click", () => move(1));
    on("play", "click", toggle);
    on("time", "input", (event) => { stop(); go(Number(event.target.value)); });
    on("zoom", "click", (event) => ({ in: () => zoom(1.25), out: () => zoom(0.8), fit: () => fit() })[event.target.dataset.zoom]?.());
    addEventListener("hashchange", restore);
  }

  levels();
  legend();
  guarded(() => { document.documentElement.style.colorScheme = localStorage.getItem("tinygrad_bn.theme") || ""; });
  listen();
  restore();
})();
