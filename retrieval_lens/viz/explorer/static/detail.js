// What the choice means, in words and two small tables.

const MANY = 50; // lines of a list before it is cut
const CHIPS = 24;

function createDetail(ctx) {
  const element = make("section", "rl-detail");
  const said = make("p", "rl-said", undefined, { role: "status", "aria-live": "polite" });
  element.append(make("div", "rl-columns"));
  const columns = ctx.data.traces.map((trace, i) => {
    const column = make("div", "rl-column");
    if (ctx.data.traces.length > 1) column.append(make("h3", `rl-heading rl-name-${i}`, trace.name));
    const parts = { about: make("div", "rl-about"), who: make("div", "rl-seen"), found: null };
    column.append(parts.about, parts.who);
    element.firstChild.append(column);
    return parts;
  });
  return { ctx, element, said, columns };
}

function updateDetail(detail, state, found) {
  const { ctx, said } = detail;
  said.textContent = summary(ctx, state);
  detail.columns.forEach((column, i) => {
    const trace = ctx.data.traces[i];
    if (state.step >= trace.n_steps) {
      const ended = `This response ended after ${count(trace.n_steps, "step")}.`;
      column.about.replaceChildren(make("p", "", ended));
    } else {
      column.about.replaceChildren(...(state.head ? aboutHead : aboutStep)(ctx, trace, state));
    }
    // the list does not depend on the step: it keeps its place while one steps through
    if (column.found === found[i]) return;
    column.found = found[i];
    column.who.replaceChildren(...(state.position === null ? [] : aboutToken(ctx, trace, state, found[i])));
  });
}

function quoted(text) {
  return `“${marked(text)}”`;
}

function summary(ctx, state) {
  const written = ctx.data.traces
    .filter((trace) => state.step < trace.n_steps)
    .map((trace) => (ctx.data.traces.length > 1 ? `${trace.name} writes ` : "writes ") + quoted(trace.tokens[state.step]));
  const parts = [`Step ${state.step} of ${ctx.data.nSteps} (0 to ${ctx.data.nSteps - 1}) ${written.join(", ")}.`];
  if (state.head) parts.push(`Head ${headName(ctx.data, ctx.head)}.`);
  if (state.position !== null) {
    parts.push(`Prompt token ${state.position}, ${quoted(ctx.data.prompt[state.position])}.`);
  }
  return parts.join(" ");
}

function levels(ctx, trace, step) {
  const parts = [];
  const [threshold, chance] = [trace.thresholds[ctx.scoreIndex][step], trace.chance[ctx.scoreIndex][step]];
  parts.push(Number.isNaN(threshold) ? "no threshold" : `active above ${number(threshold)}`);
  if (!Number.isNaN(chance)) parts.push(`chance ${number(chance)}`);
  return parts.join(", ");
}

function aboutStep(ctx, trace, state) {
  const heads = activeHeads(ctx.data, trace, ctx.scoreIndex, state.step, state.layers);
  const among = ctx.rows.length === ctx.data.nAll ? "" : " of the shown layers";
  const text = heads.length
    ? `${heads.length} of ${count(ctx.rows.length, "head")}${among} ${heads.length === 1 ? "is" : "are"} active (${ctx.scoreName}, ${levels(ctx, trace, state.step)}). The prompt shows the largest weight over them.`
    : `No head${among} is active at this step (${ctx.scoreName}, ${levels(ctx, trace, state.step)}). Choose a cell to see one head.`;
  const scores = trace.scores[ctx.scoreIndex];
  const value = (head) => scores[state.step * ctx.data.nAll + head];
  const ranked = [...heads].sort((a, b) => value(b) - value(a) || a - b);
  const chips = make("p", "rl-chips");
  for (const head of ranked.slice(0, CHIPS)) {
    const chip = headButton(ctx, head, state.step);
    chip.append(make("small", "", ` ${number(value(head))}`));
    chips.append(chip);
  }
  if (ranked.length > CHIPS) chips.append(make("span", "", `and ${ranked.length - CHIPS} more`));
  return [make("p", "", text), chips];
}

function headButton(ctx, head, step) {
  const button = make("button", "rl-link", headName(ctx.data, head), { type: "button" });
  const pair = [Math.floor(head / ctx.data.n_heads), head % ctx.data.n_heads];
  button.addEventListener("click", () => ctx.choose({ head: pair, step }));
  return button;
}

function kind(ctx, trace, step, head) {
  const dynamic = trace.active[ctx.scoreIndex][step * ctx.data.nAll + head];
  if (!ctx.data.isStatic) return dynamic ? "dynamic at this step" : "not dynamic at this step";
  const fixed = ctx.data.isStatic.has(head);
  if (dynamic && fixed) return "both: dynamic at this step and static";
  if (dynamic) return "dynamic at this step, not static";
  return fixed ? "static, not dynamic at this step" : "neither dynamic at this step nor static";
}

function aboutHead(ctx, trace, state) {
  const looks = lookedAt(ctx.data, trace, state.step, ctx.head);
  const value = trace.scores[ctx.scoreIndex][state.step * ctx.data.nAll + ctx.head];
  const first = make("p", "rl-kind");
  first.append(make("b", "", headName(ctx.data, ctx.head)), ` is ${kind(ctx, trace, state.step, ctx.head)}. `);
  first.append(`${ctx.scoreName}: ${number(value)} (${levels(ctx, trace, state.step)}). `);
  const all = make("button", "rl-link", "all active heads", { type: "button" });
  all.addEventListener("click", () => ctx.choose({ head: null }));
  first.append(all);
  if (!looks.length) return [first, make("p", "", "Where it looks was not recorded.")];
  return [first, make("p", "rl-copy", copies(ctx, trace, state.step, looks[0].position)), looksTable(ctx, trace, looks)];
}

function copies(ctx, trace, step, position) {
  const token = quoted(tokenAt(ctx.data, trace, position));
  const written = quoted(trace.tokens[step]);
  if (idAt(ctx.data, trace, position) === trace.ids[step]) {
    return `It looks most at ${token} and would copy that: yes, this is the token written.`;
  }
  const alike = token === written ? " too, but another token of the vocabulary" : "";
  return `It looks most at ${token} and would copy that: no, the token written is ${written}${alike}.`;
}

function table(names) {
  const element = make("table", "rl-table");
  const row = element.createTHead().insertRow();
  for (const name of names) row.append(make("th", "", name, { scope: "col" }));
  return { element, body: element.createTBody() };
}

function looksTable(ctx, trace, looks) {
  const { element, body } = table(["position", "token", "weight", ""]);
  const n = ctx.data.prompt.length;
  for (const { position, weight } of looks) {
    const row = body.insertRow();
    const cell = row.insertCell();
    if (position < n) {
      const button = make("button", "rl-link", String(position), { type: "button" });
      button.title = "who looks at this token?";
      button.addEventListener("click", () => ctx.choose({ position }));
      cell.append(button);
    } else cell.textContent = String(position);
    row.append(make("td", "rl-mono", marked(tokenAt(ctx.data, trace, position))));
    row.append(make("td", "rl-number", number(weight)));
    row.append(make("td", "", position >= n ? "generated" : ctx.data.evidence[position] ? "evidence" : ""));
  }
  return element;
}

function aboutToken(ctx, trace, state, found) {
  const heads = new Set(found.map(({ head }) => head)).size;
  const text = `${quoted(ctx.data.prompt[state.position])} at position ${state.position} is among the ${ctx.data.m} most attended of ${count(heads, "head")}, in ${count(found.length, "cell")} (ringed in the map).`;
  const { element, body } = table(["step", "writes", "head", "weight"]);
  for (const { step, head, weight } of found.slice(0, MANY)) {
    const row = body.insertRow();
    row.append(make("td", "rl-number", String(step)), make("td", "rl-mono", marked(trace.tokens[step])));
    row.insertCell().append(headButton(ctx, head, step));
    row.append(make("td", "rl-number", number(weight)));
  }
  const line = make("p", "rl-who", `${text} `);
  const clear = make("button", "rl-link", "forget this token", { type: "button" });
  clear.addEventListener("click", () => ctx.choose({ position: null }));
  line.append(clear);
  if (!found.length) return [line];
  const list = make("div", "rl-list", undefined, { role: "region", tabindex: "0" });
  list.setAttribute("aria-label", "who looks at the chosen token, largest weight first");
  list.append(element);
  if (found.length > MANY) list.append(make("p", "", `and ${(found.length - MANY).toLocaleString("en")} more`));
  return [line, list];
}
