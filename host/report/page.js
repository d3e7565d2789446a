// Unpacks the numbers of the page (layout: payload.h), lets one choose what is shown and has it drawn (plots.js, which
// stands in the same script). Nothing is loaded from anywhere.
"use strict";
(async () => {
  const byId = (id) => document.getElementById(id);

  async function unpack(id) {
    const letters = atob(byId(id).textContent);
    const bytes = new Uint8Array(letters.length);
    for (let i = 0; i < letters.length; ++i) bytes[i] = letters.charCodeAt(i);
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
  }

  function fail(message) {
    const box = byId("script-fault");
    box.hidden = false;
    box.textContent = message + " Still pictures are in the folder figures/.";
  }

  if (typeof DecompressionStream === "undefined")
    return fail("This browser is too old to unpack the plots (it needs Firefox 113, Safari 16.4, Chrome 80 or newer).");
  const packed = await unpack("payload");
  const textBytes = new DataView(packed).getUint32(0, true);
  const data = JSON.parse(new TextDecoder().decode(new Uint8Array(packed, 4, textBytes)));
  const first = 4 + textBytes;

  // An array of the payload as numbers; null where there is none, so that lines break there.
  function numbers(ref) {
    if (ref.values) return ref.values;
    if (ref.t === "u1") return (ref.values = Array.from(new Uint8Array(packed, first + ref.o, ref.n)));
    if (ref.t === "f4") return (ref.values = Array.from(new Float32Array(packed, first + ref.o, ref.n), (v) => (Number.isFinite(v) ? v : null)));
    return (ref.values = Array.from(new Int16Array(packed, first + ref.o, ref.n), (q) => (q === -32768 ? null : ref.a + ref.b * q)));
  }

  // ---- what is chosen ----
  const unique = (list) => [...new Set(list)];
  const runs = data.runs;
  const chosen = {run: runs[0], latents: "encoder", axes: [0, 1, 2], hidden: new Set()};
  // Of the latents chosen, or of the only ones that a run has.
  const latentsOf = (run) => run[chosen.latents] || run.encoder || run.posterior;
  const ofModel = (run) => runs.filter((other) => other.subject === run.subject && other.model === run.model);

  // The run that has the wanted key and otherwise agrees most with the one shown.
  function choose(key, value) {
    const score = (run) => ["subject", "model", "split", "seed"].reduce((sum, k, i) => sum + (run[k] === chosen.run[k] ? 8 >> i : 0), 0);
    const candidates = runs.filter((run) => run[key] === value);
    chosen.run = candidates.reduce((best, run) => (score(run) > score(best) ? run : best), candidates[0]);
    chosen.axes = [0, 1, 2];
    draw();
  }

  function element(tag, properties, ...children) {
    const node = Object.assign(document.createElement(tag), properties);
    if (properties.ariaPressed) node.setAttribute("aria-pressed", properties.ariaPressed);  // Firefox before 119
    node.append(...children);
    return node;
  }

  function drawChooser() {
    const box = byId("chooser");
    const select = (title, key, values) => {
      const list = element("select", {title, onchange: (event) => choose(key, values[event.target.selectedIndex])});
      for (const value of values)
        list.append(
            element("option", {textContent: key === "seed" || key === "split" ? `${key} ${value}` : value, selected: value === chosen.run[key]}));
      return element("label", {}, element("span", {textContent: title}), list);
    };
    const parts = [];
    const subjects = unique(runs.map((run) => run.subject));
    if (subjects.length > 1) parts.push(select("Subject", "subject", subjects));
    const models = unique(runs.filter((run) => run.subject === chosen.run.subject).map((run) => run.model));
    parts.push(select("Model", "model", models));
    const mine = ofModel(chosen.run);
    const ascending = (key) => unique(mine.map((run) => run[key])).sort((a, b) => a - b);
    parts.push(select("Split", "split", ascending("split")), select("Seed", "seed", ascending("seed")));
    const kind = (key, text) => element("button", {
      type: "button",
      textContent: text,
      disabled: !chosen.run[key],
      title: chosen.run[key] ? "" : "this model has no such latents",
      ariaPressed: String(chosen.run[key] === latentsOf(chosen.run)),
      onclick: () => {
        chosen.latents = key;
        draw();
      }
    });
    parts.push(element("div", {className: "choice"}, kind("encoder", "label-free"), kind("posterior", "with labels")));
    if (latentsOf(chosen.run).length > 3)
      for (const [axis, letter] of [..."xyz"].entries()) {
        const list = element("select", {
          title: `Latent on axis ${letter}`,
          onchange: (event) => {
            chosen.axes[axis] = event.target.selectedIndex;
            draw();
          }
        });
        latentsOf(chosen.run).forEach(
            (_, k) => list.append(element("option", {textContent: `${letter}: latent ${k + 1}`, selected: k === chosen.axes[axis]})));
        parts.push(list);
      }
    box.replaceChildren(...parts);
    box.hidden = false;
  }

  // ---- what is drawn ----
  const {drawLatents, drawSeeds, drawLoss, drawDecoding, dark, narrow} =
      reportPlots({data, numbers, chosen, latentsOf, ofModel, unique, byId, element, draw});

  function draw() {
    drawChooser();
    drawLatents();
    drawSeeds();
    drawLoss();
    drawDecoding();
  }

  const script = document.createElement("script");
  script.textContent = new TextDecoder().decode(await unpack("plotly"));
  document.head.append(script);
  if (typeof Plotly === "undefined") return fail("The plotting script did not start.");
  draw();
  dark.addEventListener("change", draw);
  let wasNarrow = narrow(), wait = 0;
  addEventListener("resize", () => {
    clearTimeout(wait);
    wait = setTimeout(() => {
      if (narrow() !== wasNarrow) {
        wasNarrow = narrow();
        draw();
      } else drawSeeds();
    }, 150);
  });
})().catch((error) => {
  const box = document.getElementById("script-fault");
  box.hidden = false;
  box.textContent = "The plots could not be drawn: " + error.message;
  throw error;
});
