// What the user does.

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
  ArrowLeft: (event) => (event.shiftKey ? leap(-1) : move(-1)),
  ArrowRight: (event) => (event.shiftKey ? leap(1) : move(1)),
  " ": toggle,
  f: () => fit(),
  "+": () => zoom(1.25),
  "=": () => zoom(1.25),
  "-": () => zoom(0.8),
  "/": () => byId("search").focus(),
  Escape: escape,
};

const isCardKey = (key) => ["Enter", "ArrowDown", "ArrowUp"].includes(key);
const isOwnKey = (event) => event.key === " " && event.target.matches("button, input");

function press(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || !(event.target instanceof Element)) return;
  if (event.target.matches("input[type=search], select") && event.key !== "Escape") {
    if (event.key === "Enter" && event.target.id === "search") nextHit();
    return;
  }
  const card = cardUnder(event);
  if (card && isCardKey(event.key)) {
    pressCard(card, event);
  } else if (KEYS[event.key] && !isOwnKey(event)) {
    event.preventDefault();
    KEYS[event.key](event);
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
  fitted = null;
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
  let hovering = 0;
  canvas.addEventListener("pointerdown", hold);
  canvas.addEventListener("click", (event) => travelled < 4 && select(cardUnder(event)));
  canvas.addEventListener("dblclick", (event) => show(cardUnder(event)?.opens));
  canvas.addEventListener("pointerover", (event) => {
    clearTimeout(hovering);
    hovering = setTimeout(() => hover(cardUnder(event)), 140);
  });
  canvas.addEventListener("wheel", roll, { passive: false });
  addEventListener("pointermove", drag);
  addEventListener("pointerup", release);
  addEventListener("pointercancel", release);
  listenToControls();
}

function roll(event) {
  event.preventDefault();
  const { left, top } = room();
  const fine = (event.deltaMode ? 0.05 : 0.0016) * (event.ctrlKey ? 6 : 1);
  zoom(Math.exp(-event.deltaY * fine), event.clientX - left, event.clientY - top);
}

function listenToControls() {
  const on = (id, event, action) => byId(id).addEventListener(event, action);
  document.addEventListener("keydown", press);
  on("level", "change", (event) => show(Number(event.target.value)));
  on("more", "click", () => fit());
  on("elsewhere", "click", searchEverywhere);
  on("saved", "change", (event) => {
    state.saved = event.target.checked;
    paint();
  });
  on("search", "input", (event) => search(event.target.value));
  on("theme", "click", otherTheme);
  on("back", "click", () => move(-1));
  on("forth", "click", () => move(1));
  on("play", "click", toggle);
  on("time", "input", (event) => {
    stop();
    go(Number(event.target.value));
  });
  on("zoom", "click", (event) =>
    ({ in: () => zoom(1.25), out: () => zoom(0.8), fit: () => fit() })[
      event.target.dataset.zoom
    ]?.(),
  );
  addEventListener("hashchange", restore);
  new ResizeObserver(refit).observe(byId("stage"));
}

levels();
legend();
guarded(() => {
  document.documentElement.style.colorScheme = localStorage.getItem("tinygrad_bn.theme") || "";
});
listen();
restore();
