"use strict";
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const make = (tag, properties) => Object.assign(document.createElement(tag), properties);

  // Tooltips: one box, filled from data-tip, for what the pointer is on and for what has the focus.
  const tip = document.getElementById("tip");
  const GAP = 14;
  function show(element, x, y) {
    tip.replaceChildren(...element.dataset.tip.split("\n").map((line) => make("div", { textContent: line })));
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    const left = x + GAP + width > innerWidth ? x - GAP - width : x + GAP;
    const top = y + GAP + height > innerHeight ? y - GAP - height : y + GAP;
    tip.style.left = `${Math.max(4, Math.min(left, innerWidth - width - 4))}px`;
    tip.style.top = `${Math.max(4, top)}px`;
  }
  const hide = () => { tip.hidden = true; };
  addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
  addEventListener("scroll", () => { // a point that gets the focus is scrolled to, and its tooltip goes along
    const point = document.activeElement;
    if (!point.matches(".point")) hide();
    else if (!tip.hidden) showAt(point);
  }, { passive: true });

  function showAt(point) {
    const { x, y } = place(point);
    show(point, x, y);
  }

  function showStrip(strip) {
    strip.addEventListener("pointermove", (event) => {
      if (event.target.dataset.tip) show(event.target, event.clientX, event.clientY);
      else hide();
    });
    strip.addEventListener("pointerleave", hide);
  }

  // Figures with points: the nearest one is meant, so that points close together can all be reached.
  const REACH = 26; // pixels
  const inOrder = (plot) => all(".point", plot).sort((a, b) => a.dataset.method - b.dataset.method); // drawn in another one
  const isShown = (point) => !point.classList.contains("off");
  function place(point) {
    const box = point.querySelector(".reach").getBoundingClientRect();
    return { x: box.x + box.width / 2, y: box.y + box.height / 2 };
  }
  function nearest(points, x, y) {
    const ranked = points.filter(isShown).map((point) => {
      const at = place(point);
      return { point, distance: Math.hypot(at.x - x, at.y - y) };
    }).sort((a, b) => a.distance - b.distance);
    return ranked.length && ranked[0].distance <= REACH ? ranked[0].point : null;
  }

  function follow(plot) {
    const points = inOrder(plot);
    points.forEach((point) => point.querySelector("title").remove()); // else there are two tooltips
    let near = null;
    let seenBefore = false; // on a screen that is touched the first touch shows, and only a second one follows the link
    function choose(point) {
      if (near) near.classList.remove("near");
      near = point;
      if (!near) return hide();
      near.classList.add("near");
      return showAt(near);
    }
    plot.addEventListener("pointermove", (event) => choose(nearest(points, event.clientX, event.clientY)));
    plot.addEventListener("pointerdown", (event) => {
      const point = nearest(points, event.clientX, event.clientY);
      seenBefore = event.pointerType !== "touch" || point === near;
      choose(point);
    });
    plot.addEventListener("pointerleave", (event) => { if (event.pointerType !== "touch") choose(null); });
    plot.addEventListener("click", (event) => {
      if (!near || event.detail === 0) return; // from the keyboard the link does it
      event.preventDefault();
      if (seenBefore && near.hasAttribute("href")) location.hash = near.getAttribute("href");
    });
    if (points.length && points[0].hasAttribute("href")) rove(points);
  }

  // One stop of the tabulator key for all points; arrows go along a method and between methods.
  function rove(points) {
    const rest = (point) => points.forEach((other) => other.setAttribute("tabindex", other === point ? "0" : "-1"));
    rest(points[0]);
    points.forEach((point) => {
      point.addEventListener("focus", () => { rest(point); showAt(point); });
      point.addEventListener("blur", hide);
      point.addEventListener("keydown", (event) => {
        const next = neighbour(points, point, event.key);
        if (next) { event.preventDefault(); next.focus(); }
      });
    });
  }
  function neighbour(points, point, key) {
    const shown = points.filter(isShown);
    const own = shown.filter((other) => other.dataset.method === point.dataset.method);
    const step = { ArrowLeft: -1, ArrowRight: 1 }[key];
    if (step) return own[own.indexOf(point) + step];
    if (key === "Home") return own[0];
    if (key === "End") return own[own.length - 1];
    const turn = { ArrowUp: -1, ArrowDown: 1 }[key];
    if (!turn) return null;
    const methods = [...new Set(shown.map((other) => other.dataset.method))];
    const method = methods[methods.indexOf(point.dataset.method) + turn];
    const { x } = place(point);
    const away = (other) => Math.abs(place(other).x - x);
    return shown.filter((other) => other.dataset.method === method).sort((a, b) => away(a) - away(b))[0];
  }

  // The legend: a button for each method shows and hides it, and pointing at it dims the others.
  function legend(list) {
    const drawn = all(".chart [data-method]", list.parentElement);
    all("li", list).forEach((item) => {
      const { method } = item.dataset;
      const button = make("button", { className: "key", type: "button" });
      button.append(...item.firstElementChild.childNodes);
      button.setAttribute("aria-pressed", "true");
      item.replaceChildren(button);
      const own = drawn.filter((element) => element.dataset.method === method);
      const others = drawn.filter((element) => element.dataset.method !== method);
      button.addEventListener("click", () => {
        const pressed = button.getAttribute("aria-pressed") !== "true";
        button.setAttribute("aria-pressed", String(pressed));
        own.forEach((element) => element.classList.toggle("off", !pressed));
        all(".chart svg", list.parentElement).forEach(keepOneStop);
      });
      const dim = (wanted) => others.forEach((element) => element.classList.toggle("dim", wanted));
      button.addEventListener("pointerenter", (event) => dim(event.pointerType === "mouse" && button.getAttribute("aria-pressed") === "true"));
      button.addEventListener("pointerleave", () => dim(false));
    });
  }
  function keepOneStop(plot) {
    const points = inOrder(plot);
    if (points.some((point) => isShown(point) && point.getAttribute("tabindex") === "0")) return;
    const first = points.find(isShown);
    if (first) points.forEach((point) => point.setAttribute("tabindex", point === first ? "0" : "-1"));
  }

  // Tables: sorted by a click on a column's name, filtered by a part of the first cell, long ones cut until asked.
  function sortable(table) {
    const body = table.tBodies[0];
    const state = { words: "", whole: false };
    const more = make("button", { type: "button", className: "small more" });
    function refresh() {
      const most = state.whole || state.words ? Infinity : Number(table.dataset.most || Infinity);
      const rows = all(":scope > tr:not(.detail)", body);
      rows.forEach((row) => { row.hidden = !row.cells[0].textContent.toLowerCase().includes(state.words); });
      const found = rows.filter((row) => !row.hidden);
      found.forEach((row, place) => row.classList.toggle("later", place >= most));
      rows.forEach((row) => { if (row.detail) { row.detail.hidden = row.hidden || row.classList.contains("later"); } });
      more.hidden = found.length <= most;
      more.textContent = `show all ${rows.length} rows`;
      return `${found.length} of ${rows.length}`;
    }
    all("thead th[data-sort]", table).forEach((head) => {
      const button = make("button", { type: "button" });
      const text = make("span", { className: "on-paper", textContent: head.textContent });
      button.append(...head.childNodes);
      head.append(button, text); // browsers repeat a header on each sheet of paper, but no buttons in it
      button.addEventListener("click", () => { sort(table, body, head); refresh(); });
    });
    more.addEventListener("click", () => {
      const next = body.querySelector(":scope > tr.later");
      state.whole = true;
      refresh();
      next.querySelector("button, a")?.focus(); // the button is gone, and the focus must not go with it
    });
    table.parentElement.after(more);
    all(`[data-filters="${table.id || "-"}"]`).forEach((input) => {
      const count = input.closest(".tools").querySelector("[role=status]");
      input.addEventListener("input", () => { state.words = input.value.trim().toLowerCase(); count.textContent = refresh(); });
    });
    refresh();
  }
  function sort(table, body, head) {
    const isNumber = head.dataset.sort !== "text";
    const before = head.getAttribute("aria-sort");
    const first = head.dataset.sort === "number" ? "descending" : "ascending";
    const wanted = before === null ? first : before === "ascending" ? "descending" : "ascending";
    all("[aria-sort]", table).forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", wanted);
    const sign = wanted === "ascending" ? 1 : -1;
    const value = (row) => {
      const cell = row.cells[head.cellIndex];
      return isNumber ? parseFloat(cell.dataset.value) : cell.textContent.trim();
    };
    const compare = (a, b) => {
      if (!isNumber) return sign * a.localeCompare(b, "en", { numeric: true });
      if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b); // what is missing comes last
      return sign * (a - b);
    };
    const rows = all(":scope > tr:not(.detail)", body).map((row) => ({ row, key: value(row) }));
    rows.sort((a, b) => compare(a.key, b.key));
    body.append(...rows.flatMap(({ row }) => (row.detail ? [row, row.detail] : [row])));
  }

  // A tensor's name opens its histogram in a row below.
  function openable(link) {
    const row = link.closest("tr");
    const figure = document.getElementById(link.getAttribute("href").slice(1));
    const button = make("button", { type: "button", className: "name" });
    button.append(...link.childNodes);
    button.setAttribute("aria-expanded", "false");
    button.addEventListener("click", () => {
      const opens = !row.detail;
      button.setAttribute("aria-expanded", String(opens));
      if (!opens) { row.detail.remove(); row.detail = null; return; }
      const copy = figure.cloneNode(true);
      copy.removeAttribute("id");
      const cell = make("td", { colSpan: row.cells.length });
      cell.append(copy);
      row.detail = make("tr", { className: "detail" });
      row.detail.append(cell);
      row.after(row.detail);
    });
    link.replaceWith(button);
  }

  // Commands: a button copies; where the clipboard is closed to pages, it selects.
  function copyable(code) {
    const row = code.closest("tr");
    const button = make("button", { type: "button", className: "small copy", textContent: "copy" });
    button.setAttribute("aria-label", `copy the command of ${row.cells[0].textContent}, ${row.cells[1].textContent}`);
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "copied";
      } catch {
        getSelection().selectAllChildren(code);
        button.textContent = "selected";
      }
      said.textContent = `command ${button.textContent}`;
      setTimeout(() => { button.textContent = "copy"; }, 2000);
    });
    code.before(button);
    const cell = code.closest("td");
    cell.classList.add("cut"); // one line, and all of it while the button has the focus or after a click
    code.dataset.tip = code.textContent;
    code.addEventListener("pointermove", (event) => { if (event.pointerType === "mouse") show(code, event.clientX, event.clientY); });
    code.addEventListener("pointerleave", hide);
    code.addEventListener("click", () => { cell.classList.toggle("open"); hide(); });
  }
  const said = make("div", { className: "aside" });
  said.setAttribute("role", "status");
  document.body.append(said);

  // A box that does not scroll needs no stop of the tabulator key.
  const boxes = new ResizeObserver((entries) => entries.forEach(({ target }) => {
    if (target.scrollWidth > target.clientWidth) target.setAttribute("tabindex", "0");
    else target.removeAttribute("tabindex");
  }));

  // On paper every file is open; histograms beyond the first stay as they are.
  let closed = [];
  addEventListener("beforeprint", () => { closed = all("details.file:not([open])"); closed.forEach((item) => { item.open = true; }); });
  addEventListener("afterprint", () => { closed.forEach((item) => { item.open = false; }); });

  all(".scripted").forEach((element) => { element.hidden = false; });
  all(".strip").forEach(showStrip);
  all(".plot").filter((plot) => plot.querySelector(".point")).forEach(follow);
  all(".keys").forEach(legend);
  all("table.sortable").forEach(sortable);
  all("a.name").forEach(openable);
  all("td.command code").forEach(copyable);
  all(".scroll").forEach((box) => boxes.observe(box));
})();
