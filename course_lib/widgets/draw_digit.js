// The browser's half of draw_digit.py: collects strokes and shows what a model sees of them.

const SIZE = 28;
const PAD = 448; // canvas pixels, shown at half of it
const INK_WIDTH = 0.08; // of the pad
const NEAR = 0.006; // of the pad; points nearer to the last one are left out

// 28 x 28 bytes as squares.
function drawPixels(canvas, bytes) {
  const context = canvas.getContext("2d", { alpha: false });
  const side = canvas.width / SIZE;
  bytes.forEach((value, k) => {
    context.fillStyle = `rgb(${value} ${value} ${value})`;
    context.fillRect((k % SIZE) * side, Math.floor(k / SIZE) * side, side, side);
  });
}

function drawStrokes(canvas, strokes) {
  const context = canvas.getContext("2d", { alpha: false });
  context.fillStyle = "black";
  context.fillRect(0, 0, PAD, PAD);
  Object.assign(context, { strokeStyle: "white", lineCap: "round", lineJoin: "round", lineWidth: INK_WIDTH * PAD });
  for (const stroke of strokes) {
    context.beginPath();
    stroke.forEach(([x, y]) => context.lineTo(x * PAD, y * PAD));
    const [x, y] = stroke[stroke.length - 1];
    context.lineTo(x * PAD, y * PAD); // a single point becomes a dot
    context.stroke();
  }
}

class View {
  stroke = null;

  constructor(model, el) {
    this.model = model;
    this.pad = create("canvas", {
      width: PAD, height: PAD, class: "mf-pad", role: "img", tabindex: "0",
    });
    this.seen = create("canvas", { width: 112, height: 112, role: "img", "aria-label": "What a model sees, 28 by 28 pixels" });
    this.bars = Array.from({ length: 10 }, () => create("span", { class: "mf-bar" }));
    const reading = this.bars.map((bar, k) => create("div", {}, create("span", {}, String(k)), bar));
    this.status = create("div", { role: "status" });
    this.undo = button("Undo", () => this.setStrokes(this.strokes.slice(0, -1)), { title: "Backspace" });
    this.clear = button("Clear", () => this.setStrokes([]), { title: "Delete" });
    this.done = button("", () => this.model.send("done"), { class: "mf-main", title: "Enter" });
    const digits = this.bars.map((_, k) =>
      button(String(k), () => this.take(k), { "aria-label": `A ${k} from MNIST`, class: "mf-key" }));
    this.root = create(
      "div",
      { class: "mf-reader", role: "group", "aria-label": "Draw a digit" },
      create("div", { class: "mf-pair" },
        this.pad,
        create("div", { class: "mf-side" }, this.seen, create("div", { class: "mf-bars", "aria-hidden": "true" }, ...reading))),
      create("div", { class: "mf-row" }, this.done, this.undo, this.clear),
      create("div", { class: "mf-row" }, create("span", {}, "From MNIST:"), ...digits),
      this.status,
    );
    keepKeys(this.root, (event) => this.onKey(event));
    this.pad.addEventListener("pointerdown", (event) => this.begin(event));
    this.pad.addEventListener("pointermove", (event) => this.extend(event));
    for (const name of ["pointerup", "pointercancel"])
      this.pad.addEventListener(name, () => this.end());
    el.append(this.root);
    this.stopListening = listen(model, ["strokes", "pixels", "source", "probs", "status"], () =>
      keepFocus(this.root, () => this.update(), () => this.pad));
    this.update();
  }

  get strokes() {
    return this.model.get("strokes");
  }

  setStrokes(strokes) {
    if (this.model.get("source") === "shipped" && !strokes.length) return;
    this.model.set("strokes", strokes);
    this.model.save_changes();
  }

  take(digit) {
    this.model.send({ digit });
  }

  onKey({ key, target }) {
    if (/^[0-9]$/.test(key)) this.take(Number(key));
    else if (key === "Backspace") this.undo.click();
    else if (key === "Delete") this.clear.click();
    else if (key === "Enter" && target === this.pad) this.done.click();
    else return false;
    return true;
  }

  begin(event) {
    if (event.button !== 0) return;
    event.preventDefault();
    this.pad.focus();
    this.pad.setPointerCapture(event.pointerId);
    this.stroke = [];
    this.extend(event);
  }

  extend(event) {
    if (!this.stroke) return;
    const box = this.pad.getBoundingClientRect();
    const within = (x) => Math.min(Math.max(x, 0), 1);
    const moves = event.getCoalescedEvents?.() ?? [];
    for (const { clientX, clientY } of moves.length ? moves : [event]) {
      const [x, y] = [within((clientX - box.left) / box.width), within((clientY - box.top) / box.height)];
      const last = this.stroke[this.stroke.length - 1];
      if (!last || Math.hypot(x - last[0], y - last[1]) > NEAR) this.stroke.push([x, y]);
    }
    drawStrokes(this.pad, [...this.strokes, this.stroke]);
  }

  end() {
    if (!this.stroke) return;
    const stroke = this.stroke;
    this.stroke = null;
    this.setStrokes([...this.strokes, stroke]);
  }

  update() {
    const source = this.model.get("source");
    const pixels = toBytes(this.model.get("pixels"));
    drawPixels(this.seen, pixels);
    if (!this.stroke) {
      if (this.strokes.length || source === "blank") drawStrokes(this.pad, this.strokes);
      else drawPixels(this.pad, pixels);
    }
    this.model.get("probs").forEach((p, k) => (this.bars[k].style.width = `${60 * p}px`));
    this.status.textContent = this.model.get("status");
    this.pad.setAttribute("aria-label", `The pad. ${this.model.get("status")}`);
    this.done.textContent = this.model.get("done_label");
    this.done.disabled = source === "blank";
    this.undo.disabled = this.clear.disabled = !this.strokes.length;
  }
}

export default {
  render({ model, el }) {
    const view = new View(model, el);
    return view.stopListening;
  },
};
