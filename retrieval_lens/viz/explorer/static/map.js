// The heads × steps map of one trace: a canvas of the visible part only, under a strip of tokens.
// The canvas sticks to the scrolled box, whose size a filler gives.

const LABEL = 88; // pixels for the names of the heads
const ROW = 16;
const SCROLLBAR = 18;
const COLUMN = { min: 15, max: 30 };
const STRIP = { around: 26, character: 7.4, max: 112 };

// Height of the tokens along the top, the same for both traces.
function stripHeight(data) {
  const longest = Math.max(...data.traces.flatMap((trace) => trace.tokens.map((text) => text.length)));
  return Math.round(Math.min(STRIP.max, STRIP.around + STRIP.character * Math.max(3, longest)));
}

function createMap(ctx, trace, number) {
  const scroller = make("div", "rl-scroll", undefined, { tabindex: "-1" });
  const filler = make("div", "rl-filler");
  const strip = make("div", "rl-strip", undefined, {
    role: "listbox",
    "aria-label": `tokens generated, ${trace.name}`,
  });
  strip.append(make("div", "rl-corner", "heads active"));
  const tokens = trace.tokens.map((text, step) => tokenOption(ctx, trace, number, text, step));
  strip.append(...tokens);
  const canvas = make("canvas", "rl-canvas", undefined, { role: "img" });
  filler.append(strip, canvas);
  scroller.append(filler);
  filler.style.setProperty("--rl-strip", `${ctx.strip}px`);
  const map = { ctx, trace, scroller, filler, strip, tokens, canvas, column: COLUMN.min, marks: null };
  scroller.addEventListener("scroll", () => ctx.scrolled(map));
  canvas.addEventListener("pointermove", (event) => ctx.hover(map, event, cellAt(map, event)));
  canvas.addEventListener("pointerleave", () => ctx.hover(map, null, null));
  canvas.addEventListener("click", (event) => chooseCell(map, cellAt(map, event)));
  return map;
}

function tokenOption(ctx, trace, number, text, step) {
  const option = make("div", "rl-token", undefined, {
    role: "option",
    id: `${ctx.id}-${number}-${step}`,
    "aria-selected": "false",
  });
  const other = ctx.data.traces[1 - number];
  if (other && (step >= other.n_steps || other.ids[step] !== trace.ids[step])) {
    option.classList.add("rl-differs");
  }
  option.append(make("span", "rl-token-text", marked(text)), make("span", "rl-count"));
  option.addEventListener("click", () => ctx.choose({ step }));
  return option;
}

// Which row and step a pointer is on; step is null on the names.
function cellAt(map, event) {
  const box = map.canvas.getBoundingClientRect();
  const x = event.clientX - box.left;
  const row = Math.floor((event.clientY - box.top + map.scroller.scrollTop) / ROW);
  if (row < 0 || row >= map.ctx.rows.length) return null;
  if (x < LABEL) return { head: map.ctx.rows[row], step: null };
  const step = Math.floor((x - LABEL + map.scroller.scrollLeft) / map.column);
  return step < map.trace.n_steps ? { head: map.ctx.rows[row], step } : null;
}

function chooseCell(map, cell) {
  if (!cell) return;
  const { n_heads } = map.ctx.data;
  const head = [Math.floor(cell.head / n_heads), cell.head % n_heads];
  map.ctx.choose(cell.step === null ? { head } : { head, step: cell.step });
}

function resizeMap(map) {
  const { ctx, scroller, filler } = map;
  const width = scroller.clientWidth - LABEL - 1;
  map.column = Math.min(COLUMN.max, Math.max(COLUMN.min, Math.floor(width / ctx.data.nSteps)));
  filler.style.width = `${LABEL + ctx.data.nSteps * map.column}px`;
  const height = ctx.strip + ctx.rows.length * ROW;
  filler.style.height = `${height}px`;
  scroller.style.maxHeight = `min(70vh, ${height + SCROLLBAR}px)`;
  filler.style.setProperty("--rl-column", `${map.column}px`);
}

// Number of active heads under each token, and which token is chosen.
function fillStrip(map, state) {
  const { ctx, trace } = map;
  map.tokens.forEach((option, step) => {
    const active = activeHeads(ctx.data, trace, ctx.scoreIndex, step, state.layers).length;
    option.lastChild.textContent = active || "·";
    const said = `${marked(trace.tokens[step])}, ${count(active, "head")} active`;
    option.setAttribute("aria-label", `step ${step}: ${said}`);
    option.title = `step ${step}: ${said}`;
  });
}

function chooseToken(map, state) {
  const before = map.strip.querySelector("[aria-selected=true]");
  before?.setAttribute("aria-selected", "false");
  map.tokens[state.step]?.setAttribute("aria-selected", "true");
}

function scrollToChoice(map, state, row) {
  const { scroller, column } = map;
  const left = state.step * column;
  const width = scroller.clientWidth - LABEL;
  if (left < scroller.scrollLeft) scroller.scrollLeft = left - column;
  if (left + column > scroller.scrollLeft + width) scroller.scrollLeft = left + 2 * column - width;
  if (row < 0) return;
  const height = scroller.clientHeight - map.ctx.strip;
  if (row * ROW < scroller.scrollTop) scroller.scrollTop = row * ROW;
  if ((row + 1) * ROW > scroller.scrollTop + height) scroller.scrollTop = (row + 1) * ROW - height;
}

// The 2D context of a canvas that covers what is visible, sharp on any screen.
function surface(map) {
  const { canvas, scroller } = map;
  const sharp = window.devicePixelRatio || 1;
  const width = scroller.clientWidth;
  const height = Math.max(ROW, Math.min(scroller.clientHeight - map.ctx.strip, map.ctx.rows.length * ROW));
  if (canvas.width !== Math.round(width * sharp) || canvas.height !== Math.round(height * sharp)) {
    canvas.width = Math.round(width * sharp);
    canvas.height = Math.round(height * sharp);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(sharp, 0, 0, sharp, 0, 0);
  return { pen, width, height };
}

function drawMap(map, state) {
  const { ctx, scroller, trace } = map;
  const { pen, width, height } = surface(map);
  pen.fillStyle = ctx.ink.ground;
  pen.fillRect(0, 0, width, height);
  const top = scroller.scrollTop;
  const rows = { from: Math.floor(top / ROW), to: Math.min(ctx.rows.length, Math.ceil((top + height) / ROW)) };
  const steps = {
    from: Math.floor(scroller.scrollLeft / map.column),
    to: Math.min(trace.n_steps, Math.ceil((scroller.scrollLeft + width - LABEL) / map.column)),
  };
  for (let row = rows.from; row < rows.to; row++) {
    for (let step = steps.from; step < steps.to; step++) drawCell(map, pen, row, step);
  }
  drawCross(map, pen, state, height);
  drawNames(map, pen, state, rows, height);
}

function drawCell(map, pen, row, step) {
  const { ctx, trace, scroller, column } = map;
  const cell = step * ctx.data.nAll + ctx.rows[row];
  const value = trace.scores[ctx.scoreIndex][cell];
  const x = LABEL + step * column - scroller.scrollLeft;
  const y = row * ROW - scroller.scrollTop;
  const shade = ctx.shade(value);
  pen.fillStyle = shade.css;
  pen.fillRect(x, y, column - 1, ROW - 1);
  if (trace.active[ctx.scoreIndex][cell]) {
    pen.fillStyle = shade.light ? "#08294d" : "#ffffff";
    pen.beginPath();
    pen.arc(x + (column - 1) / 2, y + (ROW - 1) / 2, 2.4, 0, 7);
    pen.fill();
  }
  if (map.marks?.[cell]) {
    pen.strokeStyle = ctx.ink.mark;
    pen.lineWidth = 2;
    pen.strokeRect(x + 1, y + 1, column - 3, ROW - 3);
  }
}

// Lines around the chosen step and the chosen head.
function drawCross(map, pen, state, height) {
  const { ctx, scroller, column } = map;
  pen.strokeStyle = ctx.ink.ink;
  pen.lineWidth = 1.5;
  if (state.step < map.trace.n_steps) {
    pen.strokeRect(LABEL + state.step * column - scroller.scrollLeft - 1, -2, column + 1, height + 4);
  }
  if (ctx.row >= 0) {
    const end = LABEL + map.trace.n_steps * column - scroller.scrollLeft;
    pen.strokeRect(LABEL - 1, ctx.row * ROW - scroller.scrollTop - 1, end - LABEL, ROW + 1);
  }
}

// Names of the heads with their marks: a square is static, a disc dynamic at this step.
function drawNames(map, pen, state, rows, height) {
  const { ctx, trace, scroller } = map;
  pen.fillStyle = ctx.ink.ground;
  pen.fillRect(0, 0, LABEL - 1, height);
  pen.font = "11px ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace";
  pen.textBaseline = "middle";
  for (let row = rows.from; row < rows.to; row++) {
    const head = ctx.rows[row];
    const y = row * ROW - scroller.scrollTop + (ROW - 1) / 2;
    if (row === ctx.row) {
      pen.fillStyle = ctx.ink.rule;
      pen.fillRect(0, y - (ROW - 1) / 2, LABEL - 2, ROW - 1);
    }
    if (ctx.data.isStatic?.has(head)) {
      pen.fillStyle = ctx.ink.mark;
      pen.fillRect(4, y - 4, 8, 8);
    }
    const cell = state.step * ctx.data.nAll + head;
    if (state.step < trace.n_steps && trace.active[ctx.scoreIndex][cell]) {
      pen.fillStyle = ctx.ink.dynamic;
      pen.beginPath();
      pen.arc(21, y, 4.2, 0, 7);
      pen.fill();
    }
    pen.fillStyle = ctx.ink.ink;
    pen.fillText(headName(ctx.data, head), 30, y + 0.5);
  }
}

// Rings around the cells that look at the chosen prompt token.
function markCells(map, state) {
  map.marks = null;
  if (state.position === null) return [];
  const found = whoLooks(map.ctx.data, map.trace, state.position, state.layers);
  map.marks = new Uint8Array(map.trace.n_steps * map.ctx.data.nAll);
  for (const { step, head } of found) map.marks[step * map.ctx.data.nAll + head] = 1;
  return found;
}
