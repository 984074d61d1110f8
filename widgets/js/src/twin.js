// A live view is followed by its saved twin, for readers without a kernel: hidden while it lives.

const HIDDEN = "labkit-twin-hidden";
const HOLDER = ".jp-OutputArea-child";

export function hideTwin(model, el, marks) {
  let hidden = null;
  const look = () => {
    const output = el.closest(HOLDER);
    const nested = el.closest(".widget-box");
    const next = output && !nested && model.get("has_twin") ? output.nextElementSibling : null;
    const twin = next?.querySelector(marks) ? next : null;
    if (twin === hidden) return;
    hidden?.classList.remove(HIDDEN);
    twin?.classList.add(HIDDEN);
    hidden = twin;
  };
  // The twin comes after us, and is drawn anew with each update.
  const observer = new MutationObserver(look);
  const start = () => {
    const area = el.closest(".jp-OutputArea");
    if (area) observer.observe(area, { childList: true, subtree: true });
    look();
  };
  requestAnimationFrame(start); // we are in the page by then
  return () => {
    observer.disconnect();
    hidden?.classList.remove(HIDDEN);
  };
}
