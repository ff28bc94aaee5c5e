// The widget: state comes from the model, every choice goes to the model, and what changed is drawn.

const NAMES = ["step", "head", "position", "score", "sort", "layers"];
const KEYS = "left and right arrows: step; up and down: head; Home, End: first and last step; Escape: forget the prompt token, then the head. Where the prompt or a list has the focus, up, down, Home, End and the page keys scroll it";
const SCROLLS = ["ArrowUp", "ArrowDown", "Home", "End", "PageUp", "PageDown"];
let made = 0;

function render({ model, el }) {
  const root = make("div", "rl-explorer", undefined, {
    tabindex: "0",
    role: "application",
    "aria-roledescription": "explorer of attention heads",
    "aria-keyshortcuts": "ArrowLeft ArrowRight ArrowUp ArrowDown Home End Escape",
  });
  const data = readPayload(model.get("_meta"), model.get("_data"));
  const ctx = { id: `rl-${Date.now().toString(36)}-${made++}`, data, root, rows: [], row: -1, head: -1 };
  ctx.state = () => Object.fromEntries(NAMES.map((name) => [name, model.get(name) ?? null]));
  ctx.choose = (changes) => {
    for (const [name, value] of Object.entries(changes)) model.set(name, value);
    model.save_changes();
  };
  assemble(ctx);
  el.append(root);
  const stop = connect(ctx, model);
  return stop;
}

function assemble(ctx) {
  const { root, data } = ctx;
  const title = make("h2", "rl-title", data.title, { id: `${ctx.id}-title` });
  root.setAttribute("aria-labelledby", title.id);
  ctx.controls = createControls(ctx);
  ctx.strip = stripHeight(data);
  ctx.maps = data.traces.map((trace, i) => createMap(ctx, trace, i));
  ctx.missing = data.traces.some((trace) => trace.scores.some((values) => values.some(Number.isNaN)));
  ctx.detail = createDetail(ctx);
  ctx.prompt = createPrompt(ctx);
  ctx.tip = make("div", "rl-tip", undefined, { role: "tooltip", hidden: "" });
  const sides = make("div", "rl-sides");
  ctx.maps.forEach((map, i) => sides.append(side(ctx, map, i)));
  const help = make("p", "rl-legend rl-keys", `Keys: ${KEYS}.`, { id: `${ctx.id}-keys` });
  root.setAttribute("aria-describedby", help.id);
  const below = make("div", data.traces.length > 1 ? "rl-below" : "rl-below rl-beside");
  below.append(ctx.prompt.element, ctx.detail.element);
  root.append(title, ctx.controls.element, sides, ctx.detail.said, below, help, ctx.tip);
}

function side(ctx, map, i) {
  const section = make("section", "rl-side");
  const { trace } = map;
  if (ctx.data.traces.length > 1) section.append(make("h3", `rl-heading rl-name-${i}`, trace.name));
  section.append(map.scroller);
  if (trace.truncated) section.append(make("p", "rl-legend", "The response was cut at its token limit."));
  return section;
}

function connect(ctx, model) {
  let waiting = 0;
  const changed = new Set(NAMES);
  const draw = () => {
    waiting = 0;
    const now = new Set(changed);
    changed.clear();
    const focused = () => ctx.root.contains(ctx.root.getRootNode().activeElement);
    const inside = focused();
    update(ctx, now);
    // a button that was pressed may be gone: the keyboard goes on with the explorer
    if (inside && !focused()) ctx.root.focus({ preventScroll: true });
  };
  const note = (...names) => {
    names.forEach((name) => changed.add(name));
    waiting ||= requestAnimationFrame(draw);
  };
  const listeners = NAMES.map((name) => [`change:${name}`, () => note(name)]);
  listeners.forEach(([event, listener]) => model.on(event, listener));
  ctx.scrolled = (map) => {
    for (const other of ctx.maps) {
      other.scroller.scrollTop = map.scroller.scrollTop;
      other.scroller.scrollLeft = map.scroller.scrollLeft;
    }
    note("scroll");
  };
  ctx.refold = () => updatePrompt(ctx.prompt, ctx.state(), ctx.weights);
  ctx.hover = (map, event, cell) => showTip(ctx, map, event, cell);
  ctx.root.addEventListener("keydown", (event) => press(ctx, event));
  ctx.root.addEventListener("click", (event) => {
    if (event.target.closest(".rl-scroll")) ctx.root.focus({ preventScroll: true });
  });
  const unwatch = watchTheme(() => note("theme"));
  const observer = new ResizeObserver(() => note("size"));
  ctx.maps.forEach((map) => observer.observe(map.scroller));
  note("theme", "size");
  return () => {
    listeners.forEach(([event, listener]) => model.off?.(event, listener));
    cancelAnimationFrame(waiting);
    unwatch();
    observer.disconnect();
  };
}

// Draw what the changed names touch.
function update(ctx, changed) {
  const has = (...names) => names.some((name) => changed.has(name));
  const state = ctx.state();
  const { data } = ctx;
  if (has("theme")) setTheme(ctx);
  if (has("score", "sort", "layers")) setRows(ctx, state);
  if (has("score", "theme")) {
    ctx.shade = shader(data.scales[ctx.scoreIndex], ctx.theme);
    writeSigns(ctx.controls);
  }
  ctx.head = state.head ? state.head[0] * data.n_heads + state.head[1] : -1;
  ctx.row = ctx.head < 0 ? -1 : ctx.rows.indexOf(ctx.head);
  updateControls(ctx.controls, state);
  if (has("size", "score", "sort", "layers")) ctx.maps.forEach(resizeMap);
  if (has("score", "layers")) ctx.maps.forEach((map) => fillStrip(map, state));
  if (has("position", "layers")) ctx.found = ctx.maps.map((map) => markCells(map, state));
  if (has(...NAMES)) follow(ctx, state, has("step", "head", "sort", "layers", "score"));
  if (has("position") && state.position !== null) scrollToToken(ctx.prompt, state.position);
  ctx.maps.forEach((map) => drawMap(map, state));
  ctx.root.dataset.drawn = "true";
}

function setTheme(ctx) {
  delete ctx.root.dataset.theme;
  ctx.theme = themeOf(ctx.root);
  ctx.root.dataset.theme = ctx.theme;
  const ground = getComputedStyle(ctx.root).backgroundColor;
  ctx.ink = { ...INK[ctx.theme], ground, dynamic: ctx.theme === "dark" ? "#8ec1ee" : "#1f6bb0" };
}

function setRows(ctx, state) {
  ctx.scoreIndex = Math.max(0, ctx.data.scores.indexOf(state.score));
  ctx.scoreName = ctx.data.scores[ctx.scoreIndex];
  ctx.rows = sortedRows(ctx.data, ctx.scoreIndex, state.sort, state.layers);
}

function shader({ low, high, light, dark }, theme) {
  const colours = ramp(theme === "dark" ? dark : light);
  const missing = { css: NO_SCORE[theme], light: theme === "light" };
  return (value) =>
    Number.isNaN(value)
      ? missing
      : colours[Math.max(0, Math.min(SHADES - 1, Math.round(((value - low) / (high - low)) * (SHADES - 1))))];
}

// Everything that follows the choice: strip, words, prompt.
function follow(ctx, state, moved) {
  const { data } = ctx;
  ctx.weights = data.traces.map((trace) => {
    const heads = state.head
      ? [ctx.head]
      : activeHeads(data, trace, ctx.scoreIndex, state.step, state.layers);
    return attentionOf(data, trace, state.step, heads);
  });
  for (const map of ctx.maps) {
    chooseToken(map, state);
    const shown = `${data.nSteps} steps, ${ctx.rows.length} heads, coloured by ${ctx.scoreName}`;
    map.canvas.setAttribute("aria-label", `map of heads and steps: ${shown}`);
  }
  ctx.root.setAttribute("aria-activedescendant", ctx.maps[0].tokens[state.step]?.id ?? "");
  if (moved) scrollToChoice(ctx.maps[0], state, ctx.row);
  updateDetail(ctx.detail, state, ctx.found);
  updatePrompt(ctx.prompt, state, ctx.weights);
}

function press(ctx, event) {
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest("input, select")) return;
  if (SCROLLS.includes(event.key) && event.target.matches(".rl-text, .rl-list")) {
    event.stopPropagation(); // the browser scrolls, and a notebook around stays where it is
    return;
  }
  const state = ctx.state();
  const last = ctx.data.nSteps - 1;
  const to = (step) => ({ step: Math.max(0, Math.min(last, step)) });
  const moves = {
    ArrowLeft: () => to(state.step - 1),
    ArrowRight: () => to(state.step + 1),
    Home: () => to(0),
    End: () => to(last),
    ArrowUp: () => nextHead(ctx, -1),
    ArrowDown: () => nextHead(ctx, 1),
    Escape: () => (state.position !== null ? { position: null } : { head: null }),
  };
  if (!Object.hasOwn(moves, event.key)) return;
  event.preventDefault();
  event.stopPropagation();
  ctx.choose(moves[event.key]());
}

// The head one row further; the first row where none is chosen or the chosen one is not shown.
function nextHead(ctx, by) {
  const state = ctx.state();
  const { n_heads } = ctx.data;
  const now = state.head ? ctx.rows.indexOf(state.head[0] * n_heads + state.head[1]) : -1;
  const row = now < 0 ? 0 : Math.max(0, Math.min(ctx.rows.length - 1, now + by));
  const head = ctx.rows[row];
  return { head: [Math.floor(head / n_heads), head % n_heads] };
}

function showTip(ctx, map, event, cell) {
  ctx.tip.hidden = !cell;
  if (!cell) return;
  ctx.tip.replaceChildren(...tipLines(ctx, map.trace, cell).map((text) => make("div", "", text)));
  const box = ctx.root.getBoundingClientRect();
  const left = Math.min(event.clientX - box.left + 14, box.width - ctx.tip.offsetWidth - 6);
  ctx.tip.style.left = `${Math.max(4, left)}px`;
  ctx.tip.style.top = `${event.clientY - box.top + 16}px`;
}

function tipLines(ctx, trace, { head, step }) {
  const { data } = ctx;
  const name = headName(data, head);
  if (step === null) {
    const now = ctx.state().step;
    return [now < trace.n_steps ? `${name}, ${kind(ctx, trace, now, head)}` : name];
  }
  const value = trace.scores[ctx.scoreIndex][step * data.nAll + head];
  const [look] = lookedAt(data, trace, step, head);
  const lines = [
    `${name} at step ${step}, writes ${quoted(trace.tokens[step])}`,
    `${ctx.scoreName}: ${number(value)} (${levels(ctx, trace, step)})`,
    kind(ctx, trace, step, head),
  ];
  if (look) lines.push(`looks most at ${quoted(tokenAt(data, trace, look.position))}, weight ${number(look.weight)}`);
  return lines;
}

export default { render };
