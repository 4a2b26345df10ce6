// The explorer: which trials count, by which model, over which denominator. It computes no
// statistic: it looks up what the book's build has pooled for the selection and draws it. Works
// from a file, without a library. The selection stands in the address, so that it can be shared.
(function () {
  "use strict";

  var SVG = "http://www.w3.org/2000/svg";
  var DASH = "\u2013", MINUS = "\u2212", NBSP = "\u00a0";
  var TAU = "\u03c4";

  // ------------------------------------------------------------------ numbers as text

  // a plain decimal string, rounded half up: what the book's own tables do
  function rounded(text, digits) {
    var parts = text.split("."), whole = parts[0], rest = parts[1] || "";
    while (rest.length < digits + 1) { rest += "0"; }
    var all = (whole + rest.slice(0, digits)).split("");
    if (rest.charAt(digits) >= "5") {
      var i = all.length - 1;
      while (i >= 0 && all[i] === "9") { all[i] = "0"; i -= 1; }
      if (i < 0) { all.unshift("1"); } else { all[i] = String(Number(all[i]) + 1); }
    }
    var joined = all.join("");
    var cut = joined.length - digits;
    return digits ? joined.slice(0, cut) + "." + joined.slice(cut) : joined;
  }

  function percent(value, digits) {
    return rounded((value * 100).toFixed(12), digits === undefined ? 1 : digits);
  }

  function pct(value, digits) { return percent(value, digits) + "%"; }

  function span(low, high) { return percent(low) + DASH + pct(high); }

  function words(low, high) { return pct(low) + " to " + pct(high); }

  function number(value, digits) { return rounded(value.toFixed(15), digits); }

  function count(n, name) { return n + NBSP + name + (n === 1 ? "" : "s"); }

  function listing(items) {
    if (items.length < 2) { return items.join(""); }
    return items.slice(0, -1).join(", ") + " and " + items[items.length - 1];
  }

  function sum(values) { return values.reduce(function (a, b) { return a + b; }, 0); }

  // ------------------------------------------------------------------ what was pooled

  // sets of `size` of the places 0 .. k-1, in the order in which the build wrote them
  function combinations(k, size, each) {
    var at = [], i;
    for (i = 0; i < size; i += 1) { at.push(i); }
    while (true) {
      each(at.join(" "));
      i = size - 1;
      while (i >= 0 && at[i] === k - size + i) { i -= 1; }
      if (i < 0) { return; }
      at[i] += 1;
      for (i += 1; i < size; i += 1) { at[i] = at[i - 1] + 1; }
    }
  }

  function indexOf(entry, least) {
    entry.index = entry.index || {};
    if (!entry.index[least]) {
      var k = entry.trials.length, place = 0, index = {};
      for (var size = Math.max(least, k - entry.leftOut); size <= k; size += 1) {
        combinations(k, size, function (key) { index[key] = place; place += 1; });
      }
      entry.index[least] = index;
    }
    return entry.index[least];
  }

  // the pooled values of the trials at these places; null where none were computed
  function lookUp(book, entry, basis, model, places) {
    var flat = basis.fits[model.id], at = indexOf(entry, model.least)[places.join(" ")];
    if (at === undefined || !flat) { return null; }
    var width = book.values.length, fit = {};
    book.values.forEach(function (name, i) { fit[name] = flat[at * width + i]; });
    return fit;
  }

  // ------------------------------------------------------------------ elements

  function make(name, attributes, children) {
    var node = document.createElement(name);
    Object.keys(attributes || {}).forEach(function (key) {
      if (attributes[key] !== null) { node.setAttribute(key, attributes[key]); }
    });
    (children || []).forEach(function (child) {
      node.appendChild(typeof child === "string" ? document.createTextNode(child) : child);
    });
    return node;
  }

  function draw(parent, name, attributes, text) {
    var node = document.createElementNS(SVG, name);
    Object.keys(attributes).forEach(function (key) { node.setAttribute(key, attributes[key]); });
    if (text !== undefined) { node.textContent = text; }
    parent.appendChild(node);
    return node;
  }

  function empty(node) { while (node.firstChild) { node.removeChild(node.firstChild); } }

  // ------------------------------------------------------------------ the forest plot

  function wrap(text, most) {
    var lines = [""];
    text.split(" ").forEach(function (word) {
      var last = lines[lines.length - 1];
      if (last && (last + " " + word).length > most) { lines.push(word); }
      else { lines[lines.length - 1] = last ? last + " " + word : word; }
    });
    return lines;
  }

  function paint(svg, row, y, at) {
    if (row.low === undefined) { return; }
    var x0 = at(row.low), x1 = at(row.high);
    if (row.kind === "diamond") {
      var m = at(row.at);
      draw(svg, "path", {
        "class": row.hollow ? "ev-x-hollow" : "ev-x-pooled",
        d: "M" + x0 + " " + y + "L" + m + " " + (y - 7) + "L" + x1 + " " + y + "L" + m + " " +
          (y + 7) + "Z"
      });
      return;
    }
    if (row.kind === "bar") {
      draw(svg, "path", {
        "class": "ev-x-bar", d: "M" + x0 + " " + y + "H" + x1
      });
      draw(svg, "path", {
        "class": "ev-x-end", d: "M" + x0 + " " + (y - 6) + "v12M" + x1 + " " + (y - 6) + "v12"
      });
      return;
    }
    var half = row.size / 2, x = at(row.at), out = row.out ? " ev-x-out" : "";
    draw(svg, "path", { "class": "ev-x-line" + out, d: "M" + x0 + " " + y + "H" + x1 });
    draw(svg, "rect", {
      "class": (row.hollow ? "ev-x-square ev-x-empty" : "ev-x-square") + out,
      x: x - half, y: y - half, width: row.size, height: row.size
    });
  }

  function forest(svg, rows, line, width) {
    var wide = width >= 560;
    var label = wide ? Math.min(230, Math.max(150, width * 0.3)) : 0;
    var left = wide ? label + 62 : 9, right = wide ? width - 142 : width - 19;
    var at = function (p) { return Math.round((left + p * (right - left)) * 10) / 10; };
    var y = 18, marks = [], strips = [];
    empty(svg);
    var back = draw(svg, "g", {});
    draw(svg, "text", { "class": "ev-x-small", x: 0, y: y }, "Trial");
    if (wide) {
      draw(svg, "text", { "class": "ev-x-small ev-x-right", x: label + 46, y: y }, "Events");
    }
    draw(svg, "text", { "class": "ev-x-small ev-x-right", x: width, y: y }, "Percent (95% interval)");
    y += 8;
    draw(svg, "path", { "class": "ev-x-rule", d: "M0 " + y + "H" + width });
    var top = y;
    rows.forEach(function (row) {
      var tone = (row.strong ? " ev-x-strong" : "") + (row.out || row.quiet ? " ev-x-quiet" : "");
      if (row.rule) { y += 4; draw(svg, "path", { "class": "ev-x-rule", d: "M0 " + y + "H" + width }); }
      if (wide) {
        var lines = wrap(row.label, Math.floor(label / 6.9));
        var height = 12 + 16 * lines.length, middle = y + height / 2;
        lines.forEach(function (text, i) {
          draw(svg, "text", {
            "class": "ev-x-text" + tone, x: 0,
            y: middle + 4.6 + (i - (lines.length - 1) / 2) * 16
          }, text);
        });
        draw(svg, "text", { "class": "ev-x-text ev-x-right" + tone, x: label + 46, y: middle + 4.6 }, row.counts || "");
        draw(svg, "text", { "class": "ev-x-text ev-x-right" + tone, x: width, y: middle + 4.6 }, row.value || "");
        marks.push([row, middle]);
        y += height;
        return;
      }
      y += 8;
      var room = Math.floor((width - 10) / 7.4) - (row.value || "").length;
      var text = row.label + (row.counts ? " " + row.counts : "");
      wrap(text, Math.max(room, 12)).forEach(function (part, i) {
        y += 15;
        if (i === 0) {
          draw(svg, "text", { "class": "ev-x-text ev-x-right" + tone, x: width, y: y }, row.value || "");
        }
        draw(svg, "text", { "class": "ev-x-text" + tone, x: 0, y: y }, part);
      });
      if (row.low !== undefined) {
        strips.push([y + 4, y + 22]);
        marks.push([row, y + 13]);
        y += 22;
      } else { y += 6; }
    });
    y += 3;
    if (wide) { strips.push([top, y]); }
    strips.forEach(function (strip) {
      [0, 0.25, 0.5, 0.75, 1].forEach(function (tick) {
        draw(back, "path", { "class": "ev-x-grid", d: "M" + at(tick) + " " + strip[0] + "V" + strip[1] });
      });
      if (line !== null) {
        draw(back, "path", { "class": "ev-x-dash", d: "M" + at(line) + " " + strip[0] + "V" + strip[1] });
      }
    });
    marks.forEach(function (mark) { paint(svg, mark[0], mark[1], at); });
    y += 2;
    draw(svg, "path", { "class": "ev-x-rule", d: "M" + at(0) + " " + y + "H" + at(1) });
    [0, 25, 50, 75, 100].forEach(function (tick) {
      draw(svg, "path", { "class": "ev-x-rule", d: "M" + at(tick / 100) + " " + y + "v4" });
      draw(svg, "text", { "class": "ev-x-small ev-x-middle", x: at(tick / 100), y: y + 18 },
        tick + (tick % 100 ? "" : "%"));
    });
    y += 26;
    svg.setAttribute("viewBox", "0 0 " + width + " " + y);
    svg.setAttribute("width", width);
    svg.setAttribute("height", y);
  }

  // ------------------------------------------------------------------ all selections

  var MOST_MARKS = 3000;

  // every selection that was pooled: its places, estimate and tau
  function everySelection(book, entry, basis, model) {
    var flat = basis.fits[model.id], width = book.values.length, found = [];
    if (!flat) { return found; }
    var index = indexOf(entry, model.least);
    var e = book.values.indexOf("estimate"), t = book.values.indexOf("tau");
    Object.keys(index).forEach(function (key) {
      var at = index[key] * width;
      if (flat[at + e] !== null && flat[at + t] !== null) {
        found.push({ key: key, estimate: flat[at + e], tau: flat[at + t] });
      }
    });
    return found;
  }

  // marks at estimate and tau; returns them with their places on the picture
  function cloud(svg, all, chosen, width) {
    var left = 34, right = width - 19, top = 22, bottom = 170, highest = 0.5, marks = [];
    all.forEach(function (s) { highest = Math.max(highest, s.tau); });
    var step = highest > 4 ? 2 : highest > 2 ? 1 : 0.5;
    highest = Math.ceil(highest / step) * step;
    var across = function (p) { return Math.round((left + p * (right - left)) * 10) / 10; };
    var up = function (tau) {
      return Math.round((bottom - 6 - tau / highest * (bottom - top - 12)) * 10) / 10;
    };
    empty(svg);
    draw(svg, "text", { "class": "ev-x-small", x: 0, y: 12 }, TAU + " (spread between trials)");
    for (var tau = 0; tau <= highest + 1e-9; tau += step) {
      draw(svg, "path", { "class": "ev-x-grid", d: "M" + left + " " + up(tau) + "H" + right });
      draw(svg, "text", { "class": "ev-x-small ev-x-right", x: left - 6, y: up(tau) + 4 }, tau.toFixed(1));
    }
    [0, 25, 50, 75, 100].forEach(function (tick) {
      var x = across(tick / 100);
      draw(svg, "path", { "class": "ev-x-grid", d: "M" + x + " " + top + "V" + bottom });
      draw(svg, "text", { "class": "ev-x-small ev-x-middle", x: x, y: bottom + 16 },
        tick + (tick % 100 ? "" : "%"));
    });
    var every = Math.max(1, Math.ceil(all.length / MOST_MARKS)), path = "", here = null;
    all.forEach(function (s, i) {
      var mark = { key: s.key, x: across(s.estimate), y: up(s.tau) };
      if (s.key === chosen) { here = mark; }
      if (i % every) { return; }
      marks.push(mark);
      path += "M" + (mark.x - 3.2) + " " + mark.y + "a3.2 3.2 0 1 0 6.4 0a3.2 3.2 0 1 0 -6.4 0";
    });
    draw(svg, "path", { "class": "ev-x-marks", d: path });
    if (here) {
      draw(svg, "path", { "class": "ev-x-here", d: "M" + (here.x - 8) + " " + here.y + "L" + here.x +
        " " + (here.y - 8) + "L" + (here.x + 8) + " " + here.y + "L" + here.x + " " + (here.y + 8) + "Z" });
    }
    svg.setAttribute("viewBox", "0 0 " + width + " " + (bottom + 22));
    svg.setAttribute("width", width);
    svg.setAttribute("height", bottom + 22);
    return { marks: marks, shown: marks.length };
  }

  // ------------------------------------------------------------------ the page

  function start(box) {
    if (box.hasAttribute("data-ready")) { return; }
    var book = JSON.parse(box.querySelector("script[type='application/json']").textContent);
    var form = box.querySelector("form"), output = box.querySelector(".ev-x-result");
    function part(name) { return box.querySelector("[data-part=" + name + "]"); }
    var question = part("question"), trials = part("trials"), bases = part("denominators");
    var said = part("said"), note = part("note"), svg = part("forest");
    var all = part("all"), message = part("message");
    var byId = {};
    book.estimands.forEach(function (entry) { byId[entry.id] = entry; });
    // trials that are left out, by id, whichever question is open
    var state = { entry: book.estimands[0], model: book.models[0].id, basis: "reported", out: {} };

    function basisOf(entry) {
      return entry.denominators.filter(function (b) { return b.id === state.basis; })[0] ||
        entry.denominators[0];
    }

    function modelOf() {
      return book.models.filter(function (m) { return m.id === state.model; })[0];
    }

    function places(entry) {
      return entry.trials.map(function (_, i) { return i; }).filter(function (i) {
        return !state.out[entry.trials[i][0]];
      });
    }

    // -------- address

    function address() {
      var entry = state.entry;
      var without = entry.trials.filter(function (t) { return state.out[t[0]]; });
      var fields = [
        ["estimate", entry.id], ["model", state.model], ["denominator", basisOf(entry).id],
        ["without", without.map(function (t) { return t[0]; }).join(",")], ["data", book.data]
      ];
      return "#" + fields.filter(function (f) { return f[1] !== ""; }).map(function (f) {
        return f[0] + "=" + encodeURIComponent(f[1]).replace(/%2C/g, ",");
      }).join("&");
    }

    function remember() {
      try { window.history.replaceState(null, "", address()); }
      catch (error) { window.location.replace(address()); }
    }

    // take the selection from the address; says whether there was one
    function restore() {
      var hash = window.location.hash.slice(1), fields = {}, odd = [];
      if (hash.indexOf("estimate=") < 0) { return false; }
      hash.split("&").forEach(function (pair) {
        var cut = pair.indexOf("=");
        if (cut < 0) { return; }
        try { fields[pair.slice(0, cut)] = decodeURIComponent(pair.slice(cut + 1)); }
        catch (error) { odd.push(pair); }
      });
      if (Object.prototype.hasOwnProperty.call(byId, fields.estimate)) {
        state.entry = byId[fields.estimate];
      } else { odd.push(fields.estimate); }
      state.model = book.models[0].id;
      if (fields.model) {
        if (book.models.some(function (m) { return m.id === fields.model; })) {
          state.model = fields.model;
        } else { odd.push(fields.model); }
      }
      state.basis = "reported";
      if (fields.denominator) {
        state.basis = fields.denominator;
        if (basisOf(state.entry).id !== fields.denominator) { odd.push(fields.denominator); }
      }
      state.out = {};
      (fields.without || "").split(",").filter(Boolean).forEach(function (id) {
        if (state.entry.trials.some(function (t) { return t[0] === id; })) { state.out[id] = true; }
        else { odd.push(id); }
      });
      var notes = [];
      if (odd.length) {
        notes.push("The link names what this version of the book does not have, which is left aside: " +
          listing(odd) + ".");
      }
      if (fields.data && fields.data !== book.data) {
        notes.push("The link was made with data version " + fields.data + "; these are the data of version " +
          book.data + ", so the numbers may differ.");
      }
      message.textContent = notes.join(" ");
      message.hidden = !notes.length;
      return true;
    }

    // -------- controls

    function choice(kind, name, value, checked, label, about) {
      var input = make("input", { type: kind, name: name, value: value });
      input.checked = checked;
      var text = make("span", {}, [label]);
      if (about) { text.appendChild(make("small", {}, [about])); }
      return make("label", { "class": "ev-x-choice" }, [input, text]);
    }

    function controls() {
      var entry = state.entry, basis = basisOf(entry);
      question.value = entry.id;
      empty(trials);
      entry.trials.forEach(function (trial, i) {
        var counts = basis.events[i] + " of " + basis.total[i];
        trials.appendChild(choice("checkbox", "trial", trial[0], !state.out[trial[0]], trial[1],
          counts + (trial[2] ? "; " + trial[2] : "")));
      });
      empty(bases);
      entry.denominators.forEach(function (b) {
        bases.appendChild(choice("radio", "denominator", b.id, b.id === basis.id, b.label, ""));
      });
      if (entry.denominators.length === 1) {
        bases.appendChild(make("p", { "class": "ev-x-aside" },
          ["No other denominator changes a count of this outcome."]));
      }
      Array.prototype.forEach.call(form.querySelectorAll("input[name=model]"), function (input) {
        input.checked = input.value === state.model;
      });
    }

    // -------- result

    function without(entry) {
      var gone = entry.trials.filter(function (t) { return state.out[t[0]]; });
      return gone.map(function (t) { return t[1]; });
    }

    function isLimit(fit) { return fit.tau === null && (fit.estimate === 0 || fit.estimate === 1); }

    function sentence(entry, basis, model, chosen, fit) {
      var k = chosen.length, all = entry.trials.length;
      var patients = sum(chosen.map(function (i) { return basis.total[i]; }));
      var title = entry.label + ", " + entry.population;
      if (!k) { return title + ": no trial is selected, so there is nothing to pool."; }
      var basisText = k + " of " + all + " trials, " + count(patients, "patient");
      if (k === 1) {
        var own = chosen[0] * 3;
        return title + ": one trial, " + basis.events[chosen[0]] + " of " + count(patients, "patient") +
          ", " + pct(basis.own[own]) + " (95% CI " + words(basis.own[own + 1], basis.own[own + 2]) +
          "); shown, not pooled.";
      }
      if (!fit && k < model.least) {
        return title + ": " + basisText + ". This model is offered from " + model.least +
          " trials on: with fewer its interval reaches from 0% to 100%.";
      }
      if (!fit) {
        return title + ": " + basisText + ". Selections that leave out more than " +
          count(entry.leftOut, "trial") + " are not computed; the code below does it.";
      }
      if (fit.estimate === null) {
        return title + ": " + basisText + ". This model has no finite estimate for this selection.";
      }
      if (isLimit(fit)) {
        return title + ": " + (fit.estimate === 0 ? "no events" : "an event in every patient") + " (" +
          basisText + "); 95% limits " + words(fit.ci_low, fit.ci_high) + ".";
      }
      var text = title + ": " + pct(fit.estimate) + " (95% " + model.interval + " " +
        words(fit.ci_low, fit.ci_high) + "; " + basisText + ").";
      if (fit.pi_low !== null) {
        text += " In a new trial the percentage is expected between " + pct(fit.pi_low) + " and " +
          pct(fit.pi_high) + " (95% prediction interval).";
      }
      return text + " " + TAU + NBSP + "=" + NBSP + number(fit.tau, 2) + ".";
    }

    // the result in one line, for the bar that stays in view while trials are ticked
    function brief(fit, chosen, entry) {
      var text = chosen.length + " of " + count(entry.trials.length, "trial") + ": ";
      if (!fit || fit.estimate === null) { return text + "no pooled result"; }
      return text + (isLimit(fit) ? "" : pct(fit.estimate) + " ") + "(" + span(fit.ci_low, fit.ci_high) + ")";
    }

    function comparison(entry, fit, full) {
      if (!fit || !full || fit === full || fit.estimate === null || full.estimate === null) { return ""; }
      return " All " + entry.trials.length + " trials: " + pct(full.estimate) + " (" +
        words(full.ci_low, full.ci_high) + ").";
    }

    function values(fit, chosen, basis) {
      var pooled = fit && fit.estimate !== null;
      var shown = {
        estimate: pooled && !isLimit(fit) ? pct(fit.estimate) : DASH,
        interval: pooled ? span(fit.ci_low, fit.ci_high) : DASH,
        prediction: pooled && fit.pi_low !== null ? span(fit.pi_low, fit.pi_high) : DASH,
        tau: pooled && fit.tau !== null ? number(fit.tau, 2) : DASH,
        count: String(chosen.length),
        patients: sum(chosen.map(function (i) { return basis.events[i]; })) + "/" +
          sum(chosen.map(function (i) { return basis.total[i]; }))
      };
      Object.keys(shown).forEach(function (name) { part(name).textContent = shown[name]; });
    }

    function rowsOf(entry, basis, model, chosen, fit, full) {
      var inside = {}, largest = Math.max.apply(null, basis.total);
      chosen.forEach(function (i) { inside[i] = true; });
      var rows = entry.trials.map(function (trial, i) {
        var x = basis.events[i], n = basis.total[i], own = basis.own.slice(3 * i, 3 * i + 3);
        var hollow = x === 0 || x === n;
        return {
          label: trial[1] + (basis.rebased[i] ? "" : " *"), counts: x + "/" + n, out: !inside[i],
          value: pct(own[0]) + " (" + span(own[1], own[2]).replace("%", "") + ")",
          kind: "square", at: own[0], low: own[1], high: own[2], hollow: hollow,
          size: Math.max(hollow ? 6.5 : 4.5, 14 * Math.sqrt(n / largest))
        };
      });
      function total(list) {
        return sum(list.map(function (i) { return basis.events[i]; })) + "/" +
          sum(list.map(function (i) { return basis.total[i]; }));
      }
      function pooledRow(name, f, list, more) {
        var row = { label: name, counts: total(list), low: f.ci_low, high: f.ci_high };
        if (isLimit(f)) {
          row.kind = "bar";
          row.value = "(" + span(f.ci_low, f.ci_high).replace("%", "") + ")";
        } else {
          row.kind = "diamond";
          row.at = f.estimate;
          row.value = pct(f.estimate) + " (" + span(f.ci_low, f.ci_high).replace("%", "") + ")";
        }
        Object.keys(more).forEach(function (key) { row[key] = more[key]; });
        return row;
      }
      if (fit && fit.estimate !== null) {
        rows.push(pooledRow("Pooled: " + count(chosen.length, "trial"), fit, chosen,
          { strong: true, rule: true }));
        if (fit.pi_low !== null) {
          rows.push({
            label: "Prediction interval", value: "(" + span(fit.pi_low, fit.pi_high).replace("%", "") + ")",
            kind: "bar", low: fit.pi_low, high: fit.pi_high
          });
        }
      } else {
        rows.push({
          label: !chosen.length ? "No trial selected" : chosen.length === 1
            ? "One trial: shown, not pooled" : "No pooled estimate", quiet: true, rule: true
        });
      }
      if (full && full !== fit && full.estimate !== null) {
        rows.push(pooledRow("All " + entry.trials.length + " trials", full,
          entry.trials.map(function (_, i) { return i; }), { quiet: true, hollow: true }));
      }
      return rows;
    }

    function table(rows, title) {
      var head = ["Trial", "Counts", "Events/patients", "Percent (95% interval)"];
      var body = part("rows");
      part("caption").textContent = title;
      empty(body);
      rows.forEach(function (row) {
        var counted = row.kind === "square" ? (row.out ? "left out" : "counts") : "";
        var cells = [counted, row.counts || "", row.value || ""];
        body.appendChild(make("tr", {}, [make("th", { scope: "row", "data-label": head[0] }, [row.label])].concat(
          cells.map(function (text, i) {
            return make("td", { "class": i ? "ev-num" : "ev-short", "data-label": head[i + 1] }, [text]);
          }))));
      });
    }

    function code(basis, model, chosen) {
      function list(values) { return "[" + chosen.map(function (i) { return values[i]; }).join(", ") + "]"; }
      return chosen.length
        ? "from analysis.pooling import pool\n\nfit = pool(\n    events=" + list(basis.events) +
          ",\n    total=" + list(basis.total) + ",\n    " + model.call +
          ",\n)\nprint(fit.estimate, fit.ci_low, fit.ci_high, fit.pi_low, fit.pi_high, fit.tau)"
        : "# no trial is selected";
    }

    var drawn = null;

    function redraw() {
      if (!drawn) { return; }
      var width = Math.floor(svg.parentNode.getBoundingClientRect().width);
      if (width > 0 && width !== drawn.width) {
        drawn.width = width;
        forest(svg, drawn.rows, drawn.line, Math.min(width, 780));
        if (drawn.all.length > 1) {
          drawn.marks = cloud(all, drawn.all, drawn.key, Math.min(width, 780)).marks;
        }
      }
    }

    // where the chosen selection stands among all of them
    function among(entry, basis, model, chosen, fit) {
      var list = everySelection(book, entry, basis, model), key = chosen.join(" ");
      var few = list.length < 2;
      part("among").hidden = few;
      part("save").hidden = !basis.fits[model.id];
      if (!few) {
        var estimates = list.map(function (s) { return s.estimate; });
        var range = pct(Math.min.apply(null, estimates)) + " to " + pct(Math.max.apply(null, estimates));
        var here = fit && fit.estimate !== null && !isLimit(fit);
        all.setAttribute("aria-label", "Every selection of trials: pooled percentages of " +
          list.length + " selections, " + range + ", against the spread between trials. " +
          (here ? "The chosen selection: " + pct(fit.estimate) + ", " + TAU + " " + number(fit.tau, 2) + "."
            : "The chosen selection is not among them."));
        part("about").textContent = "Every selection by this model and denominator: " + list.length +
          " pooled percentages, " + range + ". " + (list.length > MOST_MARKS
            ? "Not all of them are drawn. " : "") +
          (here ? "Diamond: the chosen one. " : "") + "A click on a mark chooses its trials.";
      }
      return { list: few ? [] : list, key: key };
    }

    function show() {
      var entry = state.entry, basis = basisOf(entry), model = modelOf(), chosen = places(entry);
      var everyone = entry.trials.map(function (_, i) { return i; });
      var full = everyone.length > 1 ? lookUp(book, entry, basis, model, everyone) : null;
      var fit = chosen.length === everyone.length ? full
        : chosen.length > 1 ? lookUp(book, entry, basis, model, chosen) : null;
      var gone = without(entry);
      var text = sentence(entry, basis, model, chosen, fit);
      var more = gone.length && chosen.length ? " Without " + listing(gone) + "." : "";
      said.textContent = text + more + comparison(entry, fit, full);
      part("now").textContent = brief(fit, chosen, entry);
      values(fit, chosen, basis);
      var kept = basis.rebased.some(function (flag) { return !flag; });
      note.textContent = "Squares: trials with 95% Wilson intervals, area by number of patients; gray: left " +
        "out; hollow: no event or all. " + (fit && fit.estimate !== null && !isLimit(fit)
        ? "Diamond: " + model.name + ". " : "") +
        (full && full !== fit ? "Hollow diamond: all trials. " : "") +
        (kept ? "* This trial keeps the denominator that its source reports: the other number is not " +
          "stated, or the count was made in a subgroup. " : "");
      var rows = rowsOf(entry, basis, model, chosen, fit, full);
      var line = fit && fit.estimate !== null && !isLimit(fit) ? fit.estimate : null;
      svg.setAttribute("aria-label", "Forest plot. " + said.textContent);
      var others = among(entry, basis, model, chosen, fit);
      drawn = { rows: rows, line: line, width: 0, all: others.list, key: others.key, marks: [] };
      redraw();
      table(rows, entry.label + ", " + entry.population + ": the selected trials and their pooled result");
      part("link").textContent = window.location.href.split("#")[0] + address();
      part("code").textContent = code(basis, model, chosen);
      var page = part("page");
      page.setAttribute("href", entry.page + "#" + entry.id);
      page.textContent = entry.label;
      part("cite").textContent = book.cite.before + entry.label + ": " + entry.population + ", " +
        (gone.length ? "without " + listing(gone) : "all trials") + " (model: " +
        model.name.replace(" (main)", "") + "; denominator: " + basis.label.toLowerCase() + "). " +
        book.cite.after + "Selection from estimate " + entry.id + "@" + book.data + ", " +
        book.cite.origin + ". " + text + " Address of the selection: " + address();
    }

    // every selection of the open question, as a file
    function csv(entry, basis, model) {
      var flat = basis.fits[model.id], width = book.values.length;
      var index = indexOf(entry, model.least), lines = [["without", "trials"].concat(book.values)];
      Object.keys(index).forEach(function (key) {
        var inside = key.split(" ").map(Number), at = index[key] * width;
        var gone = entry.trials.filter(function (t, i) { return inside.indexOf(i) < 0; });
        lines.push([gone.map(function (t) { return t[0]; }).join("; "), inside.length].concat(
          flat.slice(at, at + width).map(function (v) { return v === null ? "" : v; })));
      });
      return lines.map(function (line) { return line.join(","); }).join("\n") + "\n";
    }

    part("save").addEventListener("click", function () {
      var entry = state.entry, basis = basisOf(entry), model = modelOf();
      this.setAttribute("download", [entry.id, model.id, basis.id, "selections.csv"].join("-"));
      this.setAttribute("href", "data:text/csv;charset=utf-8," +
        encodeURIComponent(csv(entry, basis, model)));
    });

    // tick the trials whose place passes
    function take(wanted) {
      state.entry.trials.forEach(function (t, i) {
        if (wanted(i)) { delete state.out[t[0]]; } else { state.out[t[0]] = true; }
      });
      Array.prototype.forEach.call(trials.querySelectorAll("input"), function (input, i) {
        input.checked = wanted(i);
      });
      changed();
    }

    function changed() {
      message.hidden = true;
      show();
      remember();
    }

    // -------- start

    book.models.forEach(function (m) {
      part("models").appendChild(choice("radio", "model", m.id, m.id === state.model, m.name, ""));
    });
    form.addEventListener("submit", function (event) { event.preventDefault(); });
    form.addEventListener("change", function (event) {
      var input = event.target;
      if (input === question) { state.entry = byId[input.value]; controls(); }
      else if (input.name === "model") { state.model = input.value; }
      else if (input.name === "denominator") {
        state.basis = input.value;
        Array.prototype.forEach.call(trials.querySelectorAll("small"), function (small, i) {
          var basis = basisOf(state.entry), about = state.entry.trials[i][2];
          small.textContent = basis.events[i] + " of " + basis.total[i] + (about ? "; " + about : "");
        });
      } else if (input.name === "trial") {
        if (input.checked) { delete state.out[input.value]; } else { state.out[input.value] = true; }
      } else { return; }
      changed();
    });
    Array.prototype.forEach.call(form.querySelectorAll("button[data-all]"), function (button) {
      button.addEventListener("click", function () {
        var every = button.getAttribute("data-all") === "yes";
        take(function () { return every; });
      });
    });
    all.addEventListener("click", function (event) {
      var scale = all.getBoundingClientRect(), nearest = null, least = 14 * 14;
      var x = event.clientX - scale.left, y = event.clientY - scale.top;
      drawn.marks.forEach(function (mark) {
        var d = Math.pow(mark.x - x, 2) + Math.pow(mark.y - y, 2);
        if (d < least) { least = d; nearest = mark; }
      });
      if (!nearest) { return; }
      var inside = nearest.key.split(" ").map(Number);
      take(function (i) { return inside.indexOf(i) >= 0; });
    });
    window.addEventListener("hashchange", function () {
      if (restore()) { controls(); show(); }
    });
    var asked = restore();
    controls();
    form.hidden = false;
    output.hidden = false;
    part("now").hidden = false;
    box.querySelector(".ev-x-static").hidden = true;
    show();
    if (window.ResizeObserver) { new window.ResizeObserver(redraw).observe(svg.parentNode); }
    else { window.addEventListener("resize", redraw); }
    box.setAttribute("data-ready", "");
    if (asked) { box.scrollIntoView(); }
  }

  function startAll() {
    Array.prototype.forEach.call(document.querySelectorAll("[data-ev-explorer]"), start);
  }

  startAll();
}());
