// The browser's half of eta_lab.py: the player, and a button that lets Python walk a cell again.

class EtaView extends View {
  constructor(session, el) {
    super(session, el);
    this.ask = button("Use my ddim_step", () => this.model.send({ redraw: this.model.get("value") }));
    this.bar = create("progress", { max: 1, "aria-label": "Progress of the walk" });
    this.note = create("span", { role: "status" });
    this.root.append(create("div", { class: "mf-redraw" }, this.ask, this.bar, this.note));
    this.stopListening = listen(this.model, ["progress", "note"], () => this.drawJob());
    this.drawJob();
  }

  drawJob() {
    const progress = this.model.get("progress");
    keepFocus(this.root, () => { this.ask.disabled = progress < 1; }, () => this.root);
    this.bar.value = progress;
    this.bar.hidden = progress === 1;
    this.note.textContent = this.model.get("note");
  }

  close() {
    this.stopListening();
    super.close();
  }
}

Shown = EtaView;
