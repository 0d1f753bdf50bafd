"use strict";
// Without this script the page says the same; with it tables can be sorted and filtered.
for (const tools of document.querySelectorAll(".tree-tools")) {
  tools.hidden = false;
  tools.addEventListener("click", (event) => {
    const wanted = event.target.dataset.tree;
    if (!wanted) return;
    for (const one of tools.nextElementSibling.querySelectorAll("details")) one.open = wanted === "open";
  });
}

const size = (text) => {
  const word = text.trim().replace("−", "-").replace("∞", "Infinity").replaceAll(",", "");
  const number = word === "NaN" ? Infinity : parseFloat(word);
  return Number.isNaN(number) ? null : number;
};

function sort(table, column, heading) {
  const up = heading.getAttribute("aria-sort") === "descending";
  for (const other of heading.parentElement.children) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", up ? "ascending" : "descending");
  const numbers = heading.classList.contains("num");
  const keyed = Array.from(table.tBodies[0].rows, (row) => [row.cells[column].textContent, row]);
  keyed.sort(([a], [b]) => {
    if (!numbers) return a.localeCompare(b);
    const [x, y] = [size(a), size(b)];
    return x === y ? 0 : x === null ? -1 : y === null ? 1 : x < y ? -1 : 1;
  });
  // Words go down the alphabet first, numbers from the largest.
  if (numbers !== up) keyed.reverse();
  table.tBodies[0].append(...keyed.map(([, row]) => row));
}

for (const table of document.querySelectorAll("table.sortable")) {
  Array.from(table.tHead.rows[0].cells).forEach((heading, column) => {
    if (!heading.textContent) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    button.addEventListener("click", () => sort(table, column, heading));
    heading.append(button);
  });
}

for (const filter of document.querySelectorAll(".filter")) {
  filter.hidden = false;
  const rows = filter.nextElementSibling.querySelector("tbody").rows;
  const told = filter.querySelector("output");
  filter.querySelector("input").addEventListener("input", (event) => {
    const part = event.target.value.toLowerCase();
    let shown = 0;
    for (const row of rows) {
      row.hidden = !row.cells[1].textContent.toLowerCase().includes(part);
      shown += !row.hidden;
    }
    told.textContent = part ? `${shown} of ${rows.length}` : "";
  });
}
