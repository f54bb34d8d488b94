// Buttons in our own HTML carry data-ll (a kind) and data-value; everything foreign in that HTML is escaped text.
export default function ({ setTriggerValue }) {
  const told = (event) => {
    const button = event.target instanceof Element ? event.target.closest("button[data-ll]") : null;
    if (button) setTriggerValue("clicked", { kind: button.dataset.ll, value: button.dataset.value });
  };
  document.addEventListener("click", told);
  return () => document.removeEventListener("click", told);
}
