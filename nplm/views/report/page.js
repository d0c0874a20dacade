"use strict";
(() => {
  const text = document.getElementById("words");
  const tip = document.getElementById("tip");
  if (!text || !tip) return;
  const words = Array.from(text.querySelectorAll(".w"));
  let shown = null;
  let tabStop = words[0];

  const place = () => {
    const word = shown.getClientRects()[0];
    const margin = 8;
    const widest = document.documentElement.clientWidth - tip.offsetWidth - margin;
    const left = Math.max(margin, Math.min(word.left + word.width / 2 - tip.offsetWidth / 2, widest));
    const above = word.top - tip.offsetHeight - 6;
    tip.style.left = left + "px";
    tip.style.top = (above > margin ? above : shown.getBoundingClientRect().bottom + 6) + "px";
  };
  const show = (word) => {
    if (word === shown) return;
    shown = word;
    const name = document.createElement("b");
    name.textContent = word.classList.contains("e") ? "end of sentence" : word.textContent;
    tip.replaceChildren(name, ": " + word.dataset.t);
    tip.classList.add("on");
    place();
  };
  const hide = () => {
    shown = null;
    tip.classList.remove("on");
  };
  const focus = (word) => {
    if (!word) return;
    tabStop.removeAttribute("tabindex");
    word.tabIndex = 0;
    tabStop = word;
    word.focus();
  };
  const besideLine = (word, step) => {
    let line = word.parentElement;
    do line = step > 0 ? line.nextElementSibling : line.previousElementSibling;
    while (line && !line.querySelector(".w"));
    return line && line.querySelector(".w");
  };
  const moves = {
    ArrowRight: (word) => words[words.indexOf(word) + 1],
    ArrowLeft: (word) => words[words.indexOf(word) - 1],
    ArrowDown: (word) => besideLine(word, 1),
    ArrowUp: (word) => besideLine(word, -1),
    Home: () => words[0],
    End: () => words[words.length - 1],
  };

  document.documentElement.classList.add("js");
  text.addEventListener("pointerover", (event) => {
    const word = event.target.closest(".w");
    if (word) show(word);
  });
  text.addEventListener("pointerleave", (event) => {
    if (event.pointerType === "mouse") hide();
  });
  text.addEventListener("focusin", (event) => show(event.target));
  text.addEventListener("focusout", hide);
  text.addEventListener("click", (event) => focus(event.target.closest(".w")));
  text.addEventListener("keydown", (event) => {
    const move = moves[event.key];
    if (!move || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    focus(move(event.target));
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide();
  });
  addEventListener("scroll", () => shown && place(), { passive: true });
  addEventListener("resize", () => shown && place());
})();
