// Beside what htmx does: keys, and room on small screens. Without it, all can be done with links and buttons.
"use strict";

const narrow = document.getElementById("narrow");
if (narrow && matchMedia("(max-width: 52rem)").matches) narrow.open = false;

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  const box = document.getElementById("q");
  const here = document.activeElement;
  const types = here.matches("textarea, select, input:not([type=checkbox], [type=radio])");
  if (event.key === "/" && box && !types) {
    box.focus();
    box.select();
    event.preventDefault();
  }
  if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
  const links = [...document.querySelectorAll("#found a.open")];
  const place = links.indexOf(here);
  if (place < 0 && (here !== box || event.key === "ArrowUp")) return;
  const next = place + (event.key === "ArrowDown" ? 1 : -1);
  const target = next < 0 ? box : links[next];
  if (!target) return;
  target.focus();
  event.preventDefault();
});
