// What a step, the selection and the search light up.

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
    rule: stepping() && step?.kind === "rule" ? scene.gradientAt.get(step.tensor) : undefined,
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
  return onlyKnown([scene.gradientAt.get(step.tensor), ...reads]);
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
  const mirrored = edge.saved && lit.rule !== undefined;
  const into = mirrored ? edge.to === lit.rule : lit.now.has(edge.to);
  const flows = into && (lit.read.has(edge.from) || lit.now.has(edge.from));
  const touched = edge.from === lit.selected || edge.to === lit.selected;
  for (const element of edge.elements) {
    element.classList.toggle("future", future);
    element.classList.toggle("lit", flows || (touched && !stepping()));
    element.classList.toggle("dim", Boolean(lit.hits || (lit.near && !touched)));
  }
}

// selection and search ----------------------------------------------------------

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

const hits = () => hitsIn(scene.cards).map((card) => card.number);

function hitsIn(cards) {
  const words = state.query.toLowerCase();
  return cards.filter((card) => searchText(card).includes(words));
}

/** Say, where a scope is alone, what is found outside of it. */
function sayElsewhere() {
  const button = byId("elsewhere");
  button.hidden = !state.query || scene.view.kind !== "focus";
  if (button.hidden) return;
  const count = hitsIn(data.views[level].cards.map(([face]) => data.faces[face])).length;
  button.textContent = `${hitCount(count)} in the whole graph`;
  button.hidden = count === 0;
}

function searchEverywhere() {
  show(level);
  state.hit = -1;
  nextHit();
}

const hitCount = (count) => `${count} hit${count === 1 ? "" : "s"}`;

function searchText(card) {
  const tensors = (card.members || [card.tensor]).map((n) => data.tensors[n]).filter(Boolean);
  const texts = tensors.flatMap((t) => [t.name, t.op, ...t.scope]);
  return [card.name, card.badge, card.title, ...texts]
    .filter(Boolean)
    .join(" ")
    .toLowerCase();
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
