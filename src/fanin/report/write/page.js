// Tables that sort, filter and search, a page of rows at a time; without this script they stand there whole.
"use strict";
(() => {
  const PAGE = 50, FEW = 5;
  const make = (tag, settings, ...inner) => {
    const made = Object.assign(document.createElement(tag), settings);
    made.append(...inner);
    return made;
  };
  const number = (text) => {
    const found = /^<?\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)/i.exec(text);
    return found ? Number(found[1]) : /^[-+]?inf/.test(text) ? (text[0] === "-" ? -Infinity : Infinity) : NaN;
  };
  // What is typed over a column: "<0.1", ">=3", "=adam" for all of the cell, anything else for a part of it.
  const passes = (text, wanted) => {
    const [, sign, rest] = /^(<=|>=|<|>|=)?\s*(.*)$/s.exec(wanted);
    const value = number(text), bound = number(rest);
    if (sign === "=") return text.toLowerCase() === rest;
    if (!sign || Number.isNaN(bound)) return text.toLowerCase().includes(wanted);
    return sign === "<" ? value < bound : sign === ">" ? value > bound : sign === "<=" ? value <= bound : value >= bound;
  };

  const enhance = (table) => {
    const body = table.tBodies[0], rows = [...body.rows], heads = [...table.tHead.rows[0].cells];
    if (rows.length < FEW) return;
    const cell = (row, i) => row.cells[i].textContent.trim();
    const hidden = new Set(), wanted = heads.map(() => "");
    let order = rows, shown = rows, page = 0, sorted = -1, down = false, searched = [];

    const said = make("span", { className: "small" });
    said.setAttribute("aria-live", "polite");
    const turn = (by) => () => { page += by; show(); };
    const back = make("button", { type: "button", textContent: "‹ back", onclick: turn(-1) });
    const next = make("button", { type: "button", textContent: "next ›", onclick: turn(1) });
    const show = () => {
      const first = page * PAGE, end = Math.min(first + PAGE, shown.length);
      body.replaceChildren(...shown.slice(first, end));
      for (const row of [...table.tHead.rows, ...body.rows])
        [...row.cells].forEach((one, i) => { one.hidden = hidden.has(i); });
      said.textContent = shown.length ? `${first + 1} to ${end} of ${shown.length}` : "none";
      if (shown.length < rows.length) said.textContent += ` (of ${rows.length})`;
      back.disabled = !page;
      next.disabled = end >= shown.length;
      back.hidden = next.hidden = shown.length <= PAGE;
    };
    const filter = () => {
      const asked = wanted.map((text, i) => [text, i]).filter(([text]) => text);
      shown = order.filter((row) => {
        const all = searched.length ? row.textContent.toLowerCase() : "";
        return searched.every((word) => all.includes(word)) && asked.every(([text, i]) => passes(cell(row, i), text));
      });
      page = 0;
      show();
    };
    const sort = (i) => {
      down = sorted === i && !down;
      sorted = i;
      const keyed = rows.map((row) => [cell(row, i), row]).map(([text, row]) => [text, number(text), row]);
      const numeric = keyed.every(([text, value]) => !text || !Number.isNaN(value) || text === "nan" || text === "best");
      const compare = new Intl.Collator(undefined, { numeric: true }).compare;
      const missing = ([text, value]) => (text === "best" ? -1 : Number(!text || (numeric && Number.isNaN(value))));
      keyed.sort((a, b) => missing(a) - missing(b) ||
        (down ? -1 : 1) * (numeric ? (a[1] === b[1] ? 0 : a[1] - b[1]) : compare(a[0], b[0])));
      order = keyed.map(([, , row]) => row);
      heads.forEach((head, k) => head.setAttribute("aria-sort", k === i ? (down ? "descending" : "ascending") : "none"));
      filter();
    };

    heads.forEach((head, i) => {
      const button = make("button", { type: "button", title: "sort" }, ...head.childNodes);
      button.onclick = () => sort(i);
      head.append(button);
    });
    const names = heads.map((head) => head.textContent);
    if (rows.length > 2 * FEW) {
      const inputs = names.map((name, i) => {
        const input = make("input", { size: 6, title: "a part of it, =all of it, <0.1, >=3" });
        input.setAttribute("aria-label", `filter ${name}`);
        input.oninput = () => { wanted[i] = input.value.trim().toLowerCase(); filter(); };
        return make("td", {}, input);
      });
      table.tHead.append(make("tr", { className: "filters" }, ...inputs));
    }
    const search = make("input", { type: "search", placeholder: "search" });
    search.setAttribute("aria-label", "search the table");
    search.oninput = () => { searched = search.value.toLowerCase().split(/\s+/).filter(Boolean); filter(); };
    const boxes = names.map((name, i) => {
      const box = make("input", { type: "checkbox", checked: true });
      box.onchange = () => { box.checked ? hidden.delete(i) : hidden.add(i); show(); };
      return make("label", {}, box, ` ${name}`);
    });
    const chosen = make("details", {}, make("summary", { textContent: "columns" }), ...boxes);
    table.parentNode.before(make("div", { className: "controls" }, search, back, next, said, chosen));
    show();
  };
  document.querySelectorAll("table.grid").forEach(enhance);
})();
