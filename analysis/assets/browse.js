// Search, filter and sort for tables marked data-ev-browse. Works from a file, without a library.
// Without this script the whole table is shown and the controls stay hidden.
(function () {
  "use strict";

  function fold(text) {
    return text.normalize("NFD").replace(/[\u0300-\u036f]/g, "").toLowerCase();
  }

  function cellValue(row, column) {
    var cell = row.cells[column];
    return cell.hasAttribute("data-value") ? cell.getAttribute("data-value") : cell.textContent.trim();
  }

  function start(box) {
    if (box.hasAttribute("data-ready")) { return; }
    box.setAttribute("data-ready", "");
    var table = box.querySelector("table");
    var body = table.tBodies[0];
    var rows = Array.prototype.slice.call(body.rows);
    var form = box.querySelector("form");
    var search = form.querySelector("input[type=search]");
    var selects = Array.prototype.slice.call(form.querySelectorAll("select"));
    var status = box.querySelector("[role=status]");
    var none = box.querySelector(".ev-none");
    var heads = Array.prototype.slice.call(table.tHead.rows[0].cells);
    var texts = rows.map(function (row) {
      return fold(Array.prototype.map.call(row.cells, function (cell) {
        return cell.textContent;
      }).join(" \u2063 "));
    });
    var sorted = { column: -1, down: false };
    var waiting = 0;

    function show() {
      var words = fold(search.value).split(/\s+/).filter(Boolean);
      var shown = 0;
      rows.forEach(function (row, i) {
        var keep = words.every(function (word) { return texts[i].indexOf(word) >= 0; }) &&
          selects.every(function (select) {
            return select.value === "" ||
              cellValue(row, Number(select.getAttribute("data-column"))) === select.value.slice(1);
          });
        row.hidden = !keep;
        if (keep) { shown += 1; }
      });
      none.hidden = shown > 0;
      status.textContent = shown === rows.length
        ? rows.length + " rows"
        : shown + " of " + rows.length + " rows";
    }

    function later() {
      window.clearTimeout(waiting);
      waiting = window.setTimeout(show, 120);
    }

    function sort(column) {
      if (sorted.column !== column) { sorted = { column: column, down: false }; }
      else if (!sorted.down) { sorted.down = true; }
      else { sorted = { column: -1, down: false }; }
      var order = rows.slice();
      if (sorted.column >= 0) {
        var numeric = heads[column].hasAttribute("data-numeric");
        order.sort(function (a, b) {
          var x = cellValue(a, column), y = cellValue(b, column);
          if (x === "" || y === "") { return (x === "") - (y === ""); }
          var d = numeric ? Number(x) - Number(y) : x.localeCompare(y, "en", { numeric: true });
          return sorted.down ? -d : d;
        });
      }
      order.forEach(function (row) { body.appendChild(row); });
      heads.forEach(function (head, i) {
        if (i === sorted.column) {
          head.setAttribute("aria-sort", sorted.down ? "descending" : "ascending");
        } else { head.removeAttribute("aria-sort"); }
      });
    }

    heads.forEach(function (head, column) {
      var button = document.createElement("button");
      button.type = "button";
      button.className = "ev-sort";
      button.title = "Sort by " + head.textContent.trim();
      while (head.firstChild) { button.appendChild(head.firstChild); }
      button.addEventListener("click", function () { sort(column); });
      head.appendChild(button);
    });
    form.hidden = false;
    form.addEventListener("submit", function (event) { event.preventDefault(); show(); });
    form.addEventListener("reset", function () { window.setTimeout(show, 0); });
    search.addEventListener("input", later);
    selects.forEach(function (select) { select.addEventListener("change", show); });
    show();
  }

  function all() {
    Array.prototype.forEach.call(document.querySelectorAll("[data-ev-browse]"), start);
  }

  all();
  if (document.readyState === "loading") { document.addEventListener("DOMContentLoaded", all); }
}());
