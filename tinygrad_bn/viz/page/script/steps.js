// Steps in time.

function go(step) {
  if (!data.steps.length) return;
  state.step = Math.min(Math.max(step, 0), last);
  state.shown = "step";
  state.node = null;
  update();
  const shown = data.steps[state.step];
  follow(
    onlyKnown([
      ...activeAt(scene, shown),
      ...(shown.kind === "rule" ? [scene.gradientAt.get(shown.tensor)] : []),
    ]),
  );
}

function move(by) {
  stop();
  go(state.shown !== "step" && state.step === last && by > 0 ? 0 : state.step + by);
}

/** Go on to the step at which another card is at work. */
function leap(by) {
  const at = (step) => activeAt(scene, data.steps[step]).join(" ");
  let step = state.step;
  if (state.shown === "step" || step < last) {
    const before = at(step);
    while (step + by >= 0 && step + by <= last && at(step) === before) step += by;
  }
  move(step - state.step || by);
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
  timer = setTimeout(
    () => {
      if (state.step >= last) {
        stop();
      } else {
        go(state.step + 1);
        tick();
      }
      timeline();
    },
    Number(byId("speed").value),
  );
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
  const tensor = data.tensors[step.tensor];
  return [
    `step ${state.step + 1} of ${data.steps.length} · `,
    html("b", { class: side }, side),
    ` ${tensor.op ? tensor.badge : label(step.tensor)} → ${shape}`,
    insideOf(step),
  ];
}

/** Say of a collapsed scope at work how far it has come. */
function insideOf(step) {
  const card = scene.cards[activeAt(scene, step)[0]];
  if (!card || card.kind !== "scope") return "";
  const steps = scene.activity[card.number];
  return ` · step ${steps.indexOf(state.step) + 1} of ${steps.length} inside ${card.name}`;
}
