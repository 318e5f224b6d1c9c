// Tables whose rows stay when their items do.
import { attribute, element, fill, put, visible } from './dom.js';

/**
 * A column: label; n: its cells are numbers; sort: the name by which the server sorts; text(item), or draw(cell, item) for more than text;
 * title(item): the whole of what is cut off.
 */
export class Table {
  #body;
  #columns;
  #key;

  constructor(table, columns, key, onSort) {
    this.#columns = columns;
    this.#key = key;
    this.table = table;
    this.#body = element('tbody', { role: 'rowgroup' });
    const head = element('tr', { role: 'row' }, ...columns.map((column) => this.#head(column, onSort)));
    table.append(element('thead', { role: 'rowgroup' }, head), this.#body);
    table.setAttribute('role', 'table'); // on a phone, CSS makes cards of it, and some browsers then forget what it is
  }

  #head({ label, n, sort, name }, onSort) {
    const th = element('th', { scope: 'col', role: 'columnheader', class: [n && 'n', name].filter(Boolean).join(' '), data: sort ? { sort } : {} });
    if (!sort || !onSort) {
      th.textContent = label;
      return th;
    }
    const button = element('button', { type: 'button', text: label });
    button.addEventListener('click', () => onSort(sort));
    th.append(button);
    return th;
  }

  sorted(by, order) {
    for (const th of this.table.querySelectorAll('th[data-sort]')) {
      attribute(th, 'aria-sort', th.dataset.sort === by ? `${order}ending` : null);
    }
  }

  draw(items) {
    fill(this.#body, items, this.#key, () => this.#row(), (row, item) => {
      row.dataset.key = this.#key(item);
      this.#columns.forEach(({ text, draw, title }, i) => {
        const cell = row.children[i];
        if (draw) draw(cell, item);
        else put(cell, text(item));
        if (title) attribute(cell, 'title', visible(title(item)) || null);
      });
    });
  }

  #row() {
    return element('tr', { role: 'row' }, ...this.#columns.map(({ label, n, name }) => (
      element('td', { role: 'cell', class: [n && 'n', name].filter(Boolean).join(' '), 'data-label': label }))));
  }
}
