// The prompt, cut to what matters: windows, folds between them, and folds that were opened.
// Only tokens that are shown are in the document; a block that stays is not built again.

const SMALL_GAP = 2; // tokens that take less room than the note that they were left out
const CHUNK = 1500; // tokens built at once, so that a large fold opens without a stop

function createPrompt(ctx) {
  const element = make("section", "rl-prompt");
  const text = make("div", "rl-text", undefined, { role: "region", tabindex: "0" });
  text.setAttribute("aria-label", "the prompt, folded where nothing happens");
  const generated = make("div", "rl-generated");
  element.append(make("h3", "rl-heading", "Prompt"), legendOfPrompt(ctx), text, generated);
  const prompt = {
    ctx, element, text, generated,
    spans: [], // of the shown positions
    blocks: new Map(), // by key, in the document
    opened: [], // [from, to) of the folds that were opened, ascending
    weights: [], // one map a trace
    chosen: null, step: 0, ended: null,
  };
  text.addEventListener("click", (event) => clickPrompt(prompt, event));
  return prompt;
}

function legendOfPrompt(ctx) {
  const legend = make("p", "rl-legend");
  const item = (name, text) => {
    const sample = make("span", `rl-sample ${name}`, "token");
    legend.append(sample, make("span", "", ` ${text} `));
  };
  const several = ctx.data.traces.length > 1;
  ctx.data.traces.forEach((trace, i) => {
    item(`rl-sample-${i}`, several ? `attention, ${trace.name}` : "attention: the more, the stronger the colour.");
  });
  item("rl-evidence", "evidence.");
  legend.append(make("span", "", `Only the ${ctx.data.m} most attended positions of a head are recorded. Choose a token to see who looks at it.`));
  return legend;
}

function clickPrompt(prompt, event) {
  const token = event.target.closest(".rl-word");
  if (token && !getSelection().toString()) {
    const position = Number(token.dataset.position);
    prompt.ctx.choose({ position: position === prompt.chosen ? null : position });
  }
}

function updatePrompt(prompt, state, weights) {
  prompt.weights = weights;
  prompt.step = state.step;
  layOut(prompt, cut(prompt, centres(prompt, state)));
  repaint(prompt, state);
  writeGenerated(prompt, state);
}

// Positions that get a window: evidence, the most attended, the chosen token, and the query.
function centres(prompt, state) {
  const { data } = prompt.ctx;
  const ranked = prompt.weights.map((weights) =>
    [...weights].sort((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, data.n_windows),
  );
  const found = [...data.evidencePositions, ...ranked.flat().map(([position]) => position)];
  if (state.position !== null) found.push(state.position);
  found.push(data.prompt.length - 1);
  return found.filter((position) => position < data.prompt.length);
}

// Blocks in order: {kind: "window" | "gap" | "open", from, to}.
function cut(prompt, middle) {
  const { data } = prompt.ctx;
  const n = data.prompt.length;
  const shown = new Uint8Array(n);
  for (const at of middle) shown.fill(1, Math.max(0, at - data.window), at + data.window + 1);
  const blocks = [];
  const folds = [...prompt.opened];
  let from = 0;
  while (from < n) {
    const open = folds[0];
    if (open && open[0] === from) {
      blocks.push({ kind: "open", from, to: open[1] });
      folds.shift();
      from = open[1];
      continue;
    }
    const limit = open ? open[0] : n;
    let to = from + 1;
    while (to < limit && shown[to] === shown[from]) to++;
    const small = !shown[from] && to - from <= SMALL_GAP;
    const before = blocks[blocks.length - 1];
    if (shown[from] || small) {
      if (before?.kind === "window") before.to = to;
      else blocks.push({ kind: "window", from, to });
    } else blocks.push({ kind: "gap", from, to });
    from = to;
  }
  return blocks;
}

// Put the blocks in the document; those that are there already stay where they are.
function layOut(prompt, blocks) {
  const keys = new Set(blocks.map(keyOf));
  for (const [key, node] of prompt.blocks) {
    if (keys.has(key)) continue;
    for (const word of node.querySelectorAll(".rl-word")) delete prompt.spans[word.dataset.position];
    node.remove();
    prompt.blocks.delete(key);
  }
  let next = prompt.text.firstChild;
  for (const block of blocks) {
    const key = keyOf(block);
    let node = prompt.blocks.get(key);
    if (!node) {
      node = build(prompt, block);
      prompt.blocks.set(key, node);
    }
    if (node === next) next = next.nextSibling;
    else prompt.text.insertBefore(node, next);
  }
}

function keyOf({ kind, from, to }) {
  return `${kind} ${from} ${to}`;
}

function build(prompt, block) {
  if (block.kind === "gap") return gapButton(prompt, block);
  const node = make("span", `rl-block rl-${block.kind}`);
  if (block.kind === "open") node.append(foldButton(prompt, block));
  node.append(make("span", "rl-at", `[${block.from}]`));
  append(prompt, node, block.from, block.to);
  return node;
}

function gapButton(prompt, { from, to }) {
  const button = make("button", "rl-gap", `… ${(to - from).toLocaleString("en")} tokens …`, {
    type: "button",
    "aria-expanded": "false",
  });
  button.title = `show tokens ${from} to ${to - 1}`;
  button.addEventListener("click", () => {
    prompt.opened = [...prompt.opened, [from, to]].sort((a, b) => a[0] - b[0]);
    prompt.ctx.refold();
    prompt.blocks.get(keyOf({ kind: "open", from, to }))?.querySelector("button").focus();
  });
  return button;
}

function foldButton(prompt, { from, to }) {
  const button = make("button", "rl-fold", `fold ${(to - from).toLocaleString("en")} tokens`, {
    type: "button",
    "aria-expanded": "true",
  });
  button.addEventListener("click", () => {
    prompt.opened = prompt.opened.filter((fold) => fold[0] !== from);
    prompt.ctx.refold();
    const gaps = [...prompt.text.querySelectorAll(".rl-gap")];
    (gaps.find((gap) => gap.title.startsWith(`show tokens ${from} `)) ?? prompt.text).focus();
  });
  return button;
}

function append(prompt, node, from, to) {
  const pieces = document.createDocumentFragment();
  const end = Math.min(to, from + CHUNK);
  for (let position = from; position < end; position++) {
    const word = make("span", "rl-word", prompt.ctx.data.prompt[position]);
    word.dataset.position = position;
    prompt.spans[position] = word;
    if (prompt.ctx.data.evidence[position]) word.classList.add("rl-evidence");
    paint(prompt, position);
    pieces.append(word);
    if (word.textContent.includes("⏎")) pieces.append("\n");
  }
  node.append(pieces);
  if (end < to) setTimeout(() => node.isConnected && append(prompt, node, end, to), 0);
}

function share(weight) {
  return `${Math.round(100 * Math.min(1, Math.sqrt(weight)))}%`;
}

// The attention of one trace on a position, in words.
function attentionIn(prompt, i, position) {
  const { data } = prompt.ctx;
  if (prompt.step >= data.traces[i].n_steps) return "ended";
  const weight = prompt.weights[i].get(position);
  return weight === undefined ? `not among the ${data.m} recorded` : number(weight);
}

// Colour one token by the attention on it.
function paint(prompt, position) {
  const word = prompt.spans[position];
  if (!word) return;
  const weights = prompt.weights.map((map) => map.get(position) ?? 0);
  weights.forEach((weight, i) => {
    if (weight) word.style.setProperty(`--rl-weight-${i}`, share(weight));
    else word.style.removeProperty(`--rl-weight-${i}`);
  });
  word.classList.toggle("rl-chosen", position === prompt.chosen);
  const name = (trace) => (weights.length > 1 ? `${trace.name} ` : "");
  const told = prompt.ctx.data.traces.map((trace, i) => name(trace) + attentionIn(prompt, i, position));
  word.title = `position ${position}, attention: ${told.join(", ")}`;
}

function repaint(prompt, state) {
  const before = [...(prompt.painted ?? []), prompt.chosen];
  prompt.chosen = state.position;
  prompt.painted = prompt.weights.flatMap((weights) => [...weights.keys()]);
  const ended = prompt.ctx.data.traces.map((trace) => state.step >= trace.n_steps).join();
  // every token says whether a response has ended
  if (ended !== prompt.ended) prompt.spans.forEach((_, position) => before.push(position));
  prompt.ended = ended;
  for (const position of new Set([...before, ...prompt.painted, prompt.chosen])) {
    if (position !== null) paint(prompt, position);
  }
}

// What was written up to the chosen step stands after the prompt, since heads look there too.
function writeGenerated(prompt, state) {
  const { ctx } = prompt;
  const n = ctx.data.prompt.length;
  prompt.generated.replaceChildren(
    ...ctx.data.traces.map((trace, i) => {
      const several = ctx.data.traces.length > 1;
      const line = make("p", "", undefined);
      line.append(make("b", "", several ? `generated, ${trace.name}: ` : "generated: "));
      const end = Math.min(state.step, trace.n_steps);
      for (let step = 0; step < end; step++) {
        const word = make("span", "rl-word", trace.tokens[step]);
        const weight = prompt.weights[i].get(n + step) ?? 0;
        if (weight) word.style.setProperty(`--rl-weight-${i}`, share(weight));
        word.title = `step ${step}, position ${n + step}, attention: ${attentionIn(prompt, i, n + step)}`;
        word.addEventListener("click", () => ctx.choose({ step }));
        line.append(word);
      }
      if (!end) line.append(make("i", "", "nothing before the first step"));
      return line;
    }),
  );
}

// The shown part of the prompt follows the choice, inside its own box.
function scrollToToken(prompt, position) {
  const word = prompt.spans[position];
  if (!word) return;
  const box = prompt.text.getBoundingClientRect();
  const at = word.getBoundingClientRect();
  if (at.top < box.top || at.bottom > box.bottom) {
    prompt.text.scrollTop += at.top - box.top - box.height / 3;
  }
}
