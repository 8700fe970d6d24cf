// Which view is shown, the address that says so, light and dark, the legend.

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
  const shown = data.views
    .map((view, i) => ({ view, i }))
    .filter(({ view }) => view.kind !== "focus");
  byId("level").replaceChildren(
    ...shown.map(({ view, i }) =>
      html(
        "option",
        { value: i, disabled: view.cards ? null : "" },
        `${view.label} (${view.count.toLocaleString("en")})${view.cards ? "" : ": too many to lay out"}`,
      ),
    ),
  );
}

let level = data.opening;
function crumbs() {
  const view = data.views[state.view];
  const focused = view.kind === "focus";
  if (!focused) level = state.view;
  byId("level").value = String(level);
  const path = focused ? view.path : [];
  byId("crumbs").replaceChildren(
    ...(focused ? [html("button", { onclick: () => show(level) }, "whole graph")] : []),
    ...path.flatMap(([name, opens], i) => [
      "›",
      i === path.length - 1
        ? html("strong", {}, name)
        : html(
            "button",
            { onclick: () => show(opens), disabled: drawable(opens) ? null : "" },
            name,
          ),
    ]),
  );
}

function up() {
  const view = data.views[state.view];
  if (view.kind !== "focus") return false;
  const parents = view.path
    .slice(0, -1)
    .map((scope) => scope[1])
    .filter(drawable);
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
  sayElsewhere();
  remember();
}

function countedHits() {
  const count = hits().length;
  return state.hit >= 0 ? `${state.hit + 1} of ${count}` : hitCount(count);
}

// the address -------------------------------------------------------------------

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

// light and dark ----------------------------------------------------------------

function theme(chosen) {
  document.documentElement.style.colorScheme = chosen || "";
  guarded(() => localStorage.setItem("tinygrad_bn.theme", chosen));
}

function otherTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const now = document.documentElement.style.colorScheme || (dark ? "dark" : "light");
  theme(now === "dark" ? "light" : "dark");
}

const swatch = (name, ...drawn) =>
  html("span", {}, svg("svg", { width: 22, height: 12 }, drawn), name);

function legend() {
  const line = (kind) => svg("path", { class: `edge ${kind}`, d: "M0 6H20", style: "opacity:1" });
  const box = (kind) =>
    svg("g", { class: `card ${kind}` }, svg("rect", { class: "body", width: 20, height: 12 }));
  const any = (test) => data.faces.some(test);
  const signs = [
    [true, "forward", line("forward")],
    [any((face) => face.level % 2 === 1), "gradient ∂", line("backward")],
    [data.views.some((view) => view.saved?.length), "value read by a rule", line("saved")],
    [any((face) => face.kind === "parameter"), "needs a gradient", box("parameter")],
    [any((face) => face.kind === "input"), "input", box("input")],
  ];
  const shown = signs.filter(([there]) => there).map(([, name, drawn]) => swatch(name, drawn));
  byId("legend").replaceChildren(...shown, heatLegend());
}

function heatLegend() {
  const half = (x, colour) =>
    svg("rect", { x, width: 10, height: 12, style: `fill:var(${colour})` });
  return swatch("negative, positive", half(0, "--cold"), half(10, "--hot"));
}
