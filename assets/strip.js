// The token strip: the token under the pointer, or reached by the arrow keys, says what both models find likeliest.
(() => {
  const steps = { ArrowRight: 1, ArrowLeft: -1, Home: -1e9, End: 1e9 };

  function show(token) {
    const strip = token.parentElement;
    strip.querySelector(".at")?.classList.remove("at");
    token.classList.add("at");
    strip.parentElement.querySelector(".strip-tip").textContent = token.dataset.tip;
  }

  for (const kind of ["pointerover", "click"]) {
    document.addEventListener(kind, (event) => {
      const token = event.target.closest?.(".strip > [data-tip]");
      if (token) show(token);
    });
  }
  document.addEventListener("keydown", (event) => {
    const strip = event.target.closest?.(".strip");
    if (!strip || !(event.key in steps)) return;
    event.preventDefault();
    const tokens = [...strip.children], now = tokens.findIndex((t) => t.classList.contains("at"));
    show(tokens[Math.min(tokens.length - 1, Math.max(0, now + steps[event.key]))]);
  });
})();
