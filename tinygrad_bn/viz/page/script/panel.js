// The panel at the side: a card, a step, or the whole.

function panel() {
  const preview = state.shown === "overview" ? state.hover : null;
  const card = preview || selectedCard();
  const content =
    state.shown === "step" && data.steps.length
      ? stepPanel(data.steps[state.step])
      : card
        ? cardPanel(card)
        : overview();
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
  const name = card.image ? gradientText(card.tensor) : label(card.tensor);
  const value = [html("h3", {}, "value"), block("", tensor.value, true)];
  const gradient = gradientPanel(card.tensor);
  return [
    html("h2", {}, name),
    whereabouts(tensor, [tensor.op || tensor.kind], " "),
    tensor.doc ? html("p", {}, tensor.doc) : null,
    ...(card.image ? [...gradient, ...value] : [...value, ...gradient]),
    ...operandsPanel(tensor),
    ...rulesPanel(tensor),
    ...sourcePanel(tensor),
  ];
}

const gradientText = (number) => html("span", { class: "grad-text" }, gradientOf(number));

function whereabouts(tensor, words, between) {
  const scopes = [...tensor.scope].reverse().map((scope) => `in ${scope}`);
  return html("div", { class: "path" }, [...words, ...scopes].join(between));
}

function gradientPanel(number) {
  const { gradient } = data.tensors[number];
  if (gradient === undefined) return [];
  const title = html("h3", { class: "grad" }, "gradient");
  return [title, block("∂", gradient, true, "grad"), ...contributionsPanel(number)];
}

function operandsPanel(tensor) {
  if (!tensor.operands || !tensor.operands.length) return [];
  const lines = tensor.operands.map((operand) => html("li", {}, operandText(operand)));
  return [html("h3", {}, "operands"), html("ul", { class: "members" }, lines)];
}

/** Say what an operand is: its letter in the picture, its name in the rule, and what it is. */
function operandText(operand) {
  const inRule = operand.as && html("span", {}, html("code", {}, operand.as), " in the rule");
  const names = [operand.role, inRule].filter(Boolean);
  const called = names.flatMap((name, i) => (i ? [", ", name] : [name]));
  return html("span", {}, called, called.length ? ": " : "", whatIs(operand));
}

function whatIs(operand) {
  if (operand.text !== undefined) return operand.text;
  return operand.tensor === undefined
    ? shapeText(data.arrays[operand.array].shape)
    : tensorLink(operand.tensor);
}

function rulesPanel(tensor) {
  if (!tensor.rules || !tensor.rules.length) return [];
  const rules = tensor.rules.map(([i, rule]) =>
    html(
      "div",
      {},
      html("div", {}, "to ", operandText(tensor.operands[i])),
      html("pre", {}, data.rules[rule]),
    ),
  );
  const known = [
    "of the result its gradient is ",
    html("code", {}, "g"),
    ", its value ",
    html("code", {}, "out"),
  ];
  return [html("h3", {}, "derivative rules"), html("p", { class: "quiet" }, known), ...rules];
}

function contributionsPanel(tensor) {
  const parts = partsTo(tensor);
  if (parts.length < 2) return [];
  const lines = parts.map(([i, part, step]) =>
    html(
      "li",
      {},
      stepLink(i),
      ` back through ${label(step.tensor)}: contribution ${part.nth} of ${part.of}`,
    ),
  );
  return [
    html("p", {}, `The sum of ${parts.length} contributions:`),
    html("ul", { class: "members" }, lines),
  ];
}

const stepLink = (i) =>
  html("button", { class: "link", onclick: () => go(i) }, `step ${i + 1}`);

function sourcePanel(tensor) {
  if (!tensor.where) return [];
  const [file, line, text] = tensor.where;
  return [
    html("h3", {}, "recorded at", html("span", { class: "shape" }, `${file}:${line}`)),
    text ? html("pre", {}, text) : null,
  ];
}

function scopePanel(card) {
  const lines = card.members
    .filter((n) => data.tensors[n].op)
    .map((n) =>
      html(
        "li",
        {},
        html("b", {}, data.tensors[n].badge),
        ` ${data.tensors[n].name || data.tensors[n].op} `,
        html("span", { class: "shape" }, shapeText(data.arrays[data.tensors[n].value].shape)),
      ),
    );
  const open = html("button", { onclick: () => show(card.opens) }, "open this scope");
  return [
    html("h2", {}, card.name),
    html("p", { class: "quiet" }, `collapsed scope · ${card.note || card.shape}`),
    card.opens >= 0 ? open : null,
    html("h3", {}, "operations"),
    html("ul", { class: "members" }, lines),
  ];
}

function overview() {
  const forward = data.steps.filter((step) => sideOf(step) === "forward").length;
  const backward = data.steps.length - forward;
  return [
    html("h2", {}, scene.view.path ? scene.view.path.at(-1)[0] : data.title),
    html("p", {}, explained(backward)),
    data.steps.length ? starting(forward, backward) : null,
    alarming(),
    ...inputsAndResults(),
    html("h3", {}, "ways around"),
    keysList(),
  ];
}

function starting(forward, backward) {
  const start = () => {
    stop();
    go(0);
  };
  const counts = `  ${forward} forward${backward ? `, ${backward} backward` : ""}`;
  const button = html("button", { onclick: start }, "▶ step through from the start");
  return html("p", {}, button, html("span", { class: "quiet" }, counts));
}

function alarming() {
  const alarms = scene.cards.filter((card) => card.alarm).slice(0, 8);
  const links = alarms.flatMap((card) => [
    html("button", { class: "link alarm", onclick: () => select(card) }, card.name || card.badge),
    " ",
  ]);
  return links.length ? html("p", { class: "alarm" }, "NaN or infinite: ", links) : null;
}

function explained(backward) {
  if (scene.cards.some((card) => card.image)) {
    return "Blue arrows are the forward computation. Beside each value stands its gradient ∂: red arrows lead back from one to the next, a derivative rule along each.";
  }
  if (scene.cards.some((card) => card.level % 2)) {
    return "Every operation as it was recorded: the forward computation flows down, in red the operations of the gradient flow back up.";
  }
  return backward
    ? "The forward computation; the steps show its gradient too."
    : "The forward computation, as it was recorded. A result of one element would have its gradient beside it.";
}

function inputsAndResults() {
  const named = data.tensors.flatMap((tensor, i) =>
    tensor.name && born.has(i) && GIVEN.includes(tensor.kind) ? [i] : [],
  );
  const several = data.results.length > 1;
  return [
    data.results.length ? html("h3", {}, several ? "results" : "result") : null,
    ...data.results
      .slice(0, 4)
      .map((number) => block(tensorLink(number), data.tensors[number].value)),
    named.length ? html("h3", {}, "given") : null,
    named.length
      ? html("ul", { class: "members columns" }, named.slice(0, 24).map(givenLine))
      : null,
  ];
}

function givenLine(number) {
  const shape = shapeText(data.arrays[data.tensors[number].value].shape);
  return html("li", {}, tensorLink(number), " ", html("span", { class: "shape" }, shape));
}

function keysList() {
  const keys = [
    ["click", "numbers, statistics and rules of a card"],
    ["double-click", "open a scope; Escape returns"],
    ["← →", "one step back or forward"],
    ["shift ← →", "on to the next card, past the steps inside a scope"],
    ["space", "play or pause"],
    ["/", "search; Enter goes to the next hit"],
    ["f + −", "fit all, zoom in, zoom out"],
    ["Tab ↑ ↓", "move among the cards, Enter opens"],
  ];
  return html(
    "ul",
    { class: "keys" },
    keys.map(([key, what]) =>
      html("li", {}, html("span", {}, html("kbd", {}, key)), html("span", {}, what)),
    ),
  );
}
