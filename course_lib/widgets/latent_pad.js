// The browser's half of latent_pad.py: the player with a pad in place of its first two sliders.

const SVG_NS = "http://www.w3.org/2000/svg";
const MARGIN = { left: 46, right: 10, top: 0, bottom: 38 }; // pixels around the plane
const LEAP = 5; // grid points that Shift and an arrow key move

function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG_NS, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function nearest(values, x) {
  return values.reduce((best, value, k) => (Math.abs(value - x) < Math.abs(values[best] - x) ? k : best), 0);
}

class PadView extends View {
  constructor(session, el) {
    super(session, el);
    this.side = this.model.get("panels")[0].display;
    const wide = this.side + MARGIN.left + MARGIN.right;
    const high = this.side + MARGIN.top + MARGIN.bottom;
    this.map = svg("g");
    this.lines = [svg("path", { class: "mf-halo" }), svg("path", { class: "mf-cross" })];
    this.plane = svg("svg", {
      viewBox: `0 0 ${wide} ${high}`, class: "mf-plane", role: "slider", tabindex: "0",
      "aria-roledescription": "two-dimensional pad",
    }, this.map, ...this.lines);
    this.legend = create("div", { class: "mf-legend" });
    this.place = create("output", { class: "mf-place" });
    const style = `flex: ${wide} 1 ${wide / 2}px; max-width: ${wide}px`;
    this.root.querySelector(".mf-panels").prepend(
      create("figure", { style }, this.place, this.plane, this.legend));
    this.plane.addEventListener("pointerdown", (event) => this.begin(event));
    this.plane.addEventListener("pointermove", (event) => this.drag(event));
    for (const name of ["pointerup", "pointercancel"])
      this.plane.addEventListener(name, () => this.end());
    this.stopListening = listen(this.model, ["pad"], () => this.drawMap());
    this.drawMap();
  }

  // The cross stands for the two sliders of the plane.
  shows(name) {
    return name === "frame" && super.shows(name);
  }

  get axes() {
    const { x, y } = this.model.get("pad");
    return [x, y];
  }

  // Where a latent lies on the plane, in pixels of the drawing.
  across(x) {
    const { edges } = this.axes[0];
    return MARGIN.left + (this.side * (x - edges[0])) / (edges[edges.length - 1] - edges[0]);
  }

  up(y) {
    const { edges } = this.axes[1];
    return MARGIN.top + this.side * (1 - (y - edges[0]) / (edges[edges.length - 1] - edges[0]));
  }

  drawMap() {
    const { regions, points, names, palette } = this.model.get("pad");
    const signs = names.points.length && names.points.every((name) => name.length === 1);
    const named = signs ? [] : names.points;
    this.map.replaceChildren(
      ...(regions ? this.drawRegions(regions, palette) : []), ...this.drawFrame(),
      ...(points ?? []).map((point, n) => this.drawPoint(point, n, signs)));
    const entry = (kind) => (name, k) => create("span", {}, create("i", {
      class: `mf-${kind}`, style: `background: ${palette[k % palette.length]}`,
    }), name);
    this.legend.replaceChildren(...names.regions.map(entry("area")), ...named.map(entry("dot")));
    this.draw();
  }

  drawRegions(regions, palette) {
    const [x, y] = this.axes;
    return regions.flatMap((row, j) => row.map((k, i) => {
      const [left, right] = [this.across(x.edges[i]), this.across(x.edges[i + 1])];
      const [bottom, top] = [this.up(y.edges[j]), this.up(y.edges[j + 1])];
      return svg("rect", {
        x: left, y: top, width: right - left, height: bottom - top,
        fill: palette[k % palette.length], class: "mf-region",
      });
    }));
  }

  drawFrame() {
    const { left, top } = MARGIN;
    const [x, y] = this.axes;
    const [bottom, middle] = [top + this.side, left + this.side / 2];
    const number = (tick) => String(tick).replace("-", "\u2212");
    const put = (text, x, y, anchor) => svg("text", { x, y, "text-anchor": anchor }, text);
    return [
      svg("rect", { x: left, y: top, width: this.side, height: this.side, class: "mf-frame" }),
      ...x.ticks.map((tick) => put(number(tick), this.across(tick), bottom + 15, "middle")),
      ...y.ticks.map((tick) => put(number(tick), left - 5, this.up(tick) + 4, "end")),
      put(x.name, middle, bottom + 32, "middle"),
      svg("text", {
        "text-anchor": "middle", transform: `translate(12 ${top + this.side / 2}) rotate(-90)`,
      }, y.name),
    ];
  }

  drawPoint([x, y], n, signs) {
    const { classes, names, palette } = this.model.get("pad");
    const [inX, inY] = [x, y].map((value, k) => {
      const { edges } = this.axes[k];
      return value >= edges[0] && value <= edges[edges.length - 1];
    });
    if (!inX || !inY) return "";
    const at = { x: this.across(x), y: this.up(y) };
    const color = classes ? `fill: ${palette[classes[n] % palette.length]}` : "";
    if (!signs || !classes) return svg("circle", { cx: at.x, cy: at.y, r: 2.5, style: color, class: "mf-point" });
    const sign = names.points[classes[n]];
    return svg("text", { x: at.x, y: at.y + 3.5, "text-anchor": "middle", style: color, class: "mf-sign" }, sign);
  }

  draw() {
    super.draw();
    if (!this.map) return; // the player's half is built first
    const value = this.model.get("value");
    const [i, j] = this.axes.map(({ name }) => value[name]);
    const [x, y] = [this.across(this.axes[0].values[i]), this.up(this.axes[1].values[j])];
    const { left, top } = MARGIN;
    const cross = `M${left} ${y}H${x - 6}M${x + 6} ${y}H${left + this.side}`
      + `M${x} ${top}V${y - 6}M${x} ${y + 6}V${top + this.side}`
      + `M${x - 6} ${y}a6 6 0 1 0 12 0a6 6 0 1 0 -12 0`;
    this.lines.forEach((line) => line.setAttribute("d", cross));
    const { regions, names } = this.model.get("pad");
    const here = this.sliders.slice(0, 2).map(({ name, output }) =>
      `${name} = ${output.textContent.replace("-", "\u2212")}`).reverse().join(", ");
    this.place.textContent = regions ? `${here}: ${names.regions[regions[j][i]]}` : here;
    this.plane.setAttribute("aria-label", `${this.axes[0].name} and ${this.axes[1].name}`);
    this.plane.setAttribute("aria-valuenow", i);
    this.plane.setAttribute("aria-valuemax", this.axes[0].values.length - 1);
    this.plane.setAttribute("aria-valuetext", this.place.textContent);
  }

  go(i, j) {
    const value = { ...this.model.get("value") };
    this.axes.forEach(({ name, values }, k) => {
      value[name] = Math.min(Math.max([i, j][k], 0), values.length - 1);
    });
    this.model.set("value", value);
  }

  begin(event) {
    if (event.button !== 0) return;
    event.preventDefault();
    this.plane.focus({ preventScroll: true });
    this.plane.setPointerCapture(event.pointerId);
    this.dragged = true;
    this.drag(event);
  }

  drag(event) {
    if (!this.dragged) return;
    const box = this.plane.getBoundingClientRect();
    const scale = box.width / (this.side + MARGIN.left + MARGIN.right);
    const right = (event.clientX - box.left) / scale - MARGIN.left;
    const down = (event.clientY - box.top) / scale - MARGIN.top;
    const [i, j] = [right / this.side, 1 - down / this.side].map((part, k) => {
      const { edges, values } = this.axes[k];
      return nearest(values, edges[0] + part * (edges[edges.length - 1] - edges[0]));
    });
    this.go(i, j);
  }

  end() {
    if (!this.dragged) return;
    this.dragged = false;
    this.model.save_changes();
  }

  onKey(event) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1] };
    const { key, target, shiftKey } = event;
    if (target === this.plane && key === " " && this.session.last) {
      this.session.toggle();
      return true;
    }
    if (target !== this.plane || !(key in moves)) return super.onKey(event);
    const value = this.model.get("value");
    const [i, j] = this.axes.map(({ name }, k) => value[name] + moves[key][k] * (shiftKey ? LEAP : 1));
    this.go(i, j);
    this.model.save_changes();
    return true;
  }

  close() {
    this.stopListening();
    super.close();
  }
}

Shown = PadView;
