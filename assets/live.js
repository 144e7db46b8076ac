// What changes by itself is read out: gradio gives its texts no live region. They must be live before they change, and
// a page is made when it is opened: so they are looked for whenever something is focused, which precedes any change.
(() => {
  const parts = ["learn-answer", "learn-caption", "readout", "plan-readout", "status", "trouble", "held-out-status",
    "parting", "verdict", "chat-status", "measure-status", "sweep-status", "export-status"];
  const mark = () => {
    for (const id of parts) document.getElementById(id)?.setAttribute("aria-live", "polite");
  };
  for (const kind of ["focusin", "click"]) document.addEventListener(kind, () => setTimeout(mark, 100));
})();
