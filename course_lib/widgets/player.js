// The browser's half of player.py: decodes the sprite sheets once, draws, and keeps the clock.

const SPEEDS = [0.25, 0.5, 1, 2, 4];
const END_PAUSE = 4; // the last frame stays this many times longer before the clip starts again
const ICONS = {
  "Step back": "M4 3h2v10H4zM13 3v10L6.5 8z",
  Play: "M4 2.5v11l9-5.5z",
  Pause: "M4 3h3v10H4zM9 3h3v10H9z",
  "Step forward": "M10 3h2v10h-2zM3 3v10l6.5-5z",
};

function setIcon(node, label) {
  if (node.title === label) return;
  node.innerHTML = `<svg viewBox="0 0 16 16" aria-hidden="true"><path d="${ICONS[label]}"/></svg>`;
  node.setAttribute("aria-label", label);
  node.title = label;
}

function decode(sheet) {
  const blob = new Blob([toBytes(sheet)], { type: "image/webp" });
  return createImageBitmap(blob, { colorSpaceConversion: "none" });
}

// What all views of one model share: decoded sheets and the clock.
class Session {
  views = new Set();
  panels = [];
  speed = 1;
  timer = null;

  constructor(model) {
    this.model = model;
    model.on("change:value change:captions", () => this.refresh());
    model.on("change:panels", () => this.load());
  }

  async load() {
    const panels = this.model.get("panels");
    const bitmaps = await Promise.all(panels.map((p) => Promise.all(p.sheets.map(decode))));
    if (panels !== this.model.get("panels")) return; // replaced while it was decoded
    this.panels = panels.map((panel, k) => ({ ...panel, bitmaps: bitmaps[k] }));
    this.refresh();
  }

  refresh() {
    this.views.forEach((view) => view.draw());
  }

  get frame() {
    return this.model.get("value").frame;
  }

  get last() {
    return this.model.get("num_frames") - 1;
  }

  set(name, index) {
    this.model.set("value", { ...this.model.get("value"), [name]: index });
  }

  // The reader moves time by hand: the clip stops, the kernel hears of it.
  go(frame) {
    this.set("frame", Math.min(Math.max(frame, 0), this.last));
    this.stop();
  }

  toggle() {
    if (this.timer) this.stop();
    else this.tick();
  }

  stop() {
    clearTimeout(this.timer);
    this.timer = null;
    this.model.save_changes();
    this.refresh();
  }

  // One animation frame; nothing is sent to the kernel until the clip stops.
  tick() {
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches && this.frame === this.last;
    const watched = [...this.views].some((view) => view.visible);
    if (this.timer && (still || !watched)) return this.stop();
    const next = this.frame === this.last ? 0 : this.frame + 1;
    const beats = next === this.last ? END_PAUSE : 1;
    this.timer = setTimeout(
      () => this.tick(),
      (1000 * beats) / (this.model.get("fps") * this.speed),
    );
    this.set("frame", next);
  }
}

class View {
  visible = true;

  constructor(session, el) {
    this.session = session;
    this.model = session.model;
    this.canvases = this.model.get("panels").map(() => create("canvas", { role: "img" }));
    // Panels shrink down to half their width before they wrap.
    const figures = this.model.get("panels").map(({ title, display: size }, k) =>
      create("figure", { style: `flex: ${size} 1 ${size / 2}px; max-width: ${size}px` },
        create("figcaption", {}, title), this.canvases[k]));
    this.said = create("span");
    this.caption = create("div", { class: "mf-caption" }, this.said);
    const times = Array.from({ length: session.last + 1 }, (_, t) => `${t} / ${session.last}`);
    this.sliders = [...this.model.get("sliders"), { name: "frame", labels: times }].map(
      (slider) => this.makeSlider(slider));
    const rows = this.sliders.filter(({ name }) => this.shows(name)).flatMap(
      ({ name, input, output }) => [create("span", { "aria-hidden": "true" }, name), input, output]);
    const transport = this.makeTransport();
    this.root = create(
      "div",
      { class: "mf-player", tabindex: "0", role: "group", "aria-label": this.model.get("alt") },
      create("div", { class: "mf-title" }, this.model.get("title")),
      create("div", { class: "mf-panels" }, ...figures),
      this.caption,
      create("div", { class: "mf-controls" }, ...rows, ...(session.last ? [transport] : [])),
    );
    keepKeys(this.root, (event) => this.onKey(event));
    el.append(this.root);
    // JupyterLab detaches cells that are out of sight; what comes back is drawn afresh.
    this.observer = new IntersectionObserver(([entry]) => {
      this.visible = entry.isIntersecting;
      if (this.visible) this.draw();
    });
    this.observer.observe(this.root);
    this.resizer = new ResizeObserver(() => this.draw());
    this.resizer.observe(this.root);
  }

  // Still pictures have no time to move through.
  shows(name) {
    return name !== "frame" || this.session.last > 0;
  }

  makeSlider({ name, labels }) {
    const last = labels.length - 1;
    const input = create("input", { type: "range", min: 0, max: last, "aria-label": name });
    const size = Math.max(...labels.map((label) => label.length));
    const output = create("output", { style: `min-width:${size}ch` });
    input.addEventListener("input", () => {
      if (name === "frame" && this.session.timer) this.session.stop();
      this.session.set(name, Number(input.value));
    });
    input.addEventListener("change", () => this.model.save_changes()); // on release
    return { name, labels, input, output };
  }

  makeTransport() {
    const { session } = this;
    const iconButton = (label, action) => {
      const node = button("", action);
      setIcon(node, label);
      return node;
    };
    this.play = iconButton("Play", () => session.toggle());
    this.speed = create("select", { "aria-label": "Speed", title: "Speed" });
    for (const speed of SPEEDS) this.speed.append(create("option", { value: speed }, `${speed}×`));
    this.speed.addEventListener("change", () => {
      session.speed = Number(this.speed.value);
      session.refresh();
    });
    return create(
      "div",
      { class: "mf-transport" },
      iconButton("Step back", () => session.go(session.frame - 1)),
      this.play,
      iconButton("Step forward", () => session.go(session.frame + 1)),
      this.speed,
    );
  }

  onKey({ key, target }) {
    const { session } = this;
    const onRoot = target === this.root;
    const jumps = { ArrowLeft: session.frame - 1, ArrowRight: session.frame + 1, Home: 0, End: session.last };
    if (key === " " && (onRoot || target.type === "range")) session.toggle();
    else if (onRoot && key in jumps) session.go(jumps[key]);
    else return false;
    return true;
  }

  draw() {
    const { session, model } = this;
    const value = model.get("value");
    const state = this.sliders.reduce((n, { name, labels }) => n * labels.length + value[name], 0);
    for (const { name, labels, input, output } of this.sliders) {
      input.value = value[name];
      input.style.setProperty("--part", value[name] / Math.max(labels.length - 1, 1));
      output.textContent = labels[value[name]];
      input.setAttribute("aria-valuetext", output.textContent);
    }
    const setting = this.sliders.map(({ name, output }) => `${name} ${output.textContent}`).join(", ");
    session.panels.forEach((panel, k) => {
      this.drawPanel(this.canvases[k], panel, panel.index[state]);
      this.canvases[k].setAttribute("aria-label", `${panel.title}: ${setting}`);
    });
    const { texts, index, longest } = model.get("captions");
    this.caption.dataset.longest = longest; // its height is kept, so that nothing below jumps
    this.said.setAttribute("aria-live", session.timer ? "off" : "polite");
    this.said.textContent = texts[index[state]];
    setIcon(this.play, session.timer ? "Pause" : "Play");
    this.speed.value = session.speed;
  }

  // Enlarged by whole numbers, and CSS scales the rest smoothly: sharp and even at any width.
  // A picture of more pixels than there is room for is reduced here, because CSS does it worse.
  drawPanel(canvas, { bitmaps, width, height, columns, rows }, tile) {
    canvas.style.aspectRatio = `${width} / ${height}`;
    const room = canvas.clientWidth * devicePixelRatio;
    if (!room) return; // out of sight; drawn when it comes back
    const factor = room < width ? room / width : Math.ceil(room / width);
    const [wide, high] = [Math.round(width * factor), Math.round(height * factor)];
    if (canvas.width !== wide) canvas.width = wide;
    if (canvas.height !== high) canvas.height = high;
    const place = tile % (columns * rows);
    const x = (place % columns) * width;
    const y = Math.floor(place / columns) * height;
    const sheet = bitmaps[Math.floor(tile / (columns * rows))];
    const context = canvas.getContext("2d", { alpha: false });
    context.imageSmoothingEnabled = factor < 1;
    context.imageSmoothingQuality = "high";
    context.drawImage(sheet, x, y, width, height, 0, 0, wide, high);
  }

  close() {
    this.observer.disconnect();
    this.resizer.disconnect();
    this.session.views.delete(this);
  }
}

let Shown = View; // what a widget that builds on the player replaces

export default () => {
  let session;
  return {
    async initialize({ model }) {
      session = new Session(model);
      await session.load();
      return () => clearTimeout(session.timer);
    },
    render({ el }) {
      const view = new Shown(session, el);
      session.views.add(view);
      view.draw();
      return () => view.close();
    },
  };
};
