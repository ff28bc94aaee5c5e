// The trace: typed arrays over one buffer, and questions that can be asked of it.
// Arrays are flat, [step, head, rank]; a head's number is layer * n_heads + head.

const ARRAYS = { uint8: Uint8Array, int16: Int16Array, int32: Int32Array, float32: Float32Array };

function readPayload(meta, data) {
  const bytes = data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength);
  const array = ([type, offset, length]) => new ARRAYS[type](bytes, offset, length);
  const traces = meta.traces.map((trace) => ({
    ...trace,
    ids: array(trace.ids),
    positions: array(trace.positions),
    weights: array(trace.weights),
    scores: trace.scores.map(array),
    active: trace.active.map(array),
    thresholds: trace.thresholds.map(array),
    chance: trace.chance.map(array),
    looks: null, // the inverse index, made when a prompt token is first chosen
  }));
  const evidence = new Uint8Array(meta.prompt.length);
  for (const position of meta.evidence) evidence[position] = 1;
  return {
    ...meta,
    traces,
    evidence,
    evidencePositions: meta.evidence,
    promptIds: array(meta.prompt_ids),
    orders: meta.orders.map((order) => ({
      variance: array(order.variance),
      mean: array(order.mean),
    })),
    isStatic: meta.static && new Set(meta.static),
    nAll: meta.n_layers * meta.n_heads,
    nSteps: Math.max(...traces.map((trace) => trace.n_steps)),
  };
}

function headName(data, head) {
  return `L${Math.floor(head / data.n_heads)}H${head % data.n_heads}`;
}

// Spaces at the ends of a token are shown where it does not stand in running text.
function marked(text) {
  return text.replace(/^ +| +$/g, (spaces) => "␣".repeat(spaces.length));
}

function count(n, what) {
  return `${n.toLocaleString("en")} ${what}${n === 1 ? "" : "s"}`;
}

function tokenAt(data, trace, position) {
  const n = data.prompt.length;
  return position < n ? data.prompt[position] : trace.tokens[position - n];
}

function idAt(data, trace, position) {
  const n = data.prompt.length;
  return position < n ? data.promptIds[position] : trace.ids[position - n];
}

function number(value) {
  if (Number.isNaN(value)) return "not scored";
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size < 0.0001 || size >= 10000 ? value.toExponential(1) : String(+value.toPrecision(3));
}

// The heads of the chosen layers, in the chosen order.
function sortedRows(data, scoreIndex, sort, layers) {
  const all =
    sort === "layer" ? Int32Array.from({ length: data.nAll }, (_, i) => i) : data.orders[scoreIndex][sort];
  if (!layers) return all;
  const wanted = new Set(layers);
  return all.filter((head) => wanted.has(Math.floor(head / data.n_heads)));
}

// Active heads of a step among the shown layers, by layer and head.
function activeHeads(data, trace, scoreIndex, step, layers) {
  const found = [];
  if (step >= trace.n_steps) return found;
  const active = trace.active[scoreIndex];
  const wanted = layers && new Set(layers);
  for (let head = 0; head < data.nAll; head++) {
    if (!active[step * data.nAll + head]) continue;
    if (!wanted || wanted.has(Math.floor(head / data.n_heads))) found.push(head);
  }
  return found;
}

// Position to the largest weight that one of the heads puts on it at the step.
function attentionOf(data, trace, step, heads) {
  const weights = new Map();
  if (step >= trace.n_steps) return weights;
  for (const head of heads) {
    const start = (step * data.nAll + head) * data.m;
    for (let i = start; i < start + data.m; i++) {
      const position = trace.positions[i];
      if (position >= 0) weights.set(position, Math.max(weights.get(position) ?? 0, trace.weights[i]));
    }
  }
  return weights;
}

// The recorded positions of one head at one step, largest weight first.
function lookedAt(data, trace, step, head) {
  const found = [];
  const start = (step * data.nAll + head) * data.m;
  for (let i = start; i < start + data.m; i++) {
    if (trace.positions[i] >= 0) found.push({ position: trace.positions[i], weight: trace.weights[i] });
  }
  return found;
}

// Who looks at each prompt token: entries sorted by position, where each position starts.
function inverseIndex(data, trace) {
  const n = data.prompt.length;
  const { positions } = trace;
  const starts = new Int32Array(n + 1);
  for (const position of positions) if (position >= 0 && position < n) starts[position + 1]++;
  for (let i = 0; i < n; i++) starts[i + 1] += starts[i];
  const next = starts.slice();
  const entries = new Int32Array(starts[n]);
  for (let i = 0; i < positions.length; i++) {
    const position = positions[i];
    if (position >= 0 && position < n) entries[next[position]++] = i;
  }
  return { starts, entries };
}

// All {step, head, weight} that look at a prompt position, largest weight first.
function whoLooks(data, trace, position, layers) {
  trace.looks ??= inverseIndex(data, trace);
  const { starts, entries } = trace.looks;
  const wanted = layers && new Set(layers);
  const found = [];
  for (let i = starts[position]; i < starts[position + 1]; i++) {
    const cell = Math.floor(entries[i] / data.m);
    const head = cell % data.nAll;
    if (wanted && !wanted.has(Math.floor(head / data.n_heads))) continue;
    found.push({ step: Math.floor(cell / data.nAll), head, weight: trace.weights[entries[i]] });
  }
  return found.sort((a, b) => b.weight - a.weight || a.step - b.step || a.head - b.head);
}
