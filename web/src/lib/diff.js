// What changed between two texts, line by line: the shortest edit by the table of longest common subsequences. Texts
// of more than `LINES_MAX` lines are compared by position only: the table is quadratic.

const LINES_MAX = 600;

/** A list of `{ kind: 'same' | 'gone' | 'new', line }` that leads from `before` to `after`. */
export function diff(before, after) {
  const old = before.split('\n');
  const fresh = after.split('\n');
  let head = 0;
  while (head < old.length && head < fresh.length && old[head] === fresh[head]) head += 1;
  let tail = 0;
  while (tail < old.length - head && tail < fresh.length - head
    && old[old.length - 1 - tail] === fresh[fresh.length - 1 - tail]) tail += 1;
  const same = (line) => ({ kind: 'same', line });
  return [
    ...old.slice(0, head).map(same),
    ...middle(old.slice(head, old.length - tail), fresh.slice(head, fresh.length - tail)),
    ...old.slice(old.length - tail).map(same),
  ];
}

function middle(old, fresh) {
  const gone = (line) => ({ kind: 'gone', line });
  const added = (line) => ({ kind: 'new', line });
  if (old.length > LINES_MAX || fresh.length > LINES_MAX) return [...old.map(gone), ...fresh.map(added)];
  const width = fresh.length + 1;
  const common = new Uint16Array((old.length + 1) * width);
  for (let row = old.length - 1; row >= 0; row -= 1) {
    for (let column = fresh.length - 1; column >= 0; column -= 1) {
      common[row * width + column] = old[row] === fresh[column]
        ? common[(row + 1) * width + column + 1] + 1
        : Math.max(common[(row + 1) * width + column], common[row * width + column + 1]);
    }
  }
  const steps = [];
  let row = 0;
  let column = 0;
  while (row < old.length && column < fresh.length) {
    if (old[row] === fresh[column]) {
      steps.push({ kind: 'same', line: old[row] });
      row += 1;
      column += 1;
    } else if (common[(row + 1) * width + column] >= common[row * width + column + 1]) {
      steps.push(gone(old[row++]));
    } else {
      steps.push(added(fresh[column++]));
    }
  }
  return [...steps, ...old.slice(row).map(gone), ...fresh.slice(column).map(added)];
}
