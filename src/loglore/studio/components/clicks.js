// Buttons in our own HTML carry data-ll (a kind) and data-value; everything foreign in that HTML is escaped text.
// And what a mouse draws on a chart is no picture of its own to those who hear the page.
export default function ({ setTriggerValue }) {
  const told = (event) => {
    const button = event.target instanceof Element ? event.target.closest("button[data-ll]") : null;
    if (button) setTriggerValue("clicked", { kind: button.dataset.ll, value: button.dataset.value });
  };
  const hide = () => {
    for (const each of document.querySelectorAll("svg g[class*='span_brush']:not([aria-hidden])")) {
      each.setAttribute("aria-hidden", "true");
    }
  };
  const watcher = new MutationObserver(hide);
  watcher.observe(document.body, { childList: true, subtree: true });
  hide();
  document.addEventListener("click", told);
  return () => {
    watcher.disconnect();
    document.removeEventListener("click", told);
  };
}
