// What plotly's plots on the page lack: a click on a point reaches Python, and each plot can be kept
// as SVG or CSV. `keepText` saves any text as a file, `copyText` copies it.
(() => {
  window.keepText = ({ name, text, kind }) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: kind }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };

  window.copyText = async ({ text, name, kind, button }) => {
    const label = document.getElementById(button), was = label.textContent;
    const done = await navigator.clipboard?.writeText(text).then(() => true, () => false);
    if (!done) keepText({ name, text, kind }); // not on this machine and without https, a page may not copy
    label.textContent = done ? "Copied" : "Saved";
    setTimeout(() => { label.textContent = was; }, 1500);
  };

  const plotOf = (name) => document.querySelector(`#${name} .js-plotly-plot`);

  // --- clicks: the first text in a point's customdata is written to the hidden box `<plot's id>-pick` ----------------
  const keyOf = (point) => [point.customdata].flat().find((x) => typeof x === "string" && x);

  let pressed = null;

  function pick(event) {
    const box = document.querySelector(`#${pressed.closest("[id^=plot-]")?.id}-pick :is(textarea, input)`);
    const key = event.points.map(keyOf).find(Boolean);
    if (!box || !key) return;
    const type = box.tagName === "TEXTAREA" ? HTMLTextAreaElement : HTMLInputElement;
    Object.getOwnPropertyDescriptor(type.prototype, "value").set.call(box, key);
    box.dispatchEvent(new Event("input", { bubbles: true }));
    box.dispatchEvent(new KeyboardEvent("keypress", { key: "Enter", bubbles: true })); // gradio calls that its submit
  }

  // listened to anew at every press: gradio may have drawn the plot into another element since
  document.addEventListener("pointerdown", (event) => {
    const plot = event.target.closest?.(".js-plotly-plot");
    if (!plot?.on) return;
    pressed = plot;
    plot.removeListener("plotly_click", pick);
    plot.on("plotly_click", pick);
  }, true);

  // --- drawing: at each change gradio hands a plot over whole, twice, and to a new element; each plot keeps its own
  // element here, which moves into gradio's, and only what changed is drawn ------------------------------------------
  const kept = {}; // a plot's id → its element
  const drawn = new WeakMap(); // such an element → its figure as text, without where its marks are

  function thrifty(plotly) {
    const { react } = plotly, { resize } = plotly.Plots;
    const own = (place) => {
      const name = place.closest("[id^=plot-]")?.id;
      if (!name) return place;
      kept[name] ??= document.createElement("div");
      if (kept[name].parentNode !== place) place.append(kept[name]);
      return kept[name];
    };
    plotly.react = (place, data, layout, config) => {
      const plot = own(place), { shapes = [], annotations = [], ...rest } = layout, before = drawn.get(plot);
      const still = (items) => items.filter((item) => !item.name);
      const now = JSON.stringify([data, rest, still(shapes), still(annotations)]);
      drawn.set(plot, now);
      if (before !== now) return react(plot, data, layout, config);
      for (const { name, x0 } of shapes) if (name) slide(plot, name, x0, annotations.find((a) => a.name === name).text);
      return Promise.resolve(plot);
    };
    plotly.Plots.resize = (place) => requestAnimationFrame(() => { // asked at once, a width is worked out twice
      const plot = own(place);
      if (plot.clientWidth !== plot._fullLayout?.width) resize(plot);
    });
    return plotly;
  }

  let plotly; // gradio's, once it is there
  Object.defineProperty(window, "Plotly", { get: () => plotly, set: (made) => { plotly = thrifty(made); } });

  // --- marks: the line of a name is moved, with its word; plotly's own way would draw all traces again -----------------
  function slide(plot, name, x, text) {
    const find = (list) => (list ?? []).findIndex((item) => item.name === name), { shapes, annotations } = plot.layout;
    const line = find(shapes), word = find(annotations), axis = plot._fullLayout.xaxis;
    if (line < 0 || word < 0) return;
    for (const place of [`.shapelayer [data-index="${line}"]`, `.annotation[data-index="${word}"]`]) {
      const part = plot.querySelector(place);
      if (!part) continue;
      part.dataset.from ??= shapes[line].x0; // where it was drawn
      part.setAttribute("transform", `translate(${axis.d2p(x) - axis.d2p(+part.dataset.from)},0)`);
      const said = part.querySelector(".annotation-text");
      if (said) said.textContent = text;
    }
    Object.assign(shapes[line], { x0: x, x1: x }); // for when plotly draws it itself
    Object.assign(annotations[word], { x: axis.type === "log" ? Math.log10(x) : x, text });
  }

  window.moveMark = ({ plots, name, x, text }) => {
    for (const plot of plots.map(plotOf).filter(Boolean)) slide(plot, name, x, text);
  };

  // --- SVG and CSV -----------------------------------------------------------------------------------------------
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("button[data-plot]");
    if (!button) return;
    const { plot: name, as } = button.dataset, plot = plotOf(name);
    if (!plot) return;
    if (as === "svg") Plotly.downloadImage(plot, { format: "svg", filename: name });
    else keepText({ name: `${name}.csv`, text: csv(plot), kind: "text/csv" });
  });

  // one row a point: trace, x, y, what is drawn as colour, and the columns that the trace's meta names
  function csv(plot) {
    const traces = plot._fullData.filter((t) => t.hoverinfo !== "skip"), rows = [];
    for (const t of traces) {
      if (t.z) {
        t.z.forEach((row, i) => row.forEach((z, j) => rows.push({ trace: t.name, x: at(t.x, j), y: at(t.y, i), z, ...extra(t, t.customdata?.[i]?.[j]) })));
      } else {
        for (let i = 0; i < (t.x?.length ?? 0); i++) {
          if (t.y[i] != null) rows.push({ trace: t.name, x: t.x[i], y: t.y[i], ...extra(t, t.customdata?.[i]) });
        }
      }
    }
    const names = [...new Set(rows.flatMap(Object.keys))];
    return [names, ...rows.map((r) => names.map((n) => r[n] ?? ""))].map((r) => r.map(cell).join(",")).join("\n") + "\n";
  }
  const at = (values, i) => values?.[i] ?? i;
  const extra = (trace, values) => Object.fromEntries((trace.meta ?? []).map((name, k) => [name, [values].flat()[k]]));
  const cell = (value) => /[",\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : String(value);
})();
