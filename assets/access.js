// For ears and keys.
//
// What changes by itself is read out: gradio gives its texts no live region. They must be live before they change, and
// a page is made when it is opened: so they are looked for whenever something is focused, which precedes any change.
(() => {
  const parts = ["learn-answer", "learn-caption", "readout", "plan-readout", "status", "trouble", "held-out-status",
    "parting", "verdict", "chat-status", "measure-status", "sweep-status", "export-status"];
  const mark = () => {
    for (const id of parts) document.getElementById(id)?.setAttribute("aria-live", "polite");
  };
  for (const kind of ["focusin", "click"]) document.addEventListener(kind, () => setTimeout(mark, 100));

  // The arrow keys choose among radio buttons, as everywhere: gradio names each differently, so that they do not.
  const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
  document.addEventListener("keydown", (event) => {
    const set = event.target.matches?.("input[type=radio]") && event.target.closest("fieldset");
    if (!set || !(event.key in steps)) return;
    event.preventDefault();
    const all = [...set.querySelectorAll("input[type=radio]")], at = all.indexOf(event.target) + steps[event.key];
    const next = all[(at + all.length) % all.length];
    next.focus();
    next.click();
  });
})();
