// The browser's half of curve.py: curves whose points are dragged, or moved with the arrow keys.

const LEAP = 5; // levels, with Shift or a page key
const GRASP = 14; // pixels: how near a point must be to be taken

function svg(tag, attributes = {}) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

// Two shapes: where one lies on the other, both are seen.
function shape(curve) {
  return curve % 2 ? "M0 -7 L7 0 L0 7 L-7 0 Z" : "M-6 -6 H6 V6 H-6 Z";
}

class Curves {
  active = 0;
  touched = false;

  constructor(model) {
    Object.assign(this, model.get("plane"));
    const [width, height] = this.size;
    this.last = this.heights.length - 1;
    this.levels = this.names.map(() => this.places.map(() => Math.round(this.last / 2)));
    this.plane = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, class: "mf-curve mf-draw" });
    this.plane.innerHTML = this.frame;
    this.lines = this.colors.map((stroke) => svg("path", { stroke, fill: "none", "stroke-width": 2 }));
    this.points = this.names.map((name, c) => this.places.map((place, k) => this.makePoint(name, c, place, k)));
    this.plane.append(...this.lines, ...this.points.flat());
    this.buttons = this.names.map((name, c) => {
      const swatch = create("i", { style: `background: ${this.colors[c]}` });
      const choice = button("", () => this.choose(c));
      choice.append(swatch, name);
      return choice;
    });
    this.output = create("output", { "aria-hidden": "true" });
    const legend = create("div", { class: "mf-row mf-legend" }, "Draw", ...this.buttons, this.output);
    const hint = create("span", { class: "mf-status" },
      "Drag over the plane. Or: Tab to a curve, left and right for the place, up and down for the height.");
    this.node = create("div", {}, legend, this.plane, hint);
    this.listen();
    this.choose(0);
  }

  makePoint(name, c, place, k) {
    const point = svg("path", {
      d: shape(c), fill: this.colors[c], role: "slider", tabindex: k ? -1 : 0,
      "aria-label": `${name}, ${place}`, "aria-orientation": "vertical",
      "aria-valuemin": this.heights[0], "aria-valuemax": this.heights[this.last],
    });
    point.addEventListener("focus", () => this.choose(c, k));
    point.addEventListener("keydown", (event) => this.onKey(event, c, k));
    return point;
  }

  listen() {
    this.plane.addEventListener("pointerdown", (event) => this.begin(event));
    this.plane.addEventListener("pointermove", (event) => this.dragged && this.drag(event));
    for (const end of ["pointerup", "pointercancel"]) {
      this.plane.addEventListener(end, () => (this.dragged = false));
    }
  }

  get() {
    const read = (line) => line.map((level) => this.heights[level]);
    return this.touched ? Object.fromEntries(this.names.map((name, c) => [name, read(this.levels[c])])) : null;
  }

  set(value) {
    if (value) {
      this.touched = true;
      this.levels = this.names.map((name) => value[name].map((height) => this.heights.indexOf(height)));
    }
    this.draw();
  }

  choose(curve, place = null) {
    this.active = curve;
    this.buttons.forEach((choice, c) => choice.setAttribute("aria-pressed", c === curve));
    this.lines.forEach((line, c) => line.setAttribute("stroke-width", c === curve ? 3 : 1.5));
    if (place === null) return;
    this.points[curve].forEach((point, k) => point.setAttribute("tabindex", k === place ? 0 : -1));
    this.say(curve, place);
  }

  say(curve, place) {
    const height = this.heights[this.levels[curve][place]];
    this.output.textContent = `${this.names[curve]}, ${this.places[place]}: ${height}`;
  }

  put(curve, place, level) {
    this.levels[curve][place] = Math.min(Math.max(level, 0), this.last);
    this.touched = true;
    this.draw();
    this.say(curve, place);
    this.node.dispatchEvent(new Event("input"));
  }

  up(level) {
    const [top, bottom] = this.edges;
    return bottom - ((bottom - top) * level) / this.last;
  }

  draw() {
    this.levels.forEach((line, c) => {
      const at = line.map((level, k) => [this.x[c][k], this.up(level)]);
      this.lines[c].setAttribute("d", `M${at.map((xy) => xy.join(" ")).join("L")}`);
      at.forEach(([x, y], k) => {
        const point = this.points[c][k];
        point.setAttribute("transform", `translate(${x} ${y})`);
        point.setAttribute("aria-valuenow", this.heights[line[k]]);
      });
    });
  }

  // A place in the drawing's own pixels.
  where(event) {
    const box = this.plane.getBoundingClientRect();
    const scale = this.size[0] / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  }

  begin(event) {
    if (event.button !== 0) return;
    event.preventDefault();
    this.plane.setPointerCapture(event.pointerId);
    const [x, y] = this.where(event);
    const near = (c) => this.levels[c].some((level, k) => Math.hypot(this.x[c][k] - x, this.up(level) - y) < GRASP);
    const taken = this.names.findIndex((_, c) => near(c));
    if (!near(this.active) && taken >= 0) this.choose(taken);
    this.dragged = true;
    this.drag(event);
  }

  drag(event) {
    const [x, y] = this.where(event);
    const [top, bottom] = this.edges;
    const away = this.x[this.active].map((at) => Math.abs(at - x));
    const place = away.indexOf(Math.min(...away));
    this.put(this.active, place, Math.round((this.last * (bottom - y)) / (bottom - top)));
    this.points[this.active][place].focus({ preventScroll: true });
  }

  onKey(event, curve, place) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const stride = event.shiftKey ? LEAP : 1;
    const rises = { ArrowUp: stride, ArrowDown: -stride, PageUp: LEAP, PageDown: -LEAP, Home: -this.last, End: this.last };
    const steps = { ArrowLeft: -1, ArrowRight: 1 };
    if (event.key in rises) this.put(curve, place, this.levels[curve][place] + rises[event.key]);
    else if (event.key in steps) this.points[curve][place + steps[event.key]]?.focus();
    else return;
    event.preventDefault();
  }
}

function makeCurve(model) {
  return new Curves(model);
}
