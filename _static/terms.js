// Definitions of the words that a page marks (a.ev-term): shown at the word when it is pointed at,
// focused, or tapped; closed by Escape, by leaving, or by a tap elsewhere. Without this script the
// word is a link to the glossary. One element holds the definition, placed inside the window.
(function () {
  "use strict";

  var tip = null;
  var word = null;
  var closing = 0;

  function open(next) {
    window.clearTimeout(closing);
    if (word === next) { return; }
    close();
    word = next;
    tip.textContent = word.getAttribute("data-definition");
    tip.hidden = false;
    word.setAttribute("aria-describedby", tip.id);
    place();
  }

  function place() {
    var box = word.getClientRects()[0] || word.getBoundingClientRect();
    var room = document.documentElement.clientWidth;
    var left = Math.max(8, Math.min(box.left, room - tip.offsetWidth - 8));
    var top = box.bottom + 6;
    if (top + tip.offsetHeight > window.innerHeight && box.top > tip.offsetHeight + 6) {
      top = box.top - tip.offsetHeight - 6;
    }
    tip.style.left = left + "px";
    tip.style.top = top + "px";
  }

  function close() {
    window.clearTimeout(closing);
    if (!word) { return; }
    word.removeAttribute("aria-describedby");
    word = null;
    tip.hidden = true;
  }

  // time to move the mouse from the word to its definition
  function closeSoon() {
    window.clearTimeout(closing);
    closing = window.setTimeout(close, 250);
  }

  function term(event) {
    return event.target.closest ? event.target.closest("a.ev-term") : null;
  }

  function start() {
    if (tip || !document.querySelector("a.ev-term")) { return; }
    tip = document.createElement("div");
    tip.id = "ev-definition";
    tip.className = "ev-definition";
    tip.setAttribute("role", "tooltip");
    tip.hidden = true;
    document.body.appendChild(tip);
    tip.addEventListener("mouseenter", function () { window.clearTimeout(closing); });
    tip.addEventListener("mouseleave", closeSoon);
    document.addEventListener("mouseover", function (event) {
      var found = term(event);
      if (found) { open(found); } else if (word && !tip.contains(event.target)) { closeSoon(); }
    });
    document.addEventListener("focusin", function (event) {
      var found = term(event);
      if (found) { open(found); } else { close(); }
    });
    document.addEventListener("focusout", function (event) {
      if (term(event)) { closeSoon(); }
    });
    // a first tap explains, a second one follows the link
    var fresh = null;
    document.addEventListener("pointerdown", function (event) {
      var found = term(event);
      fresh = found && event.pointerType === "touch" && word !== found ? found : null;
      if (!found && word && !tip.contains(event.target)) { close(); }
    });
    document.addEventListener("click", function (event) {
      var found = term(event);
      if (found && found === fresh) { event.preventDefault(); open(found); }
    });
    document.addEventListener("keydown", function (event) {
      if (event.key === "Escape" && word) { close(); }
    });
    window.addEventListener("scroll", function () { if (word) { place(); } }, { passive: true });
    window.addEventListener("resize", close);
  }

  if (document.readyState === "loading") { document.addEventListener("DOMContentLoaded", start); }
  else { start(); }
}());
