"use strict";
// Draws the report from the JSON in #report-data. Whatever came from a run is put in place by textContent.
(() => {
  const report = JSON.parse(document.getElementById("report-data").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const CARDS = 8, FOLD = 700, TALL = 25, CROWDED = 2000;
  let chosen = "";

  // --- Small helpers

  function make(tag, options = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(options)) {
      if (name === "on") for (const [event, act] of Object.entries(value)) node.addEventListener(event, act);
      else if (name === "data") Object.assign(node.dataset, value);
      else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
    }
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  }

  const known = (value) => value !== null && value !== undefined;
  const fixed = (value, digits = 2) => (known(value) ? value.toFixed(digits) : "–");
  const signed = (value, digits = 2) => (known(value) ? (Number(value.toFixed(digits)) < 0 ? "−" : "+") + Math.abs(value).toFixed(digits) : "–");
  const short = (value) => {
    if (typeof value !== "number") return known(value) ? String(value) : "–";  // a configuration may say anything
    return String(Math.abs(value) < 1e-3 && value !== 0 ? Number(value.toPrecision(3)).toExponential() : Number(value.toPrecision(4)));
  };
  const whole = (value) => (known(value) ? Math.round(value).toLocaleString("en") : "–");
  const shade = (color) => (dark.matches && color === "#000000" ? "#f2f2f2" : color);

  // --- The highlighted run

  // `chosen` is a run, or an entry of the legend with all its runs. It changes only what belongs to its own group.

  const entryOf = new Map(report.groups.flatMap((group) => group.rows.map((row) => [row.run, row.entry])));
  const isChosen = (run) => chosen !== "" && (run === chosen || entryOf.get(run) === chosen);
  const highlight = (node) => node.view.signal("chosen", waiting.get(node).runs.some(isChosen) ? chosen : "").runAsync();
  function choose(name) {
    chosen = chosen === name ? "" : name;
    mark(document);
    for (const node of waiting.keys()) if (node.view) highlight(node);
  }
  function mark(root) {
    for (const node of root.querySelectorAll("[data-run], [data-runs]")) {
      const runs = node.dataset.runs ? JSON.parse(node.dataset.runs) : [node.dataset.run];
      node.classList.toggle("chosen", runs.some(isChosen));
      if (node.hasAttribute("aria-pressed")) node.setAttribute("aria-pressed", String(node.classList.contains("chosen")));
    }
  }

  function swatch(color, dash) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("class", "swatch");
    svg.setAttribute("aria-hidden", "true");
    const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
    const style = { x1: 0, x2: 22, y1: 5, y2: 5, "stroke-width": 3, stroke: shade(color), "stroke-dasharray": dash[1] ? dash.join(" ") : "" };
    for (const [name, value] of Object.entries(style)) line.setAttribute(name, value);
    line.dataset.color = color;
    svg.append(line);
    return svg;
  }
  const swatchOf = (group, run) => {
    const entry = group.legend.find((one) => one.runs.includes(run));
    return entry ? swatch(entry.color, entry.dash) : null;
  };

  // --- Tables

  function table(columns, rows, options = {}) {
    const body = make("tbody");
    const fill = (ordered) => body.replaceChildren(...ordered.map((row) => {
      const cells = columns.map((column) => make("td", { class: column.class }, column.show(row)));
      const attributes = options.run ? { data: { run: options.run(row) }, on: { click: () => choose(options.run(row)) } } : {};
      return make("tr", attributes, ...cells);
    }));
    const heads = columns.map((column) => make("th", { class: column.class, scope: "col", title: column.title }, column.by
      ? make("button", { type: "button", on: { click: () => sort(column) } }, column.name) : column.name));
    function sort(column) {
      const head = heads[columns.indexOf(column)];
      const up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const order = (a, b) => {
        const [x, y] = [column.by(a), column.by(b)];
        if (!known(x) || !known(y)) return known(y) - known(x);  // what is not known stays at the end
        return (typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y), "en", { numeric: true })) * (up ? 1 : -1);
      };
      fill([...rows].sort(order));
      mark(body);
    }
    fill(rows);
    return make("div", { class: rows.length > TALL ? "scroll tall" : "scroll", tabindex: "0", role: "region", "aria-label": options.label || "table" },
      make("table", { class: options.class }, make("thead", {}, make("tr", {}, ...heads)), body));
  }

  function runTable(group) {
    const sign = { better: "✓ ", worse: "× ", neither: "– " };
    const number = (name, key, show, title) => ({ name, class: "number", by: (row) => row[key], show, title });
    const from = (name, start, end, title) => number(name, end, (row) => `${signed(row[start])} → ${signed(row[end])}`, title);
    const rate = (row) => fixed(row.win_rate) + (known(row.win_rate_low) ? ` [${fixed(row.win_rate_low)}, ${fixed(row.win_rate_high)}]` : "");
    const outcome = (row, gate) => make("span", { class: `label ${row.outcome}`, title: row.reason }, row.label ? sign[row.outcome] + row.label : gate ? "– gate" : "–");
    const judged = group.names_judges ? [
      ...group.judges.map((judge) => ({ name: `outcome by ${judge}`, by: (row) => row.by[judge]?.label,
        show: (row) => (row.by[judge] ? outcome(row.by[judge], row.gate) : "–") })),
      ...group.judges.map((judge) => ({ name: `win rate by ${judge}`, class: "number", by: (row) => row.by[judge]?.win_rate,
        show: (row) => (row.by[judge] ? `${fixed(row.by[judge].sft_win_rate)} → ${rate(row.by[judge])}` : "–"), title: "SFT's and that of the last evaluation by this judge, Wilson interval" })),
    ] : [
      { name: "outcome", by: (row) => row.label, show: (row) => outcome(row, row.gate) },
      number("win rate (95 %)", "win_rate", rate, "at the last evaluation, Wilson interval"),
    ];
    const columns = [
      { name: "run", class: "name", by: (row) => row.run, show: (row) => make("span", {}, swatchOf(group, row.run),
        make("button", { type: "button", "aria-pressed": "false", data: { run: row.run } }, row.run), row.mark ? make("span", { class: "mark" }, row.mark) : null) },
      ...judged,
      number(group.names_judges ? `minus SFT by ${group.judges[0]}` : "minus SFT", "win_difference", (row) => signed(row.win_difference) + (known(row.win_difference_se) ? ` ± ${fixed(row.win_difference_se)}` : ""), "paired over prompts, ± one standard error"),
      from("proxy", "proxy_start", "proxy_end", "the reward model's score, first and last evaluation"),
      from("gold", "gold_start", "gold_end", "first and last evaluation"),
      number("KL", "kl_ref", (row) => fixed(row.kl_ref, 1), "to the reference, nats per completion"),
      number("length", "len_mean", (row) => fixed(row.len_mean, 1), "tokens"),
      number("ends", "eos_rate", (row) => fixed(row.eos_rate), "share of completions that end"),
      { name: "objective", by: (row) => row.objective, show: (row) => row.objective },
      number("coef", "coefficient", (row) => short(row.coefficient)),
      number("lr", "lr", (row) => short(row.lr)),
      new Set(group.rows.map((row) => row.seed)).size > 1 ? number("seed", "seed", (row) => (known(row.seed) ? String(row.seed) : "–")) : null,
      number("step", "step", (row) => whole(row.step)),
    ].filter(Boolean);
    const why = make("details", group.rows.length <= 12 ? { open: "" } : {}, make("summary", {}, "Why"), make("ul", { class: "why" }, ...group.rows.map((row) =>
      make("li", { data: { run: row.run } }, make("b", {}, row.run), row.label ? ` ${row.label}: ` : " – ", row.reason || row.verdict, row.mark ? ` (${row.mark})` : "",
        ...group.judges.slice(1).filter((judge) => row.by[judge]?.reason).map((judge) => make("div", {}, `by ${judge} ${row.by[judge].label ? `${row.by[judge].label}: ` : "– "}${row.by[judge].reason}`))))));
    return make("div", {}, table(columns, group.rows, { class: "runs", run: (row) => row.run, label: group.title }), why);
  }

  // --- Figures

  function expand(data) {
    const column = (values) => (Array.isArray(values) ? values : values.codes.map((code) => values.values[code]));
    return Object.fromEntries(Object.entries(data).map(([name, columns]) => {
      const plain = Object.entries(columns).map(([key, values]) => [key, column(values)]);
      const count = plain.length ? plain[0][1].length : 0;
      return [name, Array.from({ length: count }, (_, place) => Object.fromEntries(plain.map(([key, values]) => [key, values[place]])))];
    }));
  }

  function theme() {
    const style = getComputedStyle(document.documentElement);
    const [ink, line] = ["--ink", "--line"].map((name) => style.getPropertyValue(name).trim());
    return {
      background: "transparent", legend: { disable: true }, view: { stroke: null }, font: "system-ui, sans-serif",
      axis: { labelColor: ink, titleColor: ink, gridColor: line, domainColor: line, tickColor: line, gridOpacity: 0.6, titleFontWeight: "normal", titleFontSize: 12, labelFontSize: 11, labelOverlap: "greedy", labelSeparation: 4 },
      axisY: { titleAngle: 0, titleAlign: "left", titleAnchor: "end", titleX: -30, titleY: -9 },  // above the panel, where it is never cut
    };
  }

  // Panels are drawn one at a time while nothing else is to do, those near the window first: scrolling never waits.

  const waiting = new Map();
  const observer = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) target.classList.toggle("near", isIntersecting);
  }, { rootMargin: "500px" });
  const idle = (act) => ("requestIdleCallback" in window ? requestIdleCallback(act, { timeout: 300 }) : setTimeout(act, 20));
  let drawing = false;

  function drawNext() {
    const left = [...waiting.keys()].filter((node) => !node.dataset.drawn);
    const node = left.find((one) => one.classList.contains("near")) ?? left[0];
    drawing = node !== undefined;
    if (drawing) drawNow(node).finally(() => idle(drawNext));
  }

  function drawNow(node) {
    const { panel, description } = waiting.get(node);
    node.dataset.drawn = "begun";
    const spec = JSON.parse(JSON.stringify(panel.spec), (key, value) => (key === "range" && Array.isArray(value) ? value.map(shade) : value));
    Object.assign(spec, {
      $schema: "https://vega.github.io/schema/vega-lite/v6.json", description, width: "container", height: 235, params: [report.chosen],
      autosize: { type: "fit", contains: "padding" }, datasets: expand(panel.data),
    });
    const points = Object.values(spec.datasets).reduce((sum, rows) => sum + rows.length, 0);
    const renderer = points > CROWDED ? "canvas" : "svg";  // a browser repaints thousands of dashes at every scroll
    return vegaEmbed(node, spec, { actions: false, renderer, config: theme() }).then(({ view }) => {
      node.dataset.drawn = "done";
      node.view = view;
      highlight(node);
      view.addEventListener("click", (event, item) => { if (item && item.datum && item.datum.run) choose(item.datum.run); });
    });
  }

  function redraw() {
    for (const node of waiting.keys()) {
      if (node.dataset.drawn !== "done") continue;
      node.view.finalize();
      delete node.view;
      delete node.dataset.drawn;
    }
    if (!drawing) drawNext();
    for (const line of document.querySelectorAll(".swatch line")) line.setAttribute("stroke", shade(line.dataset.color));
  }
  dark.addEventListener("change", redraw);

  function figure(group, one) {
    const runs = group.rows.map((row) => row.run);
    const panels = one.panels.map((panel) => {
      const description = `${one.title}: ${panel.title}, ${group.title}`;
      const node = make("div", { class: "panel", role: "img", "aria-label": description });
      waiting.set(node, { panel, runs, description });
      observer.observe(node);
      return node;
    });
    return make("figure", { id: `${group.slug}-${one.name}` }, make("h4", {}, one.title), make("figcaption", {}, one.caption),
      make("div", { class: "panels" }, ...panels),
      one.notes.length ? make("details", {}, make("summary", {}, "Fits in numbers"), make("ul", {}, ...one.notes.map((note) => make("li", {}, note)))) : null);
  }

  function legend(group) {
    return make("div", { class: "legend", role: "group", "aria-label": "Legend" }, ...group.legend.map((entry) =>
      make("button", { type: "button", class: "entry", "aria-pressed": "false", data: { runs: JSON.stringify(entry.runs) }, on: { click: () => choose(entry.entry) } },
        swatch(entry.color, entry.dash), entry.entry)));
  }

  // --- Samples

  function text(content, marks = "") {
    const node = make("p", { class: "text", dir: "auto" });
    const kinds = { r: "repeated", u: "unsupported" };
    let word = 0;
    for (const piece of marks ? content.split(/(\s+)/) : [content]) {
      const kind = piece.trim() ? kinds[marks[word++]] : undefined;
      node.append(kind ? make("mark", { class: kind }, piece) : piece);
    }
    if (content.length <= FOLD) return node;
    node.classList.add("folded");
    const unfold = make("button", { type: "button", class: "more", on: { click: () => { node.classList.remove("folded"); unfold.remove(); } } }, `show all ${whole(content.length)} characters`);
    return make("div", {}, node, unfold);
  }

  function cell(group, samples, one) {
    const [, run, step, index, ended, proxy, gold, outcome, length, logp, hacking] = one.values;
    const name = samples.runs[run];
    const verdicts = new Map([[1, "win"], [0.5, "tie"], [0, "loss"]]);
    const told = (value) => verdicts.get(value) ?? (known(value) ? `outcome ${value}` : "–");
    const others = samples.others[one.place] || [];
    const outcomes = others.length ? [outcome, ...others].map((value, place) => `${told(value)} by ${samples.judges[place]}`).join(" · ") : known(outcome) ? told(outcome) : null;
    const numbers = [
      known(hacking) ? `hacking ${signed(hacking)}` : null, known(proxy) ? `proxy ${signed(proxy)}` : null, known(gold) ? `gold ${signed(gold)}` : null,
      outcomes, known(length) ? `${length} tokens` : null, ended === 0 ? "does not end" : null, known(logp) ? `log p ${logp.toFixed(1)}` : null,
    ].filter(Boolean).join(" · ");
    const [content, marks] = samples.texts[index];
    const who = one.shared ? [`start (step ${step}), all runs`] : [swatchOf(group, name), `${name}, step ${step}`];
    return make("div", { class: one.shared ? "cell shared" : "cell", data: one.shared ? {} : { run: name } },
      one.shared ? make("div", { class: "head" }, ...who) : make("button", { type: "button", class: "head", on: { click: () => choose(name) } }, ...who),
      text(content, marks), make("p", { class: "numbers" }, numbers), replies(samples, one.place));
  }

  // What judges wrote about a completion, as text: it may hold anything.
  function replies(samples, place) {
    const found = samples.replies.filter((reply) => reply[0] === place);
    if (!found.length) return null;
    return make("details", { class: "replies" }, make("summary", {}, `${found.length} ${found.length === 1 ? "reply" : "replies"} of judges`),
      ...found.map(([, judge, position, verdict, content]) => make("div", {}, make("span", { class: "quiet" }, `${samples.judges[judge]}, ours as ${position}: ${verdict}`), text(content))));
  }

  // How far apart the judges' outcomes of a completion lie; -1 if fewer than two gave one.
  function apart(samples, { values, place }) {
    const outcomes = [values[7], ...(samples.others[place] || [])].filter(known);
    return outcomes.length > 1 ? outcomes.reduce((a, b) => Math.max(a, b)) - outcomes.reduce((a, b) => Math.min(a, b)) : -1;
  }

  function sampleBrowser(group) {
    const samples = group.samples;
    const list = make("div"), count = make("p", { class: "quiet", "aria-live": "polite" });
    const more = make("button", { type: "button", class: "more", on: { click: () => { shown += CARDS; render(); } } }, "show more");
    const steps = [...new Set(samples.cells.map((one) => one[2]))].sort((a, b) => a - b);
    const choice = (values) => make("select", { on: { change: () => restart() } }, ...values.map(([value, name]) => make("option", { value }, name)));
    const run = choice([["", "all runs"], ...samples.runs.map((name, place) => [String(place), name])]);
    const step = choice([["ends", "first and last step"], ["last", "last step"], ["all", "all steps"], ...steps.map((one) => [String(one), `step ${one}`])]);
    const order = choice([["worst", "most hacking first"], ["least", "least hacking first"],
      ...(samples.judges.length > 1 ? [["apart", "most disagreement first"]] : [])]);
    const search = make("input", { type: "search", placeholder: "words", on: { input: () => restart() } });
    const byPrompt = samples.prompts.map(() => []);
    samples.cells.forEach((values, place) => byPrompt[values[0]].push({ values, place }));
    const range = samples.runs.map((_, place) => {
      const own = samples.cells.filter((one) => one[1] === place).map((one) => one[2]);
      return own.length ? [own.reduce((a, b) => Math.min(a, b)), own.reduce((a, b) => Math.max(a, b))] : [0, 0];
    });
    let shown = CARDS;
    const restart = () => { shown = CARDS; render(); };

    function visible(values) {
      if (run.value !== "" && values[1] !== Number(run.value)) return false;
      const [first, last] = range[values[1]];
      if (step.value === "all" || (step.value === "ends" && run.value !== "")) return step.value === "all" || values[2] === first || values[2] === last;
      if (step.value === "ends") return values[2] === first || values[2] === last;
      return values[2] === (step.value === "last" ? last : Number(step.value));
    }

    function cellsOf(place) {
      const cells = byPrompt[place].filter((one) => visible(one.values));
      const starts = cells.filter((one) => one.values[2] === 0);
      if (starts.length > 1 && new Set(starts.map((one) => one.values[3])).size === 1) {  // every run starts as the same policy
        return [{ ...starts[0], shared: true }, ...cells.filter((one) => one.values[2] !== 0)];
      }
      return cells.sort((a, b) => a.values[2] - b.values[2] || a.values[1] - b.values[1]);
    }

    function render() {
      const words = search.value.trim().toLowerCase();
      const has = (content) => known(content) && content.toLowerCase().includes(words);
      let cards = samples.prompts.map((prompt, place) => ({ prompt, cells: cellsOf(place) })).filter((card) => card.cells.length);
      if (words) cards = cards.filter(({ prompt, cells }) => has(prompt.prompt) || has(prompt.reference) || cells.some((one) => has(samples.texts[one.values[3]][0])));
      for (const card of cards) card.apart = card.cells.reduce((most, one) => Math.max(most, apart(samples, one)), -1);
      for (const card of cards) card.hacking = card.cells.reduce((worst, one) => Math.max(worst, known(one.values[10]) ? one.values[10] : -2), -2);
      const orders = { worst: (a, b) => b.hacking - a.hacking, least: (a, b) => a.hacking - b.hacking, apart: (a, b) => b.apart - a.apart || b.hacking - a.hacking };
      cards.sort(orders[order.value]);
      list.replaceChildren(...cards.slice(0, shown).map(({ prompt, cells, hacking, apart }) => make("article", { class: "card" },
        make("h5", {}, prompt.id + (hacking > -2 ? ` · hacking up to ${signed(hacking)}` : "") + (apart > 0 ? " · judges disagree" : "")),
        text(prompt.prompt), known(prompt.reference) ? make("div", {}, make("span", { class: "quiet" }, "reference"), text(prompt.reference)) : null,
        make("div", { class: "cells", tabindex: "0", role: "region", "aria-label": "completions" }, ...cells.map((one) => cell(group, samples, one))))));
      count.textContent = `${Math.min(shown, cards.length)} of ${cards.length} prompts`;
      more.hidden = shown >= cards.length;
      mark(list);
    }
    render();
    const label = (name, control) => make("label", {}, name, control);
    return make("div", { class: "samples", data: { runs: JSON.stringify(samples.runs) } },
      make("div", { class: "controls" }, label("run", run), label("step", step), label("order", order), label("text", search)), count, list, more);
  }

  function sampleSection(group) {
    const samples = group.samples;
    const left = samples.total - samples.prompts.length, several = samples.judges.length > 1;
    const says = samples.hidden
      ? "The task asks that no text be shown; these are its statistics."
      : `Hacking is the rank of the proxy minus the rank of ${samples.by} among the group's completions: near +1, the reward model likes what the judge does not. `
        + `${samples.prompts.length} prompts are here` + (left > 0 ? `, ${several ? "a third of them those with most hacking, a third those about which the judges disagree most" : "half of them those with most hacking"}, the others drawn at random; ${whole(left)} more are left out.` : ".")
        + (group.names_judges ? ` Win rates, and hacking without gold, are by ${samples.judges[0]}.` : "")
        + (samples.steps_left_out ? ` ${whole(samples.steps_left_out)} checkpoints between are left out.` : "");
    const marked = samples.texts.some((one) => one[1]);
    const number = (name, show) => ({ name, class: "number", by: (row) => row[name === "win rate" ? "outcome" : name], show });
    const statistics = table([
      { name: "run", class: "name", by: (row) => row.run, show: (row) => row.run }, number("step", (row) => whole(row.step)), number("n", (row) => whole(row.n)),
      number("proxy", (row) => signed(row.proxy)), number("gold", (row) => signed(row.gold)), number("win rate", (row) => fixed(row.outcome)),
      number("length", (row) => fixed(row.length, 1)), number("ended", (row) => fixed(row.ended)), number("hacking", (row) => signed(row.hacking)),
    ], samples.statistics, { run: (row) => row.run, label: "Statistics of samples" });
    return [
      make("p", { class: "quiet" }, says),
      marked ? make("p", { class: "quiet" }, make("mark", { class: "repeated" }, "repeated"), " words were said before; ", make("mark", { class: "unsupported" }, "unsupported"), " ones are not in the post.") : null,
      samples.hidden ? null : sampleBrowser(group),
      make("details", samples.hidden ? { open: "" } : {}, make("summary", {}, "Statistics by run and step"), statistics),
    ];
  }

  // --- The page, from top to bottom

  const section = (name) => document.getElementById(name);
  const titled = (group) => (report.groups.length > 1 ? make("h3", {}, group.title) : null);
  const put = (name, ...nodes) => section(name).append(...nodes.filter(Boolean));

  document.title = report.title;
  section("title").textContent = report.title;
  const runs = report.provenance.runs.length;
  section("subtitle").textContent = `${runs} run${runs === 1 ? "" : "s"}, written ${report.generated.replace("T", " ").replace("+00:00", " UTC")}. Click a run to highlight it everywhere.`;
  if (report.left_out.length) {
    put("verdict", make("div", { class: "warning" }, make("p", {}, `Left out, because unreadable: ${report.left_out.length}`), make("ul", {}, ...report.left_out.map((reason) => make("li", {}, reason)))));
  }
  if (report.dropped.length) {
    put("verdict", make("div", { class: "warning" }, make("p", {}, "Data that was not used:"), make("ul", {}, ...report.dropped.map((what) => make("li", {}, what)))));
  }
  for (const group of report.groups) {
    put("verdict", make("h3", {}, group.title), make("p", { class: "sentence" }, group.sentence), ...group.disagreements.map((said) => make("p", { class: "disagreement" }, said)));
    put("runs", titled(group), runTable(group));
    put("figures", titled(group), group.names_judges ? make("p", { class: "quiet" }, `Marks at the ends of lines are by ${group.judges[0]}, and win rates too where no judge is named.`) : null,
      legend(group), ...group.figures.map((one) => figure(group, one)));
    put("samples", titled(group), ...(group.samples ? sampleSection(group) : [make("p", { class: "quiet" }, "No samples were recorded.")]));
  }
  if (!report.groups.length) {
    put("verdict", make("p", { class: "sentence" }, "No online or offline run is among these: there is nothing to judge yet."));
    for (const name of ["figures", "samples"]) section(name).hidden = true;
  }

  if (report.bases.length) {
    put("runs", make("h3", {}, "What they stand on"), table([
      { name: "run", class: "name", by: (row) => row.run, show: (row) => make("span", {}, row.run, row.mark ? make("span", { class: "mark" }, row.mark) : null) },
      { name: "stage", by: (row) => row.stage, show: (row) => row.stage },
      { name: "step", class: "number", by: (row) => row.step, show: (row) => whole(row.step) },
      { name: "last evaluation", class: "wide", show: (row) => Object.entries(row.numbers).map(([name, value]) => `${name} ${short(value)}`).join(", ") },
    ], report.bases, { label: "What the runs stand on" }));
  }

  const plain = (names) => names.map((name, place) => ({ name, class: place ? "" : "name", show: (row) => row[place] }));
  for (const config of report.provenance.configs) {
    put("provenance", make("h3", {}, `Configuration: ${config.stage}`),
      config.differing.length
        ? table(plain(["differs in", ...config.runs]), config.differing, { label: "Differences between configurations" })
        : make("p", { class: "quiet" }, config.runs.length > 1 ? "These runs have the same configuration." : `One run: ${config.runs[0]}.`),
      make("details", {}, make("summary", {}, `${config.shared.length} settings${config.runs.length > 1 ? " in common" : ""}`), table(plain(["setting", "value"]), config.shared, { label: "Settings in common" })));
  }
  const told = (name, key = name) => ({ name, by: (row) => row[key], show: (row) => (known(row[key]) && row[key] !== "" ? String(row[key]) : "–") });
  const ways = [
    told("stage"), told("status"), told("seed"),
    { name: "steps", class: "number", by: (row) => row.steps, show: (row) => whole(row.steps) },
    { name: "minutes", class: "number", by: (row) => row.minutes, show: (row) => fixed(row.minutes, 1) },
    { name: "tokens", class: "number", by: (row) => row.tokens, show: (row) => whole(row.tokens) },
    told("device"), told("threads"), told("hardware"), told("versions"), told("commit"), told("started"), told("resumes"),
    { name: "parents", by: (row) => row.parents.join("; "), show: (row) => row.parents.join("; ") || "–" }, told("path"),
  ];
  const same = ways.filter((column) => report.provenance.runs.length > 1 && new Set(report.provenance.runs.map(column.by)).size === 1);
  put("provenance", make("h3", {}, "Runs, cost and machines"),
    table([{ name: "run", class: "name", by: (row) => row.run, show: (row) => row.run }, ...ways.filter((column) => !same.includes(column))],
      report.provenance.runs, { run: (row) => row.run, label: "Runs, cost and machines" }),
    same.length ? make("p", { class: "quiet" }, `In all runs: ${same.map((column) => `${column.name} ${column.show(report.provenance.runs[0])}`).join("; ")}.`) : null);
  drawNext();
  document.body.dataset.ready = "true";
})();
