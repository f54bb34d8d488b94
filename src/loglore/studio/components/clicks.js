// Buttons in our own HTML carry data-ll (a kind) and data-value; everything foreign in that HTML is escaped text.
// Stopping an answer ends the page's script, so the page is told a moment later, to be drawn with what came.
// And what a mouse draws on a chart is no picture of its own to those who hear the page.
const STOP = "[data-testid=stChatInputStopButton]";
const STOPPED_MS = 500;

export default function ({ setTriggerValue }) {
  const told = (event) => {
    if (!(event.target instanceof Element)) return;
    if (event.target.closest(STOP)) {
      setTimeout(() => setTriggerValue("clicked", { kind: "stopped", value: "" }), STOPPED_MS);
    }
    const button = event.target.closest("button[data-ll]");
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
  // Before the page's own listeners, which make another button of the one that stops.
  document.addEventListener("click", told, true);
  return () => {
    watcher.disconnect();
    document.removeEventListener("click", told, true);
  };
}
