// What the widgets for readers share; Python puts it before each of their scripts.

function create(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function button(label, onClick, attributes = {}) {
  const node = create("button", { type: "button", ...attributes }, label);
  node.addEventListener("click", onClick);
  return node;
}

// JupyterLab would take plain keys for the notebook: arrows select cells, Enter edits one.
// `onKey` says whether it has used a key.
function keepKeys(root, onKey = () => false) {
  root.addEventListener("keydown", (event) => {
    const modified = event.ctrlKey || event.metaKey || event.altKey;
    if (modified || event.key === "Escape" || (event.key === "Enter" && event.shiftKey)) return;
    event.stopPropagation();
    if (onKey(event)) event.preventDefault();
  });
}

// Keys must not be lost when a change hides, disables or removes what has the focus.
function keepFocus(root, change, successor) {
  const before = document.activeElement;
  const had = root.contains(before);
  change();
  if (had && (before.hidden || before.disabled || !root.contains(before))) successor().focus();
}

// Binary traits arrive as DataView.
function toBytes(view) {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

// Listen until the view is removed: anywidget calls what `render` returns.
function listen(model, names, update) {
  const events = names.map((name) => `change:${name}`).join(" ");
  model.on(events, update);
  return () => model.off(events, update);
}
