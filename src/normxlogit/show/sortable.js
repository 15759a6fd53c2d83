// Sorts a table by the column whose heading is pressed. Cells say what they are sorted by in
// data-sort, where their text would not do; a dash or nothing comes last either way.
(function () {
  "use strict";

  function keyOf(row, column) {
    var cell = row.cells[column];
    if (cell.dataset.sort !== undefined) return cell.dataset.sort;
    var text = cell.textContent.trim().replace(/\u2212/g, "-");
    return text === "\u2013" ? "" : text;
  }

  function compare(one, other) {
    var difference = Number(one) - Number(other);
    return isNaN(difference) ? one.localeCompare(other) : difference;
  }

  function sort(body, column, sign) {
    var keyed = Array.from(body.rows).map(function (row) {
      return { row: row, key: keyOf(row, column) };
    });
    keyed.sort(function (a, b) {
      if (!a.key || !b.key) return (a.key ? 0 : 1) - (b.key ? 0 : 1);
      return sign * compare(a.key, b.key);
    });
    keyed.forEach(function (item) { body.append(item.row); });
  }

  function start(table) {
    var body = table.tBodies[0];
    var heads = Array.from(table.tHead.rows[0].cells);
    heads.forEach(function (head, column) {
      if (head.tagName !== "TH") return;
      var button = document.createElement("button");
      button.type = "button";
      button.append.apply(button, Array.from(head.childNodes));
      head.append(button);
      button.addEventListener("click", function () {
        var next = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
        if (!head.hasAttribute("aria-sort")) next = head.dataset.first || "ascending";
        heads.forEach(function (other) { other.removeAttribute("aria-sort"); });
        head.setAttribute("aria-sort", next);
        sort(body, column, next === "ascending" ? 1 : -1);
      });
    });
    table.dataset.started = "";
  }

  document.querySelectorAll("table.nx-sortable:not([data-started])").forEach(start);
})();
