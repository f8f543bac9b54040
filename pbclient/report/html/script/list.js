// A long list of which only what is seen is in the page.

const ROW = 46; // pixels, as the style has it
const SPARE = 8; // rows above and below what is seen

class List {
  /** `draw(item)` gives the children of a row, `choose(item)` is told of a click. */
  constructor(draw, choose) {
    this.draw = draw;
    this.choose = choose;
    this.items = [];
    this.selected = -1;
    this.rows = element("div", "rows");
    this.node = element("div", "list", this.rows);
    this.node.tabIndex = 0;
    this.node.setAttribute("role", "listbox");
    this.node.setAttribute("aria-label", "Episodes");
    this.rows.setAttribute("role", "presentation");
    this.node.addEventListener("scroll", () => this.schedule());
    this.rows.addEventListener("click", (event) => {
      const row = event.target.closest(".row");
      if (row) this.choose(this.items[Number(row.dataset.number)]);
    });
    new ResizeObserver(() => this.schedule()).observe(this.node);
  }

  show(items, selected) {
    this.items = items;
    this.rows.style.height = `${items.length * ROW}px`;
    this.node.scrollTop = 0;
    this.select(selected);
  }

  /** Mark an item and bring it into sight; null for none. */
  select(item) {
    this.selected = item ? this.items.indexOf(item) : -1;
    if (this.selected >= 0) {
      const top = this.selected * ROW;
      const height = this.node.clientHeight;
      if (top < this.node.scrollTop) this.node.scrollTop = top;
      else if (top + ROW > this.node.scrollTop + height) this.node.scrollTop = top + ROW - height;
    }
    this.render();
  }

  schedule() {
    if (this.scheduled) return;
    this.scheduled = true;
    requestAnimationFrame(() => {
      this.scheduled = false;
      this.render();
    });
  }

  render() {
    const first = Math.max(0, Math.floor(this.node.scrollTop / ROW) - SPARE);
    const last = Math.min(this.items.length, first + Math.ceil(this.node.clientHeight / ROW) + 2 * SPARE);
    const rows = [];
    for (let number = first; number < last; number += 1) rows.push(this.row(number));
    this.rows.replaceChildren(...rows);
    if (this.selected >= first && this.selected < last) {
      this.node.setAttribute("aria-activedescendant", `row-${this.selected}`);
    } else {
      this.node.removeAttribute("aria-activedescendant");
    }
  }

  row(number) {
    const row = element("div", "row", ...this.draw(this.items[number]));
    row.id = `row-${number}`;
    row.dataset.number = String(number);
    row.style.top = `${number * ROW}px`;
    row.setAttribute("role", "option");
    row.setAttribute("aria-selected", String(number === this.selected));
    row.setAttribute("aria-posinset", String(number + 1));
    row.setAttribute("aria-setsize", String(this.items.length));
    return row;
  }
}
