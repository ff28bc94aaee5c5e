// The bar above: score, order, layers, and what the signs mean.

const SORTS = { variance: "variance over the steps", mean: "mean over the steps", layer: "layer" };

function createControls(ctx) {
  const element = make("div", "rl-bar");
  const score = choice("score", ctx.data.scores.map((name) => [name, name]), (value) => ctx.choose({ score: value }));
  const sort = choice("rows by", Object.entries(SORTS), (value) => ctx.choose({ sort: value }));
  const layers = layersInput(ctx);
  const legend = make("div", "rl-legend rl-signs");
  element.append(score.label, sort.label, layers.label, legend);
  return { ctx, element, score: score.select, sort: sort.select, layers: layers.input, legend };
}

function choice(name, options, chosen) {
  const label = make("label", "rl-control", `${name} `);
  const select = make("select", "");
  for (const [value, text] of options) select.append(make("option", "", text, { value }));
  select.addEventListener("change", () => chosen(select.value));
  label.append(select);
  return { label, select };
}

function layersInput(ctx) {
  const label = make("label", "rl-control", "layers ");
  const last = ctx.data.n_layers - 1;
  const input = make("input", "", undefined, {
    type: "text",
    size: "9",
    placeholder: `0-${last}`,
    title: `a range or a list, such as ${Math.floor(last / 2)}-${last} or 0, ${last}; empty for all`,
    autocomplete: "off",
    spellcheck: "false",
  });
  const read = () => {
    const layers = parseLayers(input.value, ctx.data.n_layers);
    input.setAttribute("aria-invalid", String(layers === undefined));
    input.setCustomValidity(layers === undefined ? `wanted layers from 0 to ${last}, such as 3-5, 8` : "");
    if (layers !== undefined) ctx.choose({ layers });
  };
  input.addEventListener("input", read);
  input.addEventListener("change", () => input.reportValidity());
  label.append(input);
  return { label, input };
}

// null for all, undefined where the text says no layers of this model.
function parseLayers(text, n) {
  if (!text.trim()) return null;
  const found = new Set();
  for (const part of text.split(",")) {
    const match = /^\s*(\d+)\s*(?:[-–]\s*(\d+)\s*)?$/.exec(part);
    if (!match) return undefined;
    const [from, to] = [Number(match[1]), Number(match[2] ?? match[1])];
    if (from > to || to >= n) return undefined;
    for (let layer = from; layer <= to; layer++) found.add(layer);
  }
  return [...found].sort((a, b) => a - b);
}

function writeLayers(layers) {
  if (!layers) return "";
  const parts = [];
  for (let i = 0; i < layers.length; ) {
    let end = i;
    while (layers[end + 1] === layers[end] + 1) end++;
    parts.push(end > i ? `${layers[i]}-${layers[end]}` : `${layers[i]}`);
    i = end + 1;
  }
  return parts.join(", ");
}

function updateControls(controls, state) {
  controls.score.value = state.score;
  controls.sort.value = state.sort;
  const read = parseLayers(controls.layers.value, controls.ctx.data.n_layers);
  // what is being typed stays as it is while it says the same
  if (JSON.stringify(read) !== JSON.stringify(state.layers)) {
    controls.layers.value = writeLayers(state.layers);
    controls.layers.setAttribute("aria-invalid", "false");
    controls.layers.setCustomValidity("");
  }
}

// The colour bar and the signs; drawn anew when score or theme change.
function writeSigns(controls) {
  const { ctx } = controls;
  const { low, high } = ctx.data.scales[ctx.scoreIndex];
  const bar = make("span", "rl-ramp", undefined, { role: "img", "aria-label": "colour scale" });
  const stops = ctx.data.scales[ctx.scoreIndex][ctx.theme].map(([at, css]) => `${css} ${at * 100}%`);
  bar.style.background = `linear-gradient(to right, ${stops.join(", ")})`;
  const items = [make("span", "", number(low)), bar, make("span", "", number(high))];
  const sign = (name, text) => {
    const item = make("span", "rl-sign");
    item.append(make("span", `rl-glyph ${name}`, undefined, { "aria-hidden": "true" }), text);
    items.push(item);
  };
  sign("rl-dot", "active in that cell");
  sign("rl-disc", "dynamic at this step");
  if (ctx.data.isStatic) sign("rl-square", "static");
  sign("rl-ring", "looks at the chosen token");
  if (ctx.missing) sign("rl-missing", "not scored");
  if (ctx.data.traces.length > 1) sign("rl-other", "another token than beside");
  controls.legend.replaceChildren(...items);
}
