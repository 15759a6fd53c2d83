(function () {
  "use strict";

  var WORDS = 8;
  var SPOKEN = 3;

  // As in `phrases.number`: a plus only where signs tell support from opposition.
  function number(value, largest, signed) {
    var plus = signed ? "+" : "";
    if (!(largest > 1e-6 && largest < 1e6)) {
      var parts = Math.abs(value).toExponential(2).split("e");
      var power = Math.abs(Number(parts[1]));
      var exponent = (parts[1][0] === "-" ? "−" : "+") + (power < 10 ? "0" : "") + power;
      return (value < 0 ? "−" : plus) + parts[0] + "e" + exponent;
    }
    var decimals = Math.max(0, 2 - Math.floor(Math.log10(largest)));
    var digits = Math.abs(value).toFixed(decimals);
    return (value < 0 && Number(digits) !== 0 ? "−" : plus) + digits;
  }

  function shareText(part) {
    if (part !== 0 && Math.abs(part) < 0.005) return "<1%";
    return (part < 0 ? "−" : "") + (100 * Math.abs(part)).toFixed(0) + "%";
  }

  function percent(chance) {
    if (chance > 0 && chance < 0.001) return "<0.1%";
    return chance > 0.999 && chance < 1 ? ">99.9%" : (100 * chance).toFixed(1) + "%";
  }

  function shortened(text) {
    text = text.replace(/\s+/g, " ").trim();
    if (text.length <= 60) return text;
    var all = Array.from(text);
    return all.slice(0, 28).join("").trim() + " … " + all.slice(-28).join("").trim();
  }

  function size(values) {
    return values.reduce(function (most, value) { return Math.max(most, Math.abs(value)); }, 0) || 1;
  }

  function element(name, className, text) {
    var node = document.createElement(name);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  }

  function start(article) {
    var data = JSON.parse(article.querySelector("script[type='application/json']").textContent);
    var answer = article.querySelector(".nx-answer");
    var box = article.querySelector(".nx-prompt");
    var cells = Array.from(answer.querySelectorAll("[data-cell]"));
    var marks = Array.from(article.querySelectorAll("[data-column]"));
    var what = article.querySelector(".nx-what");
    var chance = article.querySelector(".nx-chance");
    var clear = article.querySelector(".nx-clear");
    var live = article.querySelector(".nx-live");
    var opposes = article.querySelector(".nx-legend mark.nx-against");
    var whole = what.textContent;
    var anchor = null;
    var focus = null;
    var hovered = null;
    var markOf = {};
    marks.forEach(function (mark) { markOf[mark.dataset.column] = mark; });

    function explained(range) {
      var chosen = [];
      for (var cell = range[0]; cell <= range[1]; cell++) chosen.push(cell);
      var plain = chosen.filter(function (cell) { return !data.cells[cell][1]; });
      return plain.length ? plain : chosen;
    }

    // A word counts if it stands before the last of the chosen cells, as in Python's `summed`.
    function summed(chosen) {
      var last = data.rows[chosen[chosen.length - 1]];
      return data.columns.map(function (_, column) {
        if (column >= last.length || last[column] === null) return null;
        return chosen.reduce(function (sum, cell) {
          return sum + (data.rows[cell][column] || 0);
        }, 0);
      });
    }

    function paint(mark, share, title) {
      mark.style.setProperty("--share", Math.min(1, Math.abs(share)).toFixed(3));
      mark.classList.toggle("nx-against", share < 0);
      mark.title = title;
    }

    function row(name, score, text, share, low, high, go) {
      var line = element("tr");
      var head = element("th");
      head.scope = "row";
      if (go) {
        head.dir = "auto";
        var button = element("button", "", name);
        button.type = "button";
        button.dataset.go = go;
        button.title = "Show it in the prompt";
        head.append(button);
      } else {
        head.textContent = name;
      }
      var bar = element("td");
      var track = element("span", "nx-track");
      var fill = element("i", score < 0 ? "nx-against" : "");
      var zero = element("b");
      var span = low + high || 1;
      bar.setAttribute("aria-hidden", "true");
      fill.style.left = 100 * (low + Math.min(score, 0)) / span + "%";
      fill.style.width = 100 * Math.abs(score) / span + "%";
      zero.style.left = 100 * low / span + "%";
      track.append(fill, zero);
      bar.append(track);
      line.append(head, element("td", "nx-number", text));
      if (share) line.append(element("td", "nx-share", share));
      line.append(bar);
      return line;
    }

    function fill(table, names, scores, texts, shares, columns) {
      var low = Math.max(0, -Math.min.apply(null, scores.concat(0)));
      var high = Math.max.apply(null, scores.concat(0));
      var rows = names.map(function (name, n) {
        return row(
          name, scores[n], texts[n], shares && shares[n], low, high, columns && String(columns[n])
        );
      });
      article.querySelector(table + " tbody").replaceChildren.apply(
        article.querySelector(table + " tbody"), rows
      );
    }

    function textOf(range) {
      var text = "";
      for (var node = cells[range[0]]; node; node = node.nextSibling) {
        text += node.textContent;
        if (node === cells[range[1]]) break;
      }
      return shortened(text) || "↵";
    }

    function draw(range, speak) {
      var chosen = explained(range || [0, cells.length - 1]);
      var last = chosen[chosen.length - 1];
      var sums = summed(chosen);
      var largest = size(sums.filter(function (sum, n) { return sum !== null && data.columns[n]; }));
      marks.forEach(function (mark) {
        var column = Number(mark.dataset.column);
        var sum = sums[column] === null ? 0 : sums[column];
        var title = number(sum, largest, data.signed);
        if (data.columns[column]) paint(mark, sum / largest, title);
        else mark.title = title + ", not listed or coloured";
      });
      cells.forEach(function (cell, n) {
        var sum = n < last && data.cells[n][0] >= 0 ? sums[data.cells[n][0]] : null;
        paint(cell, (sum || 0) / largest, sum === null ? "" : number(sum, largest, data.signed));
        var on = Boolean(range) && n >= range[0] && n <= range[1];
        cell.classList.toggle("nx-on", on);
        cell.setAttribute("aria-selected", String(on));
      });
      if (opposes) opposes.parentNode.hidden = !marks.concat(cells).some(function (mark) {
        return mark.classList.contains("nx-against");
      });
      var top = sums.map(function (sum, n) { return n; }).filter(function (n) {
        return data.columns[n] === 2 && sums[n] !== null;
      });
      var magnitude = top.reduce(function (sum, n) { return sum + Math.abs(sums[n]); }, 0) || 1;
      top.sort(function (a, b) { return sums[b] - sums[a] || a - b; });
      top = top.slice(0, WORDS);
      var scores = top.map(function (n) { return sums[n]; });
      var names = top.map(function (n) { return data.names[n]; });
      var texts = scores.map(function (score) { return number(score, largest, data.signed); });
      var wordShares = data.shares && scores.map(function (score) {
        return shareText(Math.abs(score) / magnitude);
      });
      fill(".nx-words", names, scores, texts, wordShares, top);
      var parts = data.parts.map(function (part) {
        return chosen.reduce(function (sum, cell) { return sum + part[cell]; }, 0);
      });
      var rest = chosen.reduce(function (sum, cell) { return sum + data.rest[cell]; }, 0);
      var total = parts.concat(rest).reduce(function (sum, part) {
        return sum + Math.abs(part);
      }, 0) || 1;
      var shares = parts.map(function (part) { return part / total; });
      fill(".nx-parts", data.part_names, shares, shares.map(shareText));
      article.querySelector(".nx-rest").textContent = shareText(rest / total);
      var named = range ? "“" + textOf(range) + "”" : whole;
      what.textContent = named;
      var chances = chosen.map(function (cell) { return data.chances[cell]; });
      var together = chances.reduce(function (product, value) { return product * value; }, 1);
      chance.textContent = !range || chances.indexOf(null) >= 0 ? "" :
        "probability " + percent(together) + (chosen.length > 1 ? ", of all its tokens together" : "");
      clear.hidden = anchor === null;
      if (speak) {
        live.textContent = named + " rests most on: " + top.slice(0, SPOKEN).map(function (n) {
          return data.names[n] + " (" + number(sums[n], largest, data.signed) + ")";
        }).join(", ");
        if (range && top.length) show(markOf[top[0]]);
      }
    }

    function show(mark) {
      var outer = box.getBoundingClientRect();
      var inner = mark.getBoundingClientRect();
      if (inner.top >= outer.top && inner.bottom <= outer.bottom) return;
      var still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
      box.scrollTo({
        top: box.scrollTop + inner.top - outer.top - (outer.height - inner.height) / 2,
        behavior: still ? "auto" : "smooth"
      });
    }

    function pinned() {
      return anchor === null ? null : [Math.min(anchor, focus), Math.max(anchor, focus)];
    }

    function pin(from, to) {
      if (anchor === from && focus === to) return;
      anchor = from;
      focus = to;
      draw(pinned(), true);
    }

    function release() {
      anchor = focus = hovered = null;
      draw(null, true);
    }

    function reach(cell) {
      cells.forEach(function (other, n) { other.tabIndex = n === cell ? 0 : -1; });
      cells[cell].focus();
    }

    function cellOf(target) {
      var cell = target instanceof Element ? target.closest("[data-cell]") : null;
      return cell ? Number(cell.dataset.cell) : null;
    }

    function selected() {
      var selection = document.getSelection();
      if (!selection || selection.isCollapsed || !selection.rangeCount) return null;
      var range = selection.getRangeAt(0);
      if (!range.intersectsNode(answer)) return null;
      var cellRange = document.createRange();
      var inside = cells.map(function (_, n) { return n; }).filter(function (n) {
        cellRange.selectNodeContents(cells[n].firstChild);
        return range.compareBoundaryPoints(Range.START_TO_END, cellRange) > 0 &&
          range.compareBoundaryPoints(Range.END_TO_START, cellRange) < 0;
      });
      return inside.length ? [inside[0], inside[inside.length - 1]] : null;
    }

    function unselect() {
      if (selected()) document.getSelection().removeAllRanges();
    }

    // Set while the script itself moves the focus, which must not select the cell it comes to.
    var keeping = false;
    answer.addEventListener("focusin", function (event) {
      var cell = cellOf(event.target);
      var range = pinned();
      if (cell === null || keeping || (range && cell >= range[0] && cell <= range[1])) return;
      cells.forEach(function (other, n) { other.tabIndex = n === cell ? 0 : -1; });
      pin(cell, cell);
    });
    answer.addEventListener("click", function (event) {
      var cell = cellOf(event.target);
      if (selected()) return;
      if (cell === null) release();
      else pin(event.shiftKey && anchor !== null ? anchor : cell, cell);
    });
    answer.addEventListener("pointerover", function (event) {
      if (event.pointerType === "touch" || anchor !== null) return;
      var cell = cellOf(event.target);
      if (cell === hovered) return;
      hovered = cell;
      draw(cell === null ? null : [cell, cell], false);
    });
    answer.addEventListener("pointerleave", function () {
      if (hovered === null) return;
      hovered = null;
      draw(pinned(), false);
    });
    document.addEventListener("selectionchange", function () {
      var range = selected();
      if (range) pin(range[0], range[1]);
    });
    answer.addEventListener("keydown", function (event) {
      if (event.altKey || event.ctrlKey || event.metaKey || cellOf(event.target) === null) return;
      var forward = getComputedStyle(answer).direction === "rtl" ? -1 : 1;
      var at = focus === null ? cellOf(event.target) : focus;
      var to = {
        ArrowRight: at + forward, ArrowLeft: at - forward, Home: 0, End: cells.length - 1,
        " ": at, Enter: at
      }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      to = Math.max(0, Math.min(cells.length - 1, to));
      var from = event.shiftKey ? (anchor === null ? at : anchor) : to;
      unselect();
      keeping = true;
      reach(to);
      keeping = false;
      pin(from, to);
    });
    article.addEventListener("keydown", function (event) {
      if (event.key !== "Escape" || anchor === null) return;
      unselect();
      release();
    });
    clear.addEventListener("click", function () {
      var cell = focus;
      unselect();
      release();
      keeping = true;
      reach(cell);
      keeping = false;
    });
    article.querySelector(".nx-words").addEventListener("click", function (event) {
      var column = event.target.dataset.go;
      if (column === undefined) return;
      box.querySelectorAll(".nx-found").forEach(function (m) { m.classList.remove("nx-found"); });
      markOf[column].classList.add("nx-found");
      show(markOf[column]);
      setTimeout(function () { markOf[column].classList.remove("nx-found"); }, 2000);
    });

    answer.setAttribute("role", "listbox");
    answer.setAttribute("aria-multiselectable", "true");
    answer.setAttribute("aria-orientation", "horizontal");
    answer.classList.add("nx-ready");
    cells.forEach(function (cell, n) {
      cell.setAttribute("role", "option");
      cell.tabIndex = n ? -1 : 0;
    });
    article.querySelector(".nx-hint").hidden = false;
    draw(null, false);
  }

  document.querySelectorAll(".nx-generation:not([data-started])").forEach(function (article) {
    article.dataset.started = "";
    start(article);
  });
})();
