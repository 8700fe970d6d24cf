// One view, drawn: cards, frames, edges, and when something happens to each card.

function sceneOf(index) {
  const view = data.views[index];
  const cards = view.cards.map(([face, x, y], i) => ({
    ...data.faces[face],
    face,
    number: i,
    x,
    y,
    width: view.card,
    stub: (view.stubs || []).includes(i),
  }));
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
  if (step.kind === "seed")
    return found.cards.filter((c) => c.kind === "seed").map((c) => c.number);
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
  return svg(
    "g",
    { class: `frame ${side} depth-${Math.min(depth, 3)}`, ondblclick: () => show(opens) },
    svg("rect", { x, y, width, height }),
  );
}

function drawTitle([face, x, y, width]) {
  const { name, level, opens } = data.faces[face];
  return svg(
    "text",
    {
      class: `title ${level % 2 ? "backward" : "forward"}`,
      x: x + 11,
      y: y + 16,
      ondblclick: () => show(opens),
    },
    cut(name, width - 16, `600 12px ${SANS}`),
  );
}

function drawCard(card) {
  const side = card.level % 2 ? "backward" : "forward";
  const classes = ["card", card.kind, side, card.stub ? "stub" : "", card.result ? "result" : ""];
  const group = svg(
    "g",
    {
      class: classes.filter(Boolean).join(" "),
      transform: `translate(${card.x} ${card.y})`,
      style: `--family:var(--${card.family})`,
      role: "button",
      tabindex: -1,
      "aria-label": spokenCard(card),
      "data-number": card.number,
    },
    svg("rect", { class: "body", width: card.width, height: HEIGHT }),
    badge(card),
  );
  group.append(...cardText(card), pictureOf(card) || "");
  return group;
}

function spokenCard(card) {
  const op = data.tensors[card.tensor]?.op;
  const title = card.kind === "scope" ? `${card.name}, collapsed scope` : card.name || card.badge;
  const parts = [
    title,
    op && op !== title ? op.replaceAll("_", " ") : null,
    card.shape && spoken(card.shape),
    card.note,
    card.value,
  ];
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
  return svg(
    "g",
    {},
    svg("rect", { class: "badge", x: 5, y: 5, width, height: HEIGHT - 10 }),
    svg(
      "text",
      { class: font.includes("11.5") ? "symbol long" : "symbol", x: 5 + width / 2, y: 26.5 },
      text,
    ),
  );
}

/** Write name, shape and note in the first line of a card, its value in the second. */
function cardText(card) {
  const left = badgeWidth(card) + 13;
  const width = card.width - left - (hasPicture(card) ? THUMBNAIL + 12 : 8);
  const line = (card.kind === "scope" && card.note) || card.value || "";
  const base = line ? 19 : 27;
  return [
    ...headText(card, left, width, base),
    svg(
      "text",
      { class: `summary ${card.alarm ? "alarm" : ""}`, x: left, y: 35 },
      cut(`${card.alarm ? "⚠ " : ""}${line}`, width, `11.5px ${SANS}`),
    ),
  ];
}

function headText(card, left, width, base) {
  const mono = `11.5px ${MONO}`;
  const font = `${card.name ? "700 " : ""}14px ${SANS}`;
  const size = [card.shape, card.kind === "scope" ? "" : card.note].filter(Boolean).join(" · ");
  const title = cut(
    card.name || card.title || "",
    Math.max(width - measured(size, mono) - 7, 24),
    font,
  );
  const start = title ? measured(title, font) + 7 : 0;
  return [
    svg("text", { class: card.name ? "name own" : "name", x: left, y: base }, title),
    svg("text", { class: "size", x: left + start, y: base - 0.5 }, cut(size, width - start, mono)),
  ];
}

function arrayOf(card, step = last) {
  const number = card.tensor ?? card.shows;
  if (number === undefined) return -1;
  const tensor = data.tensors[number];
  if (!card.image) return tensor.value;
  const sum = partsTo(number)
    .filter(([i]) => i <= step)
    .at(-1);
  return sum ? sum[1].total : tensor.gradient;
}

const contributions = new Map();
/** List the contributions to the gradient of a tensor, each with its step. */
function partsTo(tensor) {
  if (!contributions.size) {
    data.steps.forEach((step, i) =>
      (step.parts || []).forEach((part) => {
        contributions.set(part.tensor, [
          ...(contributions.get(part.tensor) || []),
          [i, part, step],
        ]);
      }),
    );
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

/** Add up the ways from point to point, as which a path is written. */
function pointsOf(lengths) {
  let [x, y] = [0, 0];
  const points = [];
  for (let i = 0; i < lengths.length; i += 2) {
    x += lengths[i];
    y += lengths[i + 1];
    points.push([x, y]);
  }
  return points;
}

function pathText(points) {
  const [start, ...rest] = points.map((point) => point.join(" "));
  return `M${start}C${rest.join(" ")}`;
}

function flowEdge([from, to, mark, lengths]) {
  const backward = scene.cards[to].level % 2 === 1;
  const points = pointsOf(lengths);
  const path = svg("path", {
    class: `edge ${backward ? "backward" : "forward"}`,
    d: pathText(points),
  });
  const elements = mark ? [path, markText(mark, points, backward)] : [path];
  return { from, to, elements };
}

function markText(mark, points, backward) {
  const [[ax, ay], [bx, by]] = backward ? points : [points.at(-1), points.at(-2)];
  const far = Math.hypot(bx - ax, by - ay) || 1;
  const along = Math.min(15, far) / far;
  return svg(
    "text",
    { class: "mark", x: ax + (bx - ax) * along + 5, y: ay + (by - ay) * along + 3 },
    mark,
  );
}

/** Draw where a saved value is read: a quiet line from the side of one card to the other. */
function savedEdge([from, to]) {
  const [a, b] = [scene.cards[from], scene.cards[to]];
  const across = b.x > a.x + a.width;
  const start = [
    across ? a.x + a.width : a.x + a.width / 2,
    across ? a.y + HEIGHT / 2 : a.y + HEIGHT,
  ];
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
