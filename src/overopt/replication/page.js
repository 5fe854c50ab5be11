"use strict";
// Draws the figures from the JSON in #figures-data. Whatever came from records is put in place by textContent.
(() => {
  const data = JSON.parse(document.getElementById("figures-data").textContent);

  function make(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children.filter((child) => child !== null));
    return node;
  }

  function swatch(color, dash) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
    svg.setAttribute("class", "swatch");
    svg.setAttribute("aria-hidden", "true");
    const style = { x1: 0, x2: 26, y1: 5, y2: 5, "stroke-width": 2.5, stroke: color, "stroke-dasharray": dash[1] ? dash.join(" ") : "" };
    for (const [name, value] of Object.entries(style)) line.setAttribute(name, value);
    svg.append(line);
    return svg;
  }

  // Tables come column by column, texts as indices into their distinct values.
  function expand(tables) {
    const column = (values) => (Array.isArray(values) ? values : values.codes.map((code) => values.values[code]));
    return Object.fromEntries(Object.entries(tables).map(([name, columns]) => {
      const plain = Object.entries(columns).map(([key, values]) => [key, column(values)]);
      const count = plain.length ? plain[0][1].length : 0;
      return [name, Array.from({ length: count }, (_, place) => Object.fromEntries(plain.map(([key, values]) => [key, values[place]])))];
    }));
  }

  const config = {
    background: "white", view: { stroke: null }, font: "system-ui, sans-serif",
    title: { fontSize: 12, fontWeight: "normal", anchor: "start", frame: "bounds", offset: 4 },
    axis: { gridColor: "#e8ebef", labelFontSize: 11, titleFontSize: 11, titleFontWeight: "normal", labelOverlap: "greedy" },
    axisY: { minExtent: 34, maxExtent: 34 }, line: { strokeWidth: 2 }, point: { size: 90, strokeWidth: 2.4 },
  };

  // Panels are drawn one at a time while nothing else is to do.
  const waiting = [];
  const idle = (act) => ("requestIdleCallback" in window ? requestIdleCallback(act, { timeout: 300 }) : setTimeout(act, 20));
  function drawNext() {
    const next = waiting.shift();
    if (!next) return;
    const [node, panel] = next;
    const spec = {
      ...panel.spec, $schema: "https://vega.github.io/schema/vega-lite/v6.json", width: "container", height: 190,
      autosize: { type: "fit", contains: "padding" }, datasets: expand(panel.data),
    };
    vegaEmbed(node, spec, { actions: false, renderer: "svg", config }).then(() => { node.dataset.drawn = "done"; }).finally(() => idle(drawNext));
  }

  function legend(one) {
    const rows = one.rows.map((row) => make("tr", {}, make("td", {}, swatch(row.color, row.dash)), ...row.cells.map((cell) => make("td", {}, cell))));
    return make("div", { class: "scroll" },
      make("table", {}, make("thead", {}, make("tr", {}, make("th"), ...one.heads.map((head) => make("th", { scope: "col" }, head)))), make("tbody", {}, ...rows)),
      one.below ? make("div", { class: "quiet" }, one.below) : null);
  }

  function block(one, figure) {
    const panels = one.panels.map((panel) => {
      const node = make("div", { class: "panel", role: "img", "aria-label": `${figure.title}, ${one.title}: ${panel.title}` });
      waiting.push([node, panel]);
      return node;
    });
    const single = figure.blocks.length > 1 || panels.length === 1 ? "panels single" : "panels";
    return make("div", {}, one.title ? make("h3", {}, one.title) : null, make("div", { class: single }, ...panels), one.legend ? legend(one.legend) : null);
  }

  function section(figure) {
    const says = (head, text) => make("div", {}, make("b", {}, head), text);
    const drawn = figure.shows !== null;
    const alone = figure.blocks.length === 1 && figure.blocks[0].panels.length === 1 ? "blocks alone" : "blocks";
    return make("section", { id: figure.name },
      make("h2", {}, figure.title),
      make("p", { class: "quiet" }, figure.scale),
      make("div", { class: "says" }, says("The paper's must show", figure.must_show), drawn ? says("Ours shows", figure.shows) : null),
      figure.missing.length ? make("p", { class: "missing" }, `${drawn ? "Incomplete" : "Not drawn"}. ${figure.missing.join("; ")}.`) : null,
      drawn ? make("figure", {}, make("div", { class: alone }, ...figure.blocks.map((one) => block(one, figure))), make("figcaption", {}, figure.caption)) : null,
      ...figure.notes.map((note) => make("p", { class: "quiet" }, note)),
      drawn ? make("p", { class: "quiet" }, "For print: ", make("a", { href: `figures/${figure.name}.svg` }, "SVG"), ", ", make("a", { href: `figures/${figure.name}.pdf` }, "PDF")) : null);
  }

  document.title = data.title;
  document.getElementById("title").textContent = data.title;
  document.getElementById("contents").append(...data.figures.map((figure) => make("a", { href: `#${figure.name}` }, figure.name.replace("figure-", "Figure "))));
  document.getElementById("figures").append(...data.figures.map(section));
  drawNext();
  document.body.dataset.ready = "true";
})();
