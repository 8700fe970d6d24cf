// The panel of a step: what goes in, what comes out, and by which rule.

function stepPanel(step) {
  return step.kind === "value"
    ? valuePanel(step)
    : step.kind === "seed"
      ? seedPanel(step)
      : rulePanel(step);
}

const GIVING = {
  constant: "no gradient passes through it",
  input: "given",
  parameter: "given; the gradient is wanted for it",
  seed: "where a gradient begins",
};

function valuePanel(step) {
  const tensor = data.tensors[step.tensor];
  return tensor.operands
    ? operationPanel(step, tensor)
    : [
        html("h2", {}, label(step.tensor)),
        html("p", { class: "quiet" }, `${tensor.kind}: ${GIVING[tensor.kind]}`),
        block("value", tensor.value, true),
      ];
}

function operationPanel(step, tensor) {
  return [
    html("h2", {}, `${tensor.badge}${tensor.name ? ` → ${tensor.name}` : ""}`),
    whereabouts(tensor, [sideOf(step), tensor.op], " · "),
    tensor.doc ? html("p", {}, tensor.doc) : null,
    html("h3", {}, "operands"),
    ...tensor.operands.map(given),
    html("h3", {}, "result"),
    block(html("b", {}, label(step.tensor)), tensor.value),
  ];
}

/** Show an operand with its numbers. */
function given(operand) {
  const name = operandText(operand);
  return operand.text === undefined
    ? block(name, operand.array)
    : html("div", { class: "block" }, html("div", { class: "title" }, name));
}

function seedPanel(step) {
  return [
    html("h2", {}, gradientText(step.tensor)),
    html(
      "p",
      {},
      "The backward sweep begins: the derivative of the result with respect to itself is 1. " +
        "From here every operation, the last first, passes its gradient on to its operands.",
    ),
    block("gradient", data.tensors[step.tensor].gradient),
  ];
}

function rulePanel(step) {
  const tensor = data.tensors[step.tensor];
  const reads = new Map(step.parts.flatMap((part) => part.reads).map((read) => [read.as, read]));
  return [
    html(
      "h2",
      {},
      html("span", { class: "grad-text" }, `back through ${tensor.badge}`),
      tensor.name ? ` (${tensor.name})` : "",
    ),
    whereabouts(tensor, ["backward", tensor.op], " · "),
    html("h3", { class: "grad" }, "gradient that arrives"),
    block(
      html("span", {}, html("code", {}, "g"), " in the rule: ", gradientText(step.tensor)),
      step.g,
    ),
    originPanel(step.tensor),
    reads.size ? html("h3", {}, "values that the rule reads") : null,
    ...[...reads.values()].map((read) => given(read)),
    html("h3", { class: "grad" }, step.parts.length > 1 ? "rules, one for each operand" : "rule"),
    ...step.parts.map((part) => partPanel(part, tensor)),
  ];
}

/** Say which rules passed on the gradient that arrives. */
function originPanel(tensor) {
  const from = partsTo(tensor).flatMap(([i, , step], nth) => [
    nth ? ", " : "",
    stepLink(i),
    ` (back through ${label(step.tensor)})`,
  ]);
  const origin = from.length ? ["passed on by ", from] : ["where the backward sweep begins"];
  return html("p", { class: "quiet" }, origin.flat());
}

function partPanel(part, tensor) {
  const summed = part.summed && `then summed over what was broadcast, ${part.summed}`;
  return html(
    "div",
    { class: "part" },
    html("div", {}, "to ", operandText(tensor.operands[part.operand])),
    html("pre", {}, data.rules[part.rule]),
    summed ? html("p", { class: "quiet" }, summed) : null,
    block(part.of > 1 ? "contribution" : gradientOf(part.tensor), part.piece),
    part.of > 1 ? sumPanel(part) : null,
  );
}

/** Show the sum of the contributions so far; after the first it is that one. */
function sumPanel(part) {
  const sum = part.nth === part.of ? "the sum is complete:" : "the sum so far:";
  return html(
    "div",
    {},
    `contribution ${part.nth} of ${part.of} to ${theGradientOf(part.tensor)}; `,
    html("b", {}, part.nth === 1 ? "the sum so far is this one." : sum),
    part.nth === 1 ? [] : block("sum", part.total),
  );
}
