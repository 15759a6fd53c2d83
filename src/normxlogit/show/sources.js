(function () {
  "use strict";

  function start(article) {
    var views = JSON.parse(article.querySelector("script[type='application/json']").textContent);
    var whole = views.length - 1;
    var answer = article.querySelector(".nx-answer");
    var box = article.querySelector(".nx-box");
    var said = Array.from(answer.querySelectorAll("[data-span]"));
    var panel = article.querySelector(".nx-readings");
    var readings = Array.from(article.querySelectorAll(".nx-reading"));
    var sources = Array.from(box.querySelectorAll("[data-source]"));
    var marks = Array.from(box.querySelectorAll("[data-mark]"));
    var clear = article.querySelector(".nx-clear");
    var live = article.querySelector(".nx-live");
    var pinned = null;
    var hovered = null;

    function paint(element, hundredths) {
      element.style.setProperty("--share", (Math.abs(hundredths) / 100).toFixed(2));
      element.classList.toggle("nx-against", hundredths < 0);
    }

    function draw(span) {
      var view = views[span === null ? whole : span];
      said.forEach(function (sentence) {
        var on = span !== null && Number(sentence.dataset.span) === span;
        sentence.classList.toggle("nx-on", on);
        sentence.setAttribute("aria-selected", String(on));
      });
      readings.forEach(function (reading) {
        reading.hidden = Number(reading.dataset.view) !== (span === null ? whole : span);
      });
      sources.forEach(function (source, n) {
        var values = view.sources[n];
        paint(source, values[0]);
        source.querySelector(".nx-number").textContent = values[1];
        source.querySelector(".nx-share").textContent = values[2];
      });
      marks.forEach(function (mark) {
        var value = [].concat(view.sentences[mark.dataset.mark]);
        paint(mark, value[0]);
        mark.querySelector("small").textContent = value[1] || "";
      });
      clear.hidden = pinned === null;
    }

    function reveal(element) {
      for (var outer = element.parentElement; outer !== box; outer = outer.parentElement) {
        if (outer.localName === "details") outer.open = true;
      }
    }

    // Moves what is in the box, and never the page, unless the reader asked to be taken there.
    function show(element) {
      var outer = box.getBoundingClientRect();
      var inner = element.getBoundingClientRect();
      if (box.scrollHeight <= box.clientHeight) return;
      if (inner.top >= outer.top && inner.bottom <= outer.bottom) return;
      var still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
      box.scrollTo({
        top: box.scrollTop + inner.top - outer.top - Math.max(0, outer.height - inner.height) / 3,
        behavior: still ? "auto" : "smooth"
      });
    }

    // What is chosen must not be covered by what is said of it, which sticks to the window's end.
    function uncover(sentence) {
      var below = panel.getBoundingClientRect();
      var place = sentence.getBoundingClientRect();
      if (place.bottom <= below.top || place.top >= below.bottom) return;
      window.scrollBy(0, Math.min(place.bottom - below.top + 8, place.top - 8));
    }

    function pin(span) {
      if (pinned === span) return;
      pinned = span;
      article.classList.toggle("nx-pinned", span !== null);
      draw(span);
      live.textContent = views[span === null ? whole : span].spoken;
      if (span === null) return;
      var top = views[span].top;
      var mark = top.length > 1 && box.querySelector("[data-mark='" + top[1] + "']");
      sources[top[0]].open = true;
      if (mark) reveal(mark);
      show(mark || sources[top[0]]);
      uncover(said.find(function (sentence) { return Number(sentence.dataset.span) === span; }));
    }

    function go(number) {
      var source = sources[number];
      source.open = true;
      (source.querySelector("summary") || source).focus();
      source.scrollIntoView({ block: "nearest" });
      sources.forEach(function (other) { other.classList.toggle("nx-found", other === source); });
      setTimeout(function () { source.classList.remove("nx-found"); }, 2000);
    }

    function spanOf(target) {
      var sentence = target instanceof Element ? target.closest("[data-span]") : null;
      return sentence ? Number(sentence.dataset.span) : null;
    }

    function reach(place) {
      said.forEach(function (other, n) { other.tabIndex = n === place ? 0 : -1; });
      said[place].focus();
    }

    // Set while the script itself moves the focus, which must not choose the sentence it comes to.
    var keeping = false;
    answer.addEventListener("focusin", function (event) {
      var span = spanOf(event.target);
      if (span !== null && !keeping) pin(span);
    });
    answer.addEventListener("click", function (event) {
      var span = spanOf(event.target);
      if (span === null && event.target.closest(".nx-cite")) return;
      if (span === null) pin(null);
      else reach(said.indexOf(event.target.closest("[data-span]")));
    });
    answer.addEventListener("pointerover", function (event) {
      if (event.pointerType === "touch" || pinned !== null) return;
      var span = spanOf(event.target);
      if (span === hovered) return;
      hovered = span;
      draw(span);
    });
    answer.addEventListener("pointerleave", function () {
      if (hovered === null) return;
      hovered = null;
      draw(pinned);
    });
    answer.addEventListener("keydown", function (event) {
      var at = said.indexOf(event.target);
      if (at < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
      var forward = getComputedStyle(answer).direction === "rtl" ? -1 : 1;
      var to = {
        ArrowRight: at + forward, ArrowDown: at + 1, ArrowLeft: at - forward, ArrowUp: at - 1,
        Home: 0, End: said.length - 1, " ": at, Enter: at
      }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      to = Math.max(0, Math.min(said.length - 1, to));
      reach(to);
      pin(Number(said[to].dataset.span));
    });
    article.addEventListener("keydown", function (event) {
      if (event.key === "Escape" && pinned !== null) pin(null);
    });
    clear.addEventListener("click", function () {
      pin(null);
      keeping = true;
      said.find(function (sentence) { return sentence.tabIndex === 0; }).focus();
      keeping = false;
    });
    article.addEventListener("click", function (event) {
      var cite = event.target.closest("[data-go]");
      if (cite) go(Number(cite.dataset.go));
      var all = event.target.closest(".nx-all");
      if (!all) return;
      all.closest(".nx-source").querySelectorAll(".nx-fold").forEach(function (fold) { fold.open = true; });
      all.hidden = true;
    });

    article.querySelectorAll(".nx-reading th").forEach(function (head) {
      var button = document.createElement("button");
      button.type = "button";
      button.title = "Show it";
      button.dataset.go = head.querySelector(".nx-cite").dataset.go;
      button.append.apply(button, Array.from(head.childNodes));
      head.append(button);
    });
    sources.forEach(function (source) { if (source.localName !== "details") source.tabIndex = -1; });
    article.querySelectorAll(".nx-all").forEach(function (all) { all.hidden = false; });
    readings.forEach(function (reading) { reading.open = true; });
    answer.setAttribute("role", "listbox");
    answer.classList.add("nx-ready");
    said.forEach(function (sentence, n) {
      sentence.setAttribute("role", "option");
      sentence.tabIndex = n ? -1 : 0;
    });
    article.querySelector(".nx-hint").hidden = false;
    draw(null);
  }

  document.querySelectorAll(".nx-sources:not([data-started])").forEach(function (article) {
    article.dataset.started = "";
    start(article);
  });
})();
