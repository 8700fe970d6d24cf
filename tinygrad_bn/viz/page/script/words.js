// What the page knows, elements made of text, and words.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const HEIGHT = 44;
const THUMBNAIL = 34;
const READABLE = 0.5;
const SVG = "http://www.w3.org/2000/svg";
const calm = matchMedia("(prefers-reduced-motion: reduce)");

const last = data.steps.length - 1;
const state = {
  view: -1,
  step: last,
  node: null,
  shown: "overview",
  query: "",
  hit: -1,
  saved: true,
  hover: null,
};
const camera = { x: 0, y: 0, k: 1 };
let scene = null;
let timer = 0;

// elements: text always becomes a text node, never markup -----------------------

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

// words -------------------------------------------------------------------------

const shapeText = (shape) => shape.join("×") || "scalar";
const spoken = (shape) => shape.replaceAll("×", " by ");

function numberText(value, digits = 4) {
  if (typeof value === "string") return value;
  const short =
    Number.isInteger(value) && Math.abs(value) < 1e6 ? value : Number(value.toPrecision(digits));
  return String(short).replaceAll("-", "−");
}

function label(number) {
  const tensor = data.tensors[number];
  return tensor.name || tensor.badge;
}

const GIVEN = ["parameter", "input"];
const born = new Map(
  data.steps.flatMap((step, i) => (step.kind === "value" ? [[step.tensor, i]] : [])),
);
/** Name a tensor so that it can be told from others: an unnamed one by the step that made it. */
function told(number) {
  const tensor = data.tensors[number];
  const step = born.has(number) ? ` (step ${born.get(number) + 1})` : "";
  return tensor.name || tensor.badge + step;
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
const MONO = 'ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace';
const SANS = '"Helvetica Neue", Helvetica, Arial, "Liberation Sans", sans-serif';
