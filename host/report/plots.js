// Draws the plots of the report: latents, every seed and split, loss parts, decoded position. What is chosen, and how it
// changes, is page.js's: `chosen` is read at each drawing, `draw` draws everything anew.
"use strict";
function reportPlots({data, numbers, chosen, latentsOf, ofModel, unique, byId, element, draw}) {
  // ---- looks ----
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const narrow = () => document.body.clientWidth < 640;
  const touch = matchMedia("(pointer: coarse)").matches;
  const hasWebGl = (() => {
    try {
      return Boolean(document.createElement("canvas").getContext("webgl"));
    } catch {
      return false;
    }
  })();
  // The buttons are named one by one: among Plotly's own set is one that sends the data to a server.
  const plotOptions = (...buttons) => ({responsive: true, displaylogo: false, showSendToCloud: false, modeBarButtons: [buttons]});
  const flatButtons = plotOptions("zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d");
  const solidButtons = plotOptions("orbitRotation", "pan3d", "zoom3d", "resetCameraDefault3d");

  function layout(height, more) {
    const small = {size: 13, color: css("--muted")};
    return Object.assign(
        {
          height,
          paper_bgcolor: "rgba(0,0,0,0)",
          plot_bgcolor: "rgba(0,0,0,0)",
          showlegend: false,
          hovermode: "closest",
          // A finger on a plot must still scroll the page; the buttons above the plot switch panning and zooming on.
          dragmode: touch ? false : "zoom",
          font: {family: "system-ui, -apple-system, Segoe UI, Roboto, Helvetica Neue, Arial, sans-serif", size: 13, color: css("--ink")},
          hoverlabel: {font: {size: 13}},
          modebar: {bgcolor: "rgba(0,0,0,0)", color: css("--faint"), activecolor: css("--ink")},
          legend: {font: small},
          margin: {l: 56, r: 14, t: 60, b: 46},
        },
        more);
  }
  const axis = (title, more) => Object.assign(
      {
        title: {text: plain(title), font: {size: 13, color: css("--muted")}, standoff: 8},
        gridcolor: css("--line"),
        zerolinecolor: css("--line"),
        linecolor: css("--line"),
        tickfont: {size: 12, color: css("--muted")},
        automargin: true,
      },
      more);
  const panelTitle = (text, xref, yref) => ({
    text,
    xref: `${xref} domain`,
    yref: `${yref} domain`,
    x: 0,
    y: 1,
    xanchor: "left",
    yanchor: "bottom",
    yshift: 6,
    showarrow: false,
    font: {size: 14, color: css("--ink")},
  });
  const withNumber = (name, i) => name + (i === 0 ? "" : i + 1);
  const withUnit = (colouring) => colouring.name + (colouring.unit ? ` (${colouring.unit})` : "");
  // Plotly reads a few HTML tags in text; names must stay what they are.
  const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

  // ---- latents ----
  const splitNames = ["train", "valid", "test"];
  const symbols = ["circle", "diamond"];

  function drawKey(colouring) {
    const box = byId("latents-key");
    const parts = [];
    if (colouring.name) parts.push(element("span", {textContent: withUnit(colouring)}));
    colouring.groups.forEach((group, g) => {
      const many = colouring.groups.length > 1;
      const bar = element(many ? "button" : "span", {className: "bar", title: many ? "show or hide" : ""});
      if (group.name) bar.append(element("b", {textContent: group.name}));
      if (group.stops.length > 1) {
        const map = element("span", {className: "map"});
        map.style.background = `linear-gradient(to right, ${group.stops.join(", ")})`;
        const tick = (value) => element("span", {textContent: String(Number(value.toPrecision(3)))});
        bar.append(tick(colouring.low), map, tick(colouring.high));
      } else if (group.name) {
        const swatch = element("span", {className: "swatch"});
        swatch.style.background = group.stops[0];
        bar.prepend(swatch);
      }
      if (many) {
        bar.type = "button";
        bar.setAttribute("aria-pressed", String(!chosen.hidden.has(g)));
        bar.onclick = () => {
          chosen.hidden.has(g) ? chosen.hidden.delete(g) : chosen.hidden.add(g);
          draw();
        };
      }
      parts.push(bar);
    });
    box.replaceChildren(...parts);
  }

  function drawLatents() {
    const run = chosen.run, set = data.sets[run.set], colouring = set.colouring;
    drawKey(colouring);
    const latents = latentsOf(run).map(numbers), value = numbers(set.value), group = numbers(set.group), time = numbers(set.time);
    const nLatents = latents.length, solid = nLatents >= 3 && hasWebGl, stacked = narrow();
    const axes = nLatents === 1 ? [latents[0], value] : chosen.axes.slice(0, solid ? 3 : 2).map((k) => latents[k]);
    const names = nLatents === 1 ? ["latent 1", withUnit(colouring)] : chosen.axes.map((k) => `latent ${k + 1}`);
    const colourscale = (stops) => (stops.length === 1 ? [[0, stops[0]], [1, stops[0]]] : stops.map((stop, i) => [i / (stops.length - 1), stop]));
    const traces = [], annotations = [], shape = {};
    let begin = 0;
    const gap = stacked ? 0.07 : solid ? 0.01 : 0.04;
    const height = stacked ? 3 * (solid ? 360 : 330) : solid ? 450 : 430;
    splitNames.forEach((name, s) => {
      const end = begin + set.kept[s];
      const all = set.kept[s] === set.of[s];
      const title = `<b>${name}</b>  ${all ? set.of[s] : `${set.kept[s]} of ${set.of[s]}`} bins`;
      const from = (s + gap / 2) / 3, to = (s + 1 - gap / 2) / 3;
      const domain = stacked ? {x: [0, 1], y: [1 - (s + 0.93) / 3, 1 - (s + 0.1) / 3]} : {x: [from + (s ? 0.012 : 0), to], y: [0, 1]};
      if (solid) {
        // A latent's scale is arbitrary: in perspective its numbers would only crowd the picture.
        const axis3 = (k) => ({
          title: {text: names[k], font: {size: 13, color: css("--map-ink")}},
          range: rangeOf(axes[k]),
          showticklabels: false,
          showspikes: false,
          showbackground: false,
          gridcolor: css("--map-line"),
          zeroline: false,
          linecolor: css("--map-line")
        });
        shape[withNumber("scene", s)] =
            {domain, xaxis: axis3(0), yaxis: axis3(1), zaxis: axis3(2), aspectmode: "cube", dragmode: "orbit", camera, bgcolor: css("--map-ground")};
        annotations.push({
          text: title,
          xref: "paper",
          yref: "paper",
          x: domain.x[0],
          y: domain.y[1],
          xanchor: "left",
          yanchor: "bottom",
          yshift: 4,
          showarrow: false,
          font: {size: 14, color: css("--ink")}
        });
      } else {
        const x = withNumber("xaxis", s), y = withNumber("yaxis", s);
        shape[x] = axis(
            stacked && s < 2 ? "" : names[0],
            {domain: domain.x, anchor: withNumber("y", s), range: rangeOf(axes[0]), gridcolor: css("--map-line"), zerolinecolor: css("--map-line")});
        shape[y] = axis(
            s === 0 || stacked ? names[1] : "",
            {domain: domain.y, anchor: withNumber("x", s), range: rangeOf(axes[1]), gridcolor: css("--map-line"), zerolinecolor: css("--map-line")});
        if (s > 0) shape[x].matches = "x", shape[y].matches = "y";
        annotations.push(panelTitle(title, withNumber("x", s), withNumber("y", s)));
      }
      colouring.groups.forEach((one, g) => {
        if (chosen.hidden.has(g)) return;
        const points = [];
        for (let i = begin; i < end; ++i)
          if (group[i] === g) points.push(i);
        const pick = (list) => points.map((i) => list[i]);
        const marker = {
          size: solid ? 3 : 5,
          symbol: solid ? "circle" : symbols[one.stops.length > 1 ? g % 2 : 0],
          color: one.stops.length > 1 ? pick(value) : one.stops[0],
          colorscale: colourscale(one.stops),
          cmin: colouring.low,
          cmax: colouring.high,
          line: {width: 0.5, color: "rgba(0,0,0,.22)"}
        };
        if (solid) marker.line = {width: 0};
        const shown = colouring.name ? `${plain(colouring.name)} %{customdata[1]:.3~g}${plain(colouring.unit ? " " + colouring.unit : "")}` : "";
        const trace = {
          mode: "markers",
          marker,
          name: plain(one.name),
          customdata: points.map((i) => [time[i], value[i]]),
          hovertemplate: [shown, plain(one.name), "at %{customdata[0]:.2f} s"].filter(Boolean).join(", ") + "<extra></extra>",
          x: pick(axes[0]),
          y: pick(axes[1])
        };
        if (solid) Object.assign(trace, {type: "scatter3d", z: pick(axes[2]), scene: withNumber("scene", s)});
        else Object.assign(trace, {type: hasWebGl ? "scattergl" : "scatter", xaxis: withNumber("x", s), yaxis: withNumber("y", s)});
        traces.push(trace);
      });
      begin = end;
    });
    const plot = byId("latents-plot");
    Plotly.react(
        plot, traces, layout(height, {
          ...shape,
          annotations,
          plot_bgcolor: css("--map-ground"),
          uirevision: run.name + chosen.latents + chosen.axes,
          margin: {l: 50, r: 10, t: 60, b: 46}
        }),
        solid ? solidButtons : flatButtons);
    if (solid && !plot.turns) {
      plot.turns = true;
      // The three panels turn together.
      plot.on("plotly_relayout", (change) => {
        const key = Object.keys(change).find((name) => /^scene\d?\.camera$/.test(name));
        if (!key || plot.turning || same(change[key], camera)) return;
        plot.turning = true;
        camera = change[key];
        const update = {};
        for (const scene of ["scene", "scene2", "scene3"])
          if (scene + ".camera" !== key) update[scene + ".camera"] = camera;
        Plotly.relayout(plot, update).then(() => {
          plot.turning = false;
        });
      });
    }
  }
  // Turning one scene is told for each of the others too: what moved by less than a pixel would go round for ever.
  const same = (a, b) => ["eye", "center", "up"].every(
      (part) => ["x", "y", "z"].every((k) => Math.abs((a[part]?.[k] ?? b[part]?.[k] ?? 0) - (b[part]?.[k] ?? a[part]?.[k] ?? 0)) < 1e-4));
  let camera = {eye: {x: 1.65, y: 1.65, z: 1.05}, center: {x: 0, y: 0, z: -0.1}};

  function rangeOf(values) {
    let low = Infinity, high = -Infinity;
    for (const value of values)
      if (value !== null) low = Math.min(low, value), high = Math.max(high, value);
    if (!(low <= high)) return [0, 1];
    const margin = 0.04 * (high - low) || 0.5;
    return [low - margin, high + margin];
  }

  // ---- every seed and split, small ----
  function colourOf(stops, share) {
    if (stops.length === 1) return stops[0];
    const place = Math.min(Math.max(share, 0), 1) * (stops.length - 1), below = Math.min(Math.floor(place), stops.length - 2), part = place - below;
    const channel = (stop, c) => parseInt(stop.slice(1 + 2 * c, 3 + 2 * c), 16);
    return `rgb(${[0, 1, 2].map((c) => Math.round(channel(stops[below], c) * (1 - part) + channel(stops[below + 1], c) * part)).join(",")})`;
  }

  function drawSeed(canvas, run) {
    const side = canvas.clientWidth, ratio = devicePixelRatio || 1;
    if (!side) return;
    canvas.width = canvas.height = Math.round(side * ratio);
    const pen = canvas.getContext("2d"), set = data.sets[run.set], colouring = set.colouring;
    const value = numbers(set.value), group = numbers(set.group), latents = latentsOf(run).map(numbers);
    const begin = set.kept[0] + set.kept[1], end = begin + set.kept[2], step = Math.max(1, Math.floor((end - begin) / 500));
    const xs = latents[0], ys = latents.length > 1 ? latents[1] : value;
    const [x0, x1] = rangeOf(xs.slice(begin, end)), [y0, y1] = rangeOf(ys.slice(begin, end));
    for (let i = begin; i < end; i += step) {
      if (xs[i] === null || ys[i] === null || chosen.hidden.has(group[i])) continue;
      pen.fillStyle = colourOf(colouring.groups[group[i]].stops, ((value[i] ?? colouring.low) - colouring.low) / (colouring.high - colouring.low));
      pen.beginPath();
      pen.arc(canvas.width * (xs[i] - x0) / (x1 - x0), canvas.height * (1 - (ys[i] - y0) / (y1 - y0)), 1.7 * ratio, 0, 7);
      pen.fill();
    }
  }

  function drawSeeds() {
    const box = byId("seeds"), mine = ofModel(chosen.run);
    const splits = unique(mine.map((run) => run.split)).sort((a, b) => a - b), seeds = unique(mine.map((run) => run.seed)).sort((a, b) => a - b);
    box.style.gridTemplateColumns = `repeat(${seeds.length}, minmax(104px, 200px))`;
    const buttons = [];
    for (const split of splits)
      for (const seed of seeds) {
        const run = mine.find((one) => one.split === split && one.seed === seed);
        if (!run) {
          buttons.push(element("span", {}));
          continue;
        }
        const button = element(
            "button", {
              type: "button",
              ariaPressed: String(run === chosen.run),
              onclick: () => {
                chosen.run = run;
                draw();
              }
            },
            element("canvas", {}), element("span", {textContent: `seed ${seed}, split ${split}`}));
        button.title = run.name;
        button.run = run;
        buttons.push(button);
      }
    box.replaceChildren(...buttons);
    for (const button of buttons)
      if (button.run) drawSeed(button.firstChild, button.run);
  }

  // ---- loss parts ----
  function valueAxis(panel) {
    if (panel.log) {
      const range = [Math.log10(panel.low / 1.5), Math.log10(panel.high * 1.5)];
      return {type: "log", range, exponentformat: "power", dtick: Math.ceil((range[1] - range[0]) / 6)};
    }
    const margin = 0.05 * (panel.high - panel.low) || 0.05;
    return {range: [panel.low - margin, panel.high + margin]};
  }

  function drawLoss() {
    const plot = byId("loss-plot");
    if (!plot) return;
    const run = chosen.run, panels = data.models[run.of_model].panels, others = ofModel(run).filter((other) => other !== run && other.epochs);
    const columns = Math.min(narrow() ? 1 : 3, panels.length), rows = Math.ceil(panels.length / columns);
    const ink = css("--ink");
    const colourOfPart = (part) =>
        (part.colour === "#555555" ? ink :
             dark.matches          ? {"#0072b2": "#56b4e9", "#d55e00": "#ff8c42"}[part.colour] || part.colour :
                                     part.colour);
    const traces = [], annotations = [], shapes = [], shape = {};
    panels.forEach((panel, p) => {
      const column = p % columns, row = Math.floor(p / columns);
      const gapX = columns > 1 ? 0.06 : 0, gapY = 0.24 / rows + 0.03;
      const width = (1 - gapX * (columns - 1)) / columns, heightShare = (1 - gapY * (rows - 1)) / rows;
      const left = column * (width + gapX), top = 1 - row * (heightShare + gapY);
      const lowest = p + columns >= panels.length;
      shape[withNumber("xaxis", p)] =
          axis(lowest ? run.counts : "", {domain: [left, left + width], anchor: withNumber("y", p), ...(p ? {matches: "x"} : {})});
      shape[withNumber("yaxis", p)] =
          axis("", {domain: [top - heightShare, top], anchor: withNumber("x", p), ...valueAxis(panel)});
      annotations.push(panelTitle(`<b>${plain(panel.title)}</b>`, withNumber("x", p), withNumber("y", p)));
      const place = {xaxis: withNumber("x", p), yaxis: withNumber("y", p), mode: "lines", type: "scatter"};
      for (const part of panel.parts) {
        const colour = colourOfPart(part);
        const x = [], y = [];
        for (const other of others) {
          x.push(...numbers(other.epochs), null);
          y.push(...numbers(other.parts[part.key][1]), null);
        }
        traces.push({...place, x, y, hoverinfo: "skip", line: {color: colour, width: 1}, opacity: 0.22});
      }
      if (run.epochs)
        for (const part of panel.parts)
          for (const [index, name, dash, width_] of [[0, "training", "dot", 1.6], [1, "validation", "solid", 2]])
            traces.push({
              ...place,
              x: numbers(run.epochs),
              y: numbers(run.parts[part.key][index]),
              name,
              line: {color: colourOfPart(part), width: width_, dash},
              hovertemplate: `${plain(part.name)}, ${name}: %{y:.4~g}<br>${run.counts} %{x}<extra></extra>`
            });
      if (run.kept_epoch !== undefined)
        shapes.push({
          type: "line",
          xref: withNumber("x", p),
          yref: withNumber("y", p) + " domain",
          x0: run.kept_epoch,
          x1: run.kept_epoch,
          y0: 0,
          y1: 1,
          line: {color: css("--faint"), width: 1, dash: "dash"}
        });
    });
    const key = byId("loss-key");
    const lineKey = (text, name, colour) => {
      const line = element("span", {className: "line " + name});
      if (colour) line.style.color = colour;
      return element("span", {className: "bar"}, line, text);
    };
    const pair = panels.map((panel) => panel.parts).find((parts) => parts.length === 2);
    key.replaceChildren(
        lineKey("validation", ""), lineKey("training", "dotted"), ...(others.length ? [lineKey("other seeds and splits, validation", "faint")] : []),
        ...(pair ? pair.map((part) => lineKey(part.name, "", colourOfPart(part))) : []),
        ...(run.kept_epoch !== undefined ? ["dashed: the epoch that was kept"] : []));
    Plotly.react(plot, traces, layout(rows * 235 + 70, {...shape, annotations, shapes, uirevision: run.name}), flatButtons);
  }

  // ---- decoded and measured position ----
  function drawDecoding() {
    const plot = byId("decoding-plot");
    if (!plot) return;
    const run = chosen.run;
    if (run.track === undefined) {
      Plotly.react(
          plot, [], layout(120, {
            xaxis: {visible: false},
            yaxis: {visible: false},
            annotations: [{text: "This run was not decoded.", showarrow: false, xref: "paper", yref: "paper", x: 0.5, y: 0.5}]
          }),
          flatButtons);
      return;
    }
    const track = data.tracks[run.track], colouring = data.sets[run.set].colouring;
    const x = numbers(track.joined), time = numbers(track.time), unit = plain(colouring.unit ? " " + colouring.unit : "");
    const traces = [
      {
        x,
        y: numbers(run.decoded),
        mode: "markers",
        type: hasWebGl ? "scattergl" : "scatter",
        name: "decoded",
        marker: {size: 4.5, color: css("--decoded"), opacity: 0.75},
        customdata: time,
        hovertemplate: `decoded %{y:.3~g}${unit}, at %{customdata:.2f} s<extra></extra>`
      },
      {
        x,
        y: numbers(track.measured),
        mode: "lines",
        type: "scatter",
        name: "measured",
        line: {width: 2, color: css("--ink")},
        connectgaps: false,
        customdata: time,
        hovertemplate: `measured %{y:.3~g}${unit}, at %{customdata:.2f} s<extra></extra>`
      },
    ];
    Plotly.react(
        plot, traces, layout(narrow() ? 310 : 360, {
          showlegend: true,
          legend: {orientation: "h", x: 1, xanchor: "right", y: 1.02, yanchor: "bottom"},
          uirevision: run.name,
          xaxis: axis("test time (s), gaps cut out", {zeroline: false, range: [x[0], x[x.length - 1]]}),
          yaxis: axis(withUnit(colouring), {zeroline: false}),
        }),
        flatButtons);
  }

  return {drawLatents, drawSeeds, drawLoss, drawDecoding, dark, narrow};
}
