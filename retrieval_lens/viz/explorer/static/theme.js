// Light or dark as the page around is, colours of the cells, and small helpers for the DOM.

const INK = {
  light: { ground: "#ffffff", ink: "#1a2230", soft: "#55606f", rule: "#d3dae2", mark: "#b3590a" },
  dark: { ground: "#12161c", ink: "#e7ebf1", soft: "#a6b0be", rule: "#343c48", mark: "#f0a45c" },
};
const NO_SCORE = { light: "#d9d4c7", dark: "#4a453a" };
const SHADES = 256;

function make(tag, className, text, attributes = {}) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function channels(colour) {
  return [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));
}

// The colours of a scale, from its lowest value to its highest.
function ramp(stops) {
  const colours = [];
  for (let i = 0; i < SHADES; i++) {
    const share = i / (SHADES - 1);
    const above = Math.max(1, stops.findIndex(([at]) => at >= share));
    const [[from, low], [to, high]] = [stops[above - 1], stops[above]];
    const part = (share - from) / (to - from);
    const a = channels(low);
    const mixed = channels(high).map((c, k) => Math.round(a[k] + (c - a[k]) * part));
    colours.push({ css: `rgb(${mixed.join(",")})`, light: luminance(mixed) > 0.4 });
  }
  return colours;
}

function luminance([r, g, b]) {
  return (0.2126 * r + 0.7152 * g + 0.0722 * b) / 255;
}

// Dark if the ground that the page gives the explorer is dark.
function themeOf(element) {
  const [r, g, b, alpha] = (getComputedStyle(element).backgroundColor.match(/[\d.]+/g) ?? []).map(Number);
  if (alpha === 0 || b === undefined) {
    return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  }
  return luminance([r, g, b]) < 0.5 ? "dark" : "light";
}

// Calls back when the page may have changed its theme; returns how to stop.
function watchTheme(changed) {
  const media = matchMedia("(prefers-color-scheme: dark)");
  const observer = new MutationObserver(changed);
  media.addEventListener("change", changed);
  for (const element of [document.documentElement, document.body]) {
    observer.observe(element, { attributes: true });
  }
  return () => {
    media.removeEventListener("change", changed);
    observer.disconnect();
  };
}
