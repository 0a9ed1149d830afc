// Points in time with a bounded length, in the columns that the charts draw.

/** Several numbers over time: `times` in seconds, one list of values per name; at most `size` points. */
export class Series {
  constructor(names, size = 600) {
    this.names = names;
    this.size = size;
    this.clear();
  }

  clear() {
    this.times = [];
    this.columns = this.names.map(() => []);
  }

  get length() { return this.times.length; }

  /** Adds a point; one that is not newer than the last replaces it. `values` in the order of the names. */
  push(time, values) {
    if (this.times.length > 0 && time <= this.times.at(-1)) {
      this.columns.forEach((column, at) => { column[column.length - 1] = values[at] ?? column.at(-1); });
      return;
    }
    this.times.push(time);
    this.columns.forEach((column, at) => column.push(values[at] ?? null));
    // Cut a tenth at a time: shifting one point of each push is quadratic.
    if (this.times.length > this.size * 1.1) {
      const cut = this.times.length - this.size;
      this.times.splice(0, cut);
      for (const column of this.columns) column.splice(0, cut);
    }
  }

  /** Puts older points before those that are there. */
  fill(points) {
    const first = this.times[0] ?? Infinity;
    const older = points.filter(([time]) => time < first).sort((one, other) => one[0] - other[0]);
    this.times = [...older.map(([time]) => time), ...this.times];
    this.columns = this.columns.map((column, at) => [...older.map(([, values]) => values[at] ?? null), ...column]);
  }

  /** The columns of the last `seconds`, as uPlot takes them. */
  since(seconds, now = this.times.at(-1) ?? 0) {
    const from = this.times.findIndex((time) => time >= now - seconds);
    if (from <= 0) return [this.times, ...this.columns];
    return [this.times.slice(from), ...this.columns.map((column) => column.slice(from))];
  }

  last(at = 0) { return this.columns[at]?.at(-1); }
}

/** The mean of the numbers among `[time, number]` that are at most `seconds` older than the last; null if there are none. */
export function recentMean(points, seconds) {
  const end = points.at(-1)?.[0];
  let [sum, count] = [0, 0];
  for (let at = points.length - 1; at >= 0 && points[at][0] > end - seconds; at -= 1) {
    const value = points[at][1];
    if (value === null || value === undefined) continue;
    sum += value;
    count += 1;
  }
  return count === 0 ? null : sum / count;
}
