// The panel of a step: what goes in, what comes out, and by which rule.

const GIVEN_AS = {
  parameter: "given; the gradient is wanted for it",
  input: "given",
  constant: "given, or computed where no gradient passes",
};

function stepPanel(step) {
  return step.kind === "value"
    ? valuePanel(step)
    : step.kind === "seed"
      ? seedPanel(step)
      : rulePanel(step);
}

function valuePanel(step) {
  const tensor = data.tensors[step.tensor];
  return tensor.operands
    ? operationPanel(step, tensor)
    : [
        html("h2", {}, label(step.tensor)),
        html("p", { class: "quiet" }, `${tensor.kind}: ${GIVEN_AS[tensor.kind] || "given"}`),
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

/** Show an operand under the name that its rule gives it. */
function given(operand) {
  const name = operandName(operand);
  if (operand.text !== undefined) {
    return html(
      "div",
      { class: "block" },
      html("div", { class: "title" }, name, `= ${operand.text}`),
    );
  }
  const link = operand.tensor === undefined ? [] : [" = ", tensorLink(operand.tensor)];
  return block(html("span", {}, name, link), operand.array);
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
    html(
      "div",
      { class: "path" },
      [
        "backward",
        tensor.op,
        ...tensor.scope
          .slice()
          .reverse()
          .map((s) => `in ${s}`),
      ].join(" · "),
    ),
    html("h3", { class: "grad" }, "gradient that arrives"),
    block(
      html("span", {}, html("code", {}, "g"), ` = ${gradientOf(step.tensor)}, of the result`),
      step.g,
    ),
    reads.size ? html("h3", {}, "values that the rule reads") : null,
    ...[...reads.values()].map((read) => given(read)),
    html("h3", { class: "grad" }, step.parts.length > 1 ? "rules, one for each operand" : "rule"),
    ...step.parts.map((part) => partPanel(part, tensor)),
  ];
}

function partPanel(part, tensor) {
  const operand = tensor.operands[part.operand];
  const code = ruleText(part.rule);
  const summed = part.summed && `then summed over what was broadcast, ${part.summed}`;
  return html(
    "div",
    { class: "part" },
    html("div", {}, "to ", operandName(operand), " = ", tensorLink(part.tensor)),
    html("pre", { title: data.rules[part.rule] }, code),
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
    `contribution ${part.nth} of ${part.of} to ${gradientOf(part.tensor)}; `,
    html("b", {}, part.nth === 1 ? "the sum so far is this one." : sum),
    part.nth === 1 ? [] : block("sum", part.total),
  );
}
