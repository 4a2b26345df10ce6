// Buttons that copy a text of the page (data-ev-copy: the id of the text) or a link to a place on
// it (data-ev-link: the id of the place). Works from a file, without a library. The buttons are
// hidden until this script runs; what they did is announced in the page's one live region.
(function () {
  "use strict";

  var BUTTONS = "button[data-ev-copy], button[data-ev-link]";
  var live = null;
  var waiting = 0;

  function wanted(button) {
    var place = button.getAttribute("data-ev-link");
    if (place !== null) {
      return window.location.href.split("#")[0] + "#" + encodeURIComponent(place);
    }
    var source = document.getElementById(button.getAttribute("data-ev-copy"));
    return source ? source.textContent : null;
  }

  // for browsers that offer no clipboard to this page
  function copySelected(text) {
    var before = document.activeElement;
    var field = document.createElement("textarea");
    field.value = text;
    field.setAttribute("aria-hidden", "true");
    field.style.position = "fixed";
    field.style.opacity = "0";
    document.body.appendChild(field);
    field.select();
    var done = false;
    try { done = document.execCommand("copy"); } catch (error) { done = false; }
    document.body.removeChild(field);
    if (before && before.focus) { before.focus(); }
    return done;
  }

  function copy(text) {
    if (!(navigator.clipboard && navigator.clipboard.writeText)) {
      return Promise.resolve(copySelected(text));
    }
    return navigator.clipboard.writeText(text).then(
      function () { return true; },
      function () { return copySelected(text); }
    );
  }

  function say(button, done) {
    var name = button.getAttribute("data-ev-name");
    var said = done ? "Copied" : "Not copied: select the text instead";
    button.textContent = said;
    button.setAttribute("data-ev-state", done ? "copied" : "failed");
    // an unchanged text would not be announced again
    live.textContent = "";
    window.setTimeout(function () {
      live.textContent = name.replace(/^Copy /, "") + (done ? ": copied" : ": not copied");
    }, 30);
    window.clearTimeout(waiting);
    waiting = window.setTimeout(function () { reset(); }, 2500);
  }

  function reset() {
    Array.prototype.forEach.call(document.querySelectorAll("[data-ev-state]"), function (button) {
      button.textContent = button.getAttribute("data-ev-name");
      button.removeAttribute("data-ev-state");
    });
  }

  function start() {
    var buttons = document.querySelectorAll(BUTTONS);
    if (!buttons.length || live) { return; }
    live = document.createElement("div");
    live.className = "ev-live";
    live.setAttribute("role", "status");
    live.setAttribute("aria-live", "polite");
    document.body.appendChild(live);
    Array.prototype.forEach.call(buttons, function (button) {
      button.setAttribute("data-ev-name", button.textContent.trim());
      button.hidden = false;
    });
    document.addEventListener("click", function (event) {
      var button = event.target.closest ? event.target.closest(BUTTONS) : null;
      if (!button) { return; }
      var text = wanted(button);
      if (text === null) { say(button, false); return; }
      copy(text).then(function (done) { say(button, done); });
    });
  }

  if (document.readyState === "loading") { document.addEventListener("DOMContentLoaded", start); }
  else { start(); }
}());
