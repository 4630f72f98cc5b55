// The browser's half of which_is_real.py: plays two clips side by side and sends what was picked.

const SIDES = ["left", "right"];
const END_PAUSE = 4; // frames that the last one stays before the clips start again

function decode(sheet) {
  const blob = new Blob([toBytes(sheet)], { type: "image/webp" });
  return createImageBitmap(blob, { colorSpaceConversion: "none" });
}

class View {
  frame = 0;
  timer = null;
  visible = true;
  pair = [];

  constructor(model, el) {
    this.model = model;
    const width = model.get("width");
    this.canvases = SIDES.map((side) =>
      create("canvas", { role: "img", "aria-label": `The ${side} clip`, style: `width:${width}px` }));
    this.labels = SIDES.map(() => create("span", { class: "mf-status" }));
    this.picks = SIDES.map((side) =>
      button(side === "left" ? "← Left is real" : "Right is real →", () => this.pick(side)));
    this.play = button("Play", () => this.toggle());
    this.next = button("Next round", () => this.model.send("next"), { class: "mf-main" });
    this.said = create("div", { role: "status" });
    const figures = SIDES.map((_, k) =>
      create("figure", {}, this.canvases[k], this.picks[k], this.labels[k]));
    this.root = create(
      "div",
      { class: "mf-reader", tabindex: "0", role: "group", "aria-label": model.get("alt") },
      create("div", { class: "mf-question" }, "Which one is real?"),
      create("div", { class: "mf-pair" }, ...figures),
      create("div", { class: "mf-row" }, this.play, this.next),
      this.said,
    );
    keepKeys(this.root, (event) => this.onKey(event));
    el.append(this.root);
    this.observer = new IntersectionObserver(([entry]) => {
      this.visible = entry.isIntersecting;
      if (this.visible) this.draw();
    });
    this.observer.observe(this.root);
    this.stopListening = [
      listen(model, ["clips"], () => this.load()),
      listen(model, ["said", "answer"], () => this.refresh()),
    ];
    this.update();
    this.load();
  }

  onKey({ key, target }) {
    if (key === "ArrowLeft" || key === "ArrowRight") this.pick(key === "ArrowLeft" ? "left" : "right");
    else if (target !== this.root) return false;
    else if (key === " ") this.toggle();
    else if (key === "Enter" && this.model.get("answer")) this.model.send("next");
    else return false;
    return true;
  }

  pick(side) {
    if (!this.model.get("answer")) this.model.send({ pick: side });
  }

  async load() {
    const clips = this.model.get("clips");
    const pair = await Promise.all(
      clips.map(async (clip) => ({ ...clip, bitmaps: await Promise.all(clip.sheets.map(decode)) })));
    if (clips !== this.model.get("clips")) return; // the next round came while this was decoded
    this.pair = pair;
    this.frame = 0;
    this.draw();
  }

  refresh() {
    const successor = () => (this.model.get("answer") ? this.next : this.root);
    keepFocus(this.root, () => this.update(), successor);
  }

  update() {
    const answer = this.model.get("answer");
    SIDES.forEach((side, k) => {
      this.picks[k].disabled = answer !== "";
      this.labels[k].textContent = !answer ? "" : answer === side ? "real" : "generated";
    });
    this.next.hidden = !answer;
    this.next.textContent = this.model.get("over") ? "Play again" : "Next round";
    this.said.innerHTML = this.model.get("said");
  }

  toggle() {
    if (this.timer) this.stop();
    else {
      if (this.frame === this.last) this.frame = 0;
      this.tick();
    }
  }

  stop() {
    clearTimeout(this.timer);
    this.timer = null;
    this.draw();
  }

  get last() {
    return this.pair.length ? this.pair[0].index.length - 1 : 0;
  }

  // Both clips run on one clock; with reduced motion they run once and stop.
  tick() {
    this.draw();
    const atEnd = this.frame >= this.last;
    const still = atEnd && matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (still || !this.visible || !this.root.isConnected) return this.stop();
    const wait = (1000 * (atEnd ? END_PAUSE : 1)) / this.model.get("fps");
    this.timer = setTimeout(() => {
      this.frame = atEnd ? 0 : this.frame + 1;
      this.tick();
    }, wait);
    this.play.textContent = "Pause";
  }

  draw() {
    this.play.textContent = this.timer ? "Pause" : "Play";
    this.pair.forEach((clip, k) => drawFrame(this.canvases[k], clip, this.frame, this.model.get("width")));
  }

  close() {
    clearTimeout(this.timer);
    this.observer.disconnect();
    this.stopListening.forEach((stop) => stop());
  }
}

// Whole-number squares on the canvas, then CSS scales smoothly.
function drawFrame(canvas, { bitmaps, width, height, columns, rows, index }, frame, display) {
  const factor = Math.ceil((display * devicePixelRatio) / width);
  if (canvas.width !== width * factor) canvas.width = width * factor;
  if (canvas.height !== height * factor) canvas.height = height * factor;
  const tile = index[frame];
  const place = tile % (columns * rows);
  const x = (place % columns) * width;
  const y = Math.floor(place / columns) * height;
  const context = canvas.getContext("2d", { alpha: false });
  context.imageSmoothingEnabled = false;
  const sheet = bitmaps[Math.floor(tile / (columns * rows))];
  context.drawImage(sheet, x, y, width, height, 0, 0, canvas.width, canvas.height);
}

export default {
  render({ model, el }) {
    const view = new View(model, el);
    return () => view.close();
  },
};
