// A saved page: what a notebook does for the widget, without a kernel.

function memoryModel(state) {
  const listeners = new Map();
  return {
    get: (name) => state[name],
    set(name, value) {
      if (JSON.stringify(state[name]) === JSON.stringify(value)) return;
      state[name] = value;
      for (const listener of listeners.get(`change:${name}`) ?? []) listener();
    },
    save_changes() {},
    on(event, listener) {
      listeners.set(event, [...(listeners.get(event) ?? []), listener]);
    },
    off(event, listener) {
      listeners.set(event, (listeners.get(event) ?? []).filter((one) => one !== listener));
    },
  };
}

function bytesOf(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return new DataView(bytes.buffer);
}

// Where a page of documentation frames this one, its switch between light and dark counts.
function followFrame() {
  const name = "data-md-color-scheme";
  let around = null;
  try {
    around = parent === window ? null : parent.document.body;
  } catch {
    return; // of another origin: nothing to see
  }
  const copy = () => {
    const scheme = around.getAttribute(name);
    if (scheme) document.body.setAttribute(name, scheme);
  };
  if (!around) return;
  new MutationObserver(copy).observe(around, { attributes: true });
  copy();
}

function mountSavedPage() {
  followFrame();
  const state = JSON.parse(document.getElementById("state").textContent);
  state._data = bytesOf(document.getElementById("data").textContent);
  render({ model: memoryModel(state), el: document.getElementById("explorer") });
}

mountSavedPage();
