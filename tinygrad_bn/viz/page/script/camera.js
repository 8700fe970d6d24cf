// What part of a view is seen, and how large.

function place() {
  byId("world").setAttribute("transform", `translate(${camera.x} ${camera.y}) scale(${camera.k})`);
  sayMore();
}

/** Say in which directions there is more to see. */
function sayMore() {
  const { width, height } = room();
  const [w, h] = scene.view.size;
  const beyond = {
    "←": camera.x < -8,
    "→": camera.x + w * camera.k > width + 8,
    "↑": camera.y < -8,
    "↓": camera.y + h * camera.k > height + 8,
  };
  const arrows = Object.keys(beyond).filter((arrow) => beyond[arrow]);
  byId("more").hidden = !arrows.length;
  byId("more").textContent = `more ${arrows.join(" ")}`;
}
const room = () => byId("stage").getBoundingClientRect();

/** Show all; where that would be too small to read, as much as fits from the top left. */
function fit(least = 0) {
  const { width, height } = room();
  const [w, h] = scene.view.size;
  const whole = Math.min((width - 48) / w, (height - 84) / h, 1.7);
  camera.k = Math.max(whole, least);
  const left = 24 - leftmost(height / camera.k) * camera.k;
  camera.x =
    w * camera.k > width - 48
      ? Math.max(left, width - 24 - w * camera.k)
      : (width - w * camera.k) / 2;
  camera.y = Math.max((height - 40 - h * camera.k) / 2, 20);
  fitted = least;
  place();
}
let fitted = null;

/** Fit again what was fitted and not moved since: a frame may get its size after its content. */
function refit() {
  if (fitted === null) sayMore();
  else fit(fitted);
}

/** Find where the first card begins among those that are seen at the top. */
function leftmost(below) {
  if (scene.view.size[1] <= below) return 0;
  return Math.min(...scene.cards.filter((card) => card.y < below).map((card) => card.x));
}

function zoom(factor, x = room().width / 2, y = room().height / 2) {
  const k = Math.min(Math.max(camera.k * factor, 0.05), 6);
  camera.x = x - ((x - camera.x) * k) / camera.k;
  camera.y = y - ((y - camera.y) * k) / camera.k;
  camera.k = k;
  fitted = null;
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
  fitted = null;
  cancelAnimationFrame(gliding);
  frame(start);
}
let gliding = 0;

/** Bring cards into sight, with some room around them, if they are out of it. */
function follow(numbers) {
  const { width, height } = room();
  if (!numbers.length || !width || !height) return;
  const cards = numbers.map((n) => scene.cards[n]);
  const left = Math.min(...cards.map((c) => c.x)) * camera.k + camera.x;
  const right = Math.max(...cards.map((c) => c.x + c.width)) * camera.k + camera.x;
  const top = Math.min(...cards.map((c) => c.y)) * camera.k + camera.y;
  const bottom = Math.max(...cards.map((c) => c.y + HEIGHT)) * camera.k + camera.y;
  const inside = left >= 8 && top >= 8 && right <= width - 8 && bottom <= height - 60;
  if (!inside) glide(camera.x + (width - left - right) / 2, camera.y + (height - top - bottom) / 2);
}
