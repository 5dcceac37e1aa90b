"use strict";
(() => {
  const table = document.getElementById("fleet");
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const controls = document.getElementById("controls");
  const words = document.getElementById("words");
  const per = document.getElementById("per");
  const count = document.getElementById("count");
  const selects = Array.from(controls.querySelectorAll("select"));
  const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
  const shown = new Map();
  for (const cell of body.querySelectorAll("td[data-v]")) shown.set(cell, cell.firstElementChild);

  function filter() {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let visible = 0;
    for (const row of rows) {
      const text = texts.get(row);
      const match = wanted.every((word) => text.includes(word)) &&
        selects.every((select) => !select.value || row.dataset[select.dataset.field] === select.value);
      row.hidden = !match;
      visible += match ? 1 : 0;
    }
    count.textContent = `${visible} of ${rows.length} systems`;
  }

  function value(row, column) {
    const cell = row.cells[column];
    if (cell.dataset.v === undefined) return null;
    const whole = Number(cell.dataset.v);
    if (!per.checked || cell.dataset.whole) return whole;
    const n = Number(row.dataset.n);
    return n > 0 ? whole / n : null;
  }

  function divide() {
    for (const [cell, data] of shown) {
      const row = cell.parentElement;
      const amount = value(row, cell.cellIndex);
      if (!per.checked) cell.replaceChildren(data);
      else cell.textContent = amount === null ? "–" : String(Number(amount.toPrecision(6)));
    }
  }

  function sort(head, column, numeric) {
    const down = head.getAttribute("aria-sort") === (numeric ? "descending" : "ascending");
    const direction = numeric ? (down ? 1 : -1) : (down ? -1 : 1);
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
    const compare = new Intl.Collator(undefined, { numeric: true }).compare;
    const keys = new Map(rows.map((row) =>
      [row, numeric ? value(row, column) : row.cells[column].textContent.trim()]));
    rows.sort((one, other) => {
      const a = keys.get(one), b = keys.get(other);
      if (!numeric) return direction * compare(a, b);
      if (a === null || b === null) return a === b ? 0 : (a === null ? 1 : -1);
      return direction * (a - b);
    });
    body.append(...rows);
  }

  Array.from(table.tHead.rows[1].cells).forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sort(head, column, head.dataset.kind === "number"));
  });
  controls.hidden = false;
  controls.addEventListener("input", filter);
  controls.addEventListener("submit", (event) => event.preventDefault());
  per.addEventListener("change", divide);
  filter();
})();
