// The browser's half of prediction.py: a control with a commit button, and an answer that unfolds.

let numViews = 0;

// Each control has its node, the value it is set to (null: none), and a way to set it.
function makeChoice(model) {
  const name = `mf-choice-${numViews++}`;
  const inputs = model.get("options").map((value) => create("input", { type: "radio", name, value }));
  const labels = inputs.map((input) => create("label", { class: "mf-option" }, input, input.value));
  return {
    node: create("div", {}, ...labels),
    get: () => inputs.find((input) => input.checked)?.value ?? null,
    set: (value) => inputs.forEach((input) => (input.checked = input.value === value)),
  };
}

function makeSlider(model) {
  const { low, high, step, start, labels } = model.get("scale");
  const input = create("input", {
    type: "range", min: low, max: high, step, "aria-label": model.get("question"),
  });
  const output = create("output", { "aria-hidden": "true" });
  const show = () => {
    output.textContent = labels[Math.round((input.valueAsNumber - low) / step)];
    input.setAttribute("aria-valuetext", output.textContent);
  };
  input.value = start;
  input.addEventListener("input", show);
  show();
  return {
    node: create("div", { class: "mf-scale" }, labels[0], input, labels[labels.length - 1], output),
    get: () => input.valueAsNumber,
    set: (value) => {
      if (value !== null) input.value = value;
      show();
    },
  };
}

function makeControl(model) {
  if (model.get("plane")) return makeCurve(model); // in curve.js
  return model.get("options") ? makeChoice(model) : makeSlider(model);
}

function renderPrediction(model, el) {
  const control = makeControl(model);
  const commit = button("", () => model.send({ commit: control.get() }), { class: "mf-main" });
  const status = create("span", { class: "mf-status", role: "status" });
  const question = create("legend", {}, model.get("question"));
  const root = create("div", { class: "mf-reader mf-edge" },
    create("fieldset", {}, question, control.node),
    create("div", { class: "mf-row" }, commit, status));
  const ready = () => (commit.disabled = control.get() === null);
  const update = () => {
    control.set(model.get("value"));
    commit.textContent = model.get("value") === null ? "Commit my prediction" : "Change my prediction";
    status.textContent = model.get("status");
    ready();
  };
  control.node.addEventListener("input", ready);
  keepKeys(root);
  update();
  el.append(root);
  return listen(model, ["value", "status"], update);
}

function renderReveal(model, el) {
  const root = create("div", { class: "mf-reader mf-edge", role: "status", tabindex: "-1" });
  const update = () => {
    const answer = model.get("answer");
    if (answer) {
      root.innerHTML = answer;
      return;
    }
    const anyway = button("Show me anyway", () => model.send("show"));
    root.replaceChildren(create("span", { class: "mf-status" }, model.get("folded")), anyway);
  };
  keepKeys(root);
  update();
  el.append(root);
  return listen(model, ["answer"], () => keepFocus(root, update, () => root));
}

export default {
  render({ model, el }) {
    return model.get("folded") === undefined ? renderPrediction(model, el) : renderReveal(model, el);
  },
};
