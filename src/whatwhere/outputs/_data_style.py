"""Style and script of a data page."""

from __future__ import annotations

STYLE = """
h3 { font-size: 15px; margin: 18px 0 2px; overflow-wrap: anywhere; }
.bin, .dot, .heat { fill: var(--accent); } .dot { fill-opacity: .55; }
.bin:hover, .dot:hover { fill: #d55e00; }
.frame { fill: none; stroke: var(--rule); } .outline { fill: none; stroke-width: 1.5; }
.shares { display: flex; height: 10px; border-radius: 5px; overflow: hidden; min-width: 90px;
  margin-top: 6px; background: var(--rule); }
.own { color: var(--soft); background: var(--panel); }
.tools { display: flex; flex-wrap: wrap; gap: 8px 16px; align-items: center; margin: 0 0 8px; }
.tools input { font: inherit; color: inherit; background: var(--panel); padding: 5px 10px;
  border: 1px solid var(--rule); border-radius: 6px; width: 240px; max-width: 100%; }
.tools span { color: var(--soft); font-size: 13px; }
.tall { max-height: 640px; overflow: auto; border-bottom: 1px solid var(--rule); }
.tall thead th { position: sticky; top: 0; background: var(--page); z-index: 1; }
.sortable thead button { all: unset; cursor: pointer; } .sortable thead button:focus-visible {
  outline: 2px solid var(--accent); }
.sortable [aria-sort=ascending] button::after { content: " ▲"; font-size: 10px; }
.sortable [aria-sort=descending] button::after { content: " ▼"; font-size: 10px; }
.sortable a { color: inherit; text-decoration: none; border-bottom: 1px solid var(--rule); }
.sortable td.wide { width: 24%; min-width: 90px; }
.sortable th[scope=row] { min-width: 110px; }
.kinds { display: grid; gap: 8px 28px;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 460px), 1fr)); }
.kind .hint { margin: 0 0 6px; font-size: 13px; }
.thumbs { display: grid; gap: 8px; grid-template-columns: repeat(auto-fill, minmax(104px, 1fr)); }
.thumbs.big { grid-template-columns: repeat(auto-fill, minmax(220px, 1fr)); gap: 12px; }
.thumb { margin: 0; max-width: none; background: var(--panel); border-radius: 6px;
  overflow: hidden; }
.thumb img { width: 100%; aspect-ratio: 1; object-fit: contain; display: block;
  background: var(--panel); }
.thumb figcaption { padding: 3px 8px 5px; font-size: 11px; color: var(--soft); overflow: hidden;
  text-overflow: ellipsis; white-space: nowrap; }
.thumb figcaption span { display: block; color: var(--ink); overflow: hidden;
  text-overflow: ellipsis; }
.figures figcaption { padding: 0 0 4px; font-size: 14px; font-weight: 500; }
@media (max-width: 640px) { body { padding: 20px 14px 40px; } .tile { flex-basis: 120px;
  padding: 10px 14px; } .tile b { font-size: 22px; } figure { flex-basis: 100%; }
  .kind .thumbs { grid-template-columns: repeat(4, 1fr); gap: 5px; }
  .kind figcaption { display: none; }
  .thumbs.big { grid-template-columns: repeat(2, 1fr); }
  th, td { padding: 5px 7px; } }
@media print { .tools input { display: none; } .tall { max-height: none; overflow: visible; }
  .tall thead th { position: static; } .kinds { grid-template-columns: 1fr 1fr; }
  .thumbs { grid-template-columns: repeat(4, 1fr); } .kind, .thumb { break-inside: avoid; }
  .thumbs.big { grid-template-columns: repeat(4, 1fr); } section:has(.kinds), section:has(.thumbs)
  { break-inside: auto; } }
"""

SCRIPT = """
document.querySelectorAll("table.sortable").forEach(function (table) {
  var body = table.tBodies[0], rows = Array.from(body.rows);
  var heads = Array.from(table.tHead.rows[0].cells);
  var value = function (row, column) { return row.cells[column].dataset.v; };
  heads.forEach(function (head, column) {
    var button = head.querySelector("button");
    if (!button) return;
    button.addEventListener("click", function () {
      var numbers = head.classList.contains("number");
      var down = head.getAttribute("aria-sort") ? head.getAttribute("aria-sort") !== "descending"
        : numbers;
      heads.forEach(function (other) { other.removeAttribute("aria-sort"); });
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      rows.sort(function (a, b) {
        var x = value(a, column), y = value(b, column);
        var order = numbers ? x - y : x.localeCompare(y, undefined, {numeric: true});
        return down ? -order : order;
      });
      rows.forEach(function (row) { body.appendChild(row); });
    });
  });
  var input = document.getElementById("search"), shown = document.getElementById("shown");
  input.addEventListener("input", function () {
    var words = input.value.toLowerCase().split(/\\s+/), count = 0;
    rows.forEach(function (row) {
      var name = value(row, 0).toLowerCase();
      row.hidden = !words.every(function (word) { return name.includes(word); });
      count += !row.hidden;
    });
    shown.textContent = count + " of " + rows.length + " classes";
  });
});
"""
"""Sorts tables by the `data-v` of their cells, and searches in class names."""
