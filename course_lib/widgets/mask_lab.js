// The browser's half of mask_lab.py: what a query may see is worked out here, what the network does
// with it comes from the kernel.

const EDGE = 192; // canvas pixels of a map
const FORBIDDEN = "#34373b", HATCH = "#5a5e63", ALLOWED = "#1f4b73", OUTLINE = "#56b4e9";
const QUERY = "#ffffff", LEAK = "#ff4f8b";
const HEAT = [[31, 75, 115], [192, 86, 26], [255, 176, 0], [255, 246, 207]];
const RANGE = 4; // decades of influence between the first colour and the last
const PRESETS = { causal: "", full: "full", none: "nobody" };

// A place on the colour scale, 0 to 1, by the logarithm.
function height(x, most) {
  return Math.min(1, Math.max(0, 1 + Math.log10(x / most) / RANGE));
}

function color(part) {
  const at = part * (HEAT.length - 1);
  const k = Math.min(Math.floor(at), HEAT.length - 2);
  return `rgb(${HEAT[k].map((c, n) => Math.round(c + (at - k) * (HEAT[k + 1][n] - c))).join(" ")})`;
}

// Boolean matrices of frames by frames.
const times = (a, b) => a.map((row) => b[0].map((_, j) => row.some((x, k) => x && b[k][j])));
const identity = (n) => Array.from({ length: n }, (_, i) => Array.from({ length: n }, (_, j) => i === j));

const same = (value) => JSON.stringify([value.layer, value.block, value.query, value.mask]);

class Lab {
  constructor(model, el) {
    this.model = model;
    const { length, layers, whose, note } = model.get("scene");
    this.layer = create("select", { "aria-label": "Layer" },
      ...layers.map(({ name }, k) => create("option", { value: k }, name)));
    this.layer.addEventListener("change", () => this.choose(Number(this.layer.value)));
    this.block = create("select", { "aria-label": "Block" });
    this.block.addEventListener("change", () => this.set({ block: Number(this.block.value) }));
    this.note = create("p", { class: "mf-status" });
    const frames = [...Array(length).keys()];
    this.maps = frames.map((t) => this.makeMap(t, false));
    this.askers = frames.map((t) => this.makeMap(t, true));
    const column = (t, ...rest) => create("figure", {}, ...rest, this.maps[t]);
    const caption = (text) => create("figcaption", {}, text);
    this.strip = create("div", {
      class: "mf-strip", tabindex: "0", role: "slider", style: `--frames: ${length}`,
      "aria-label": "Query", "aria-roledescription": "place of a frame", "aria-valuemin": 0,
    }, ...frames.map((t) => column(t, caption(`frame ${t}`), this.makeThumb(t))));
    this.asking = create("div", { class: "mf-strip", style: `--frames: ${length}` },
      ...frames.map((t) => create("figure", {}, caption(`predicted ${t}`), this.askers[t])));
    this.seen = create("output", { class: "mf-seen" });
    this.cells = frames.map((i) => frames.map((j) => this.makeCell(i, j)));
    this.found = frames.map(() => frames.map(() => create("td")));
    this.title = create("caption", {});
    this.presets = Object.entries(PRESETS).map(([key, name]) =>
      button(name || whose, () => this.set({ mask: model.get("scene").presets[key] })));
    this.verdict = create("div", { class: "mf-verdict", role: "status" });
    this.editor = create("div", { class: "mf-edit" }, this.table(this.title, this.cells),
      create("div", { class: "mf-row" }, ...this.presets), ...(note ? [create("p", { class: "mf-status" }, note)] : []));
    this.root = create("div", { class: "mf-reader mf-lab", role: "group", "aria-label": "Mask laboratory" },
      create("div", { class: "mf-row" }, this.layer, this.block), this.note, this.strip, this.asking,
      this.legend(), this.seen,
      create("div", { class: "mf-tables" }, this.editor, create("div", { class: "mf-edit" },
        this.table(create("caption", {}, "Measured: row depends on column"), this.found), this.verdict)));
    keepKeys(this.root, (event) => this.onKey(event));
    el.append(this.root);
    this.stopListening = listen(model, ["value", "answer"], () => this.draw());
    this.draw();
  }

  legend() {
    const scale = [0, 0.25, 0.5, 0.75, 1].map(color).join(", ");
    const sign = (style, text) => create("span", {}, create("i", { style }), text);
    return create("div", { class: "mf-legend" },
      sign(`border: 2px solid ${QUERY}; border-radius: 50%; background: ${ALLOWED}; box-shadow: 0 0 0 1px #000000`, "query"),
      sign(`border: 2px solid ${OUTLINE}; background: ${ALLOWED}`, "may see"),
      sign(`background: linear-gradient(135deg, ${FORBIDDEN} 45%, ${HATCH} 45% 55%, ${FORBIDDEN} 55%)`, "forbidden"),
      sign(`width: 72px; background: linear-gradient(to right, ${scale})`, "measured influence, weak to strong"),
      sign(`background: ${LEAK}`, "forbidden, and yet not zero"));
  }

  makeThumb(t) {
    const { frame: [high, wide], frames } = this.model.get("scene");
    const canvas = create("canvas", { width: wide, height: high, class: "mf-thumb", role: "img", "aria-label": `Frame ${t}` });
    const context = canvas.getContext("2d");
    const image = context.createImageData(wide, high);
    const bytes = toBytes(frames), colors = bytes.length / (this.model.get("scene").length * high * wide);
    for (let k = 0; k < high * wide; k++) {
      for (let c = 0; c < 3; c++) image.data[4 * k + c] = bytes[(t * high * wide + k) * colors + (c % colors)];
      image.data[4 * k + 3] = 255;
    }
    context.putImageData(image, 0, 0);
    return canvas;
  }

  makeMap(t, asks) {
    const canvas = create("canvas", { width: EDGE, height: EDGE, class: "mf-map" });
    const pick = (event) => {
      const { side } = this.shown, box = canvas.getBoundingClientRect();
      const place = (at, from, size) => Math.min(side - 1, Math.max(0, Math.floor(((at - from) / size) * side)));
      const frame = asks === this.shown.context ? t : this.model.get("value").query[0];
      this.go(frame, place(event.clientY, box.top, box.height), place(event.clientX, box.left, box.width));
    };
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      event.preventDefault();
      this.strip.focus({ preventScroll: true });
      pick(event);
    });
    canvas.addEventListener("pointermove", (event) => event.buttons === 1 && pick(event));
    return canvas;
  }

  makeCell(i, j) {
    const cell = button("", () => this.toggle(i, j), { tabindex: i || j ? "-1" : "0" });
    cell.place = [i, j];
    return cell;
  }

  table(caption, cells) {
    const head = create("tr", {}, create("th", {}, ""), ...cells.map((_, j) => create("th", { scope: "col" }, String(j))));
    const put = (cell) => (cell.tagName === "TD" ? cell : create("td", {}, cell));
    return create("table", {}, caption, head, ...cells.map((row, i) =>
      create("tr", {}, create("th", { scope: "row" }, String(i)), ...row.map(put))));
  }

  get shown() {
    return this.model.get("scene").layers[this.model.get("value").layer];
  }

  set(change) {
    const before = this.model.get("value");
    const after = { ...before, ...change };
    if (same(before) === same(after)) return;
    this.model.set("value", after);
    this.model.save_changes();
  }

  // A layer brings its own mask; one that asks the context has another kind, which no other keeps.
  choose(layer) {
    const { layers, presets } = this.model.get("scene");
    const preset = layers[layer].preset || (this.shown.context ? "causal" : "");
    const { blocks, time, side } = layers[layer];
    const [frame, ...place] = this.model.get("value").query;
    const query = [frame, ...place.map((k) => Math.floor((k * side) / this.shown.side))];
    const block = time === "a look in every block" ? blocks : Math.min(this.model.get("value").block, blocks);
    this.set({ layer, block, query, ...(preset ? { mask: presets[preset] } : {}) });
  }

  go(t, y, x) {
    const { length } = this.model.get("scene"), { side } = this.shown;
    const within = (k, size) => Math.min(Math.max(k, 0), size - 1);
    this.set({ query: [within(t, length), within(y, side), within(x, side)] });
  }

  toggle(i, j) {
    const mask = this.model.get("value").mask.map((row) => [...row]);
    mask[i][j] = !mask[i][j];
    this.set({ mask });
  }

  onKey(event) {
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    const move = moves[event.key];
    if (!move) return false;
    if (event.target === this.strip) {
      const [t, y, x] = this.model.get("value").query;
      if (event.shiftKey) this.go(t + move[1] || 0, y, x);
      else this.step(t, y + move[0], x + move[1]);
      return true;
    }
    if (!event.target.place) return false;
    const next = this.cells[event.target.place[0] + move[0]]?.[event.target.place[1] + move[1]];
    if (next) {
      event.target.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    }
    return true;
  }

  // Beyond the left or right border of a map lies the frame beside it.
  step(t, y, x) {
    const { length } = this.model.get("scene"), { side } = this.shown;
    if (x < 0 && t > 0) return this.go(t - 1, y, side - 1);
    if (x >= side && t < length - 1) return this.go(t + 1, y, 0);
    return this.go(t, y, x);
  }

  // Which places of every frame the query may see: a choice of frames and a table of places.
  reach() {
    const { length } = this.model.get("scene"), { time, tables, side } = this.shown;
    const { block, query: [t, y, x], mask } = this.model.get("value");
    let frames = time === "one look" ? mask : identity(length);
    if (time === "a look in every block") {
      const step = mask.map((row, i) => row.map((may, j) => may || i === j));
      for (let n = 0; n < block; n++) frames = times(frames, step);
    }
    const bytes = toBytes(tables), size = side * side;
    const start = ((block - 1) * size + y * side + x) * size;
    const bit = (k) => (bytes[k >> 3] >> (7 - (k & 7))) & 1;
    return frames[t].map((may) => Array.from({ length: size }, (_, k) => may && bit(start + k) === 1));
  }

  draw() {
    const value = this.model.get("value"), answer = this.model.get("answer");
    const fresh = same(answer.for ?? value) === same(value) && answer.heat;
    const heat = fresh ? new Float32Array(toBytes(answer.heat).slice().buffer) : null;
    const reach = this.reach(), size = reach[0].length, { context } = this.shown;
    const most = heat ? heat.reduce((a, b) => Math.max(a, b), 1e-30) : 1;
    this.maps.forEach((canvas, t) => this.drawMap(canvas, reach[t],
      heat ? (k) => heat[t * size + k] : null, most, !context && t === value.query[0]));
    this.asking.hidden = !context;
    if (context) this.askers.forEach((canvas, t) =>
      this.drawMap(canvas, Array(size).fill(false), null, 1, t === value.query[0]));
    this.say(value, reach, heat, size);
    this.drawTables(value, fresh ? answer : null);
  }

  drawMap(canvas, reach, heat, most, asks) {
    const { window } = this.model.get("scene"), { side } = this.shown, cell = EDGE / side;
    const context = canvas.getContext("2d", { alpha: false });
    const line = (x0, y0, x1, y1) => { context.moveTo(x0, y0); context.lineTo(x1, y1); };
    context.fillStyle = FORBIDDEN;
    context.fillRect(0, 0, EDGE, EDGE);
    Object.assign(context, { strokeStyle: HATCH, lineWidth: 2 });
    context.beginPath();
    reach.forEach((may, k) => {
      const [x, y] = [(k % side) * cell, Math.floor(k / side) * cell];
      if (!may) line(x + 4, y + cell - 4, x + cell - 4, y + 4);
      else {
        context.fillStyle = heat && heat(k) > 0 ? color(height(heat(k), most)) : ALLOWED;
        context.fillRect(x, y, cell, cell);
      }
    });
    context.stroke();
    context.beginPath();
    Object.assign(context, { strokeStyle: "rgb(255 255 255 / 35%)", lineWidth: 1 });
    for (let k = window; k < side; k += window) {
      line(k * cell, 0, k * cell, EDGE);
      line(0, k * cell, EDGE, k * cell);
    }
    context.stroke();
    this.outline(context, reach, side, cell, line);
    if (heat) this.markLeaks(context, reach, heat, side, cell);
    if (asks) this.markQuery(context, cell);
  }

  // A line wherever a place that may be seen lies beside one that may not, or at the border.
  outline(context, reach, side, cell, line) {
    Object.assign(context, { strokeStyle: OUTLINE, lineWidth: 4 });
    context.beginPath();
    const sees = (y, x) => y >= 0 && x >= 0 && y < side && x < side && reach[y * side + x];
    reach.forEach((may, k) => {
      if (!may) return;
      const [y, x] = [Math.floor(k / side), k % side];
      const [left, top, right, bottom] = [x * cell, y * cell, (x + 1) * cell, (y + 1) * cell];
      if (!sees(y - 1, x)) line(left, top, right, top);
      if (!sees(y + 1, x)) line(left, bottom, right, bottom);
      if (!sees(y, x - 1)) line(left, top, left, bottom);
      if (!sees(y, x + 1)) line(right, top, right, bottom);
    });
    context.stroke();
  }

  markLeaks(context, reach, heat, side, cell) {
    context.fillStyle = LEAK;
    reach.forEach((may, k) => {
      if (!may && heat(k) > 0) context.fillRect((k % side) * cell, Math.floor(k / side) * cell, cell, cell);
    });
  }

  markQuery(context, cell) {
    const [, y, x] = this.model.get("value").query;
    for (const [strokeStyle, lineWidth] of [["#000000", 7], [QUERY, 4]]) {
      context.beginPath();
      context.arc((x + 0.5) * cell, (y + 0.5) * cell, 10, 0, 7);
      Object.assign(context, { strokeStyle, lineWidth });
      context.stroke();
    }
  }

  say(value, reach, heat, size) {
    const { length } = this.model.get("scene");
    const { name, note, blocks, time, context, side } = this.shown;
    const [t, y, x] = value.query, all = reach.flat();
    const used = heat ? all.filter((may, k) => may && heat[k] > 0).length : null;
    const against = heat ? all.filter((may, k) => !may && heat[k] > 0).length : 0;
    const may = all.filter(Boolean).length;
    const where = `${context ? "predicted" : "frame"} ${t}, row ${y}, column ${x}`;
    const measured = heat ? `; measured: it depends on ${used} of them` : "; measuring";
    const broken = against ? `, and on ${against} forbidden ones` : "";
    this.seen.textContent = `Query: ${where}. It may see ${may} of ${length * size} places${measured}${broken}.`;
    this.strip.setAttribute("aria-valuenow", (t * side + y) * side + x);
    this.strip.setAttribute("aria-valuemax", length * size - 1);
    this.strip.setAttribute("aria-valuetext", this.seen.textContent);
    this.note.textContent = note;
    this.layer.value = value.layer;
    const label = (k) => (time !== "a look in every block" ? `in block ${k}` : k > 1 ? `after blocks 1 to ${k}` : "after block 1");
    if (this.listed !== name)
      this.block.replaceChildren(...Array.from({ length: blocks }, (_, k) => create("option", { value: k + 1 }, label(k + 1))));
    this.listed = name;
    this.block.value = value.block;
    this.title.textContent = time === "own frame" ? "This layer has no mask in time" : "The mask: row may look at column";
    this.editor.classList.toggle("mf-idle", time === "own frame");
  }

  drawTables(value, answer) {
    const { presets } = this.model.get("scene"), { time, context } = this.shown;
    const idle = time === "own frame";
    this.cells.forEach((row, i) => row.forEach((cell, j) => {
      const may = value.mask[i][j];
      cell.setAttribute("aria-pressed", may);
      cell.setAttribute("aria-label", `${context ? "predicted" : "frame"} ${i} ${may ? "may" : "may not"} look at frame ${j}`);
      cell.disabled = idle;
    }));
    Object.keys(PRESETS).forEach((key, k) => {
      this.presets[k].disabled = idle;
      this.presets[k].setAttribute("aria-pressed", JSON.stringify(presets[key]) === JSON.stringify(value.mask));
    });
    this.verdict.textContent = answer ? answer.verdict : "Measuring.";
    this.verdict.classList.toggle("mf-leak", Boolean(answer?.leaks.length));
    if (!answer) return; // the last table stays until there is another
    const most = Math.max(...answer.frames.flat(), 1e-30);
    this.found.forEach((row, i) => row.forEach((cell, j) => {
      const x = answer.frames[i][j], leaks = answer.leaks.some(([a, b]) => a === i && b === j);
      cell.style.background = x > 0 ? color(Math.max(0.08, height(x, most))) : "";
      cell.className = leaks ? "mf-leak" : x > 0 ? "" : "mf-nothing";
      cell.textContent = leaks ? "!" : "";
      cell.title = `The output of frame ${i} on frame ${j}: ${x === 0 ? "exactly 0" : x}`;
    }));
  }
}

export default {
  render({ model, el }) {
    return new Lab(model, el).stopListening;
  },
};
