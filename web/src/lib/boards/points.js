// The points of one line of a chart: what the broker remembers, then what came live, never more than a chart can show.

const POINTS_MAX = 1200;

/** Numbers over time, thinned to what `seconds` of a chart can show. */
export class Trail {
  constructor(seconds) {
    this.seconds = seconds;
    this.spacing = seconds / POINTS_MAX;
    this.times = [];
    this.values = [];
  }

  /** Adds a point, `time` in seconds. Points closer than a pixel become one: the newest. */
  push(time, value) {
    const last = this.times.length - 1;
    const before = last > 0 ? this.times[last - 1] : -Infinity;
    if (last >= 0 && (time <= this.times[last] || time - before < this.spacing)) {
      this.values[last] = value;
      this.times[last] = Math.max(time, this.times[last]);
      return;
    }
    this.times.push(time);
    this.values.push(value);
    // Cut a tenth at a time: taking one off each time is quadratic.
    if (this.times.length > POINTS_MAX * 1.2) this.drop(this.times.length - POINTS_MAX);
  }

  drop(count) {
    this.times.splice(0, count);
    this.values.splice(0, count);
  }

  /** Puts remembered points (`[seconds, number]`) before what came live. */
  fill(points) {
    const first = this.times[0] ?? Infinity;
    const older = points.filter(([time, value]) => time < first && typeof value === 'number').sort((one, other) => one[0] - other[0]);
    const live = this.times.map((time, at) => [time, this.values[at]]);
    this.times = [];
    this.values = [];
    for (const [time, value] of [...older, ...live]) this.push(time, value);
  }

  /** The times and the numbers of the last `count` points. */
  recent(count) { return [this.times.slice(-count), this.values.slice(-count)]; }
}

/**
 * Several trails as columns for a chart that ends now: all times, then a list of values for each. Where a line has no
 * point of its own, `undefined`, which the chart draws through; where nothing came for long, a gap (null). A line that is
 * no gap now ends with its value of `latest`: what is drawn last is what stands beside its name.
 */
export function columns(trails, seconds, now, latest = []) {
  const from = now - seconds;
  const stamps = new Set([now]);
  const lines = trails.map((trail, number) => {
    const line = new Map();
    const usual = spacing(trail.times);
    let last = null;
    const over = (time) => last !== null && usual !== null && time - last > Math.max(usual * 8, seconds / 50, 15);
    trail.times.forEach((time, at) => {
      if (time < from - seconds * 0.05) return;
      if (over(time)) line.set(last + usual, null);
      line.set(time, trail.values[at]);
      last = time;
    });
    if (last !== null && now >= last && typeof latest[number] === 'number' && !over(now)) line.set(now, latest[number]);
    for (const time of line.keys()) stamps.add(time);
    return line;
  });
  const times = [...stamps].sort((one, other) => one - other);
  return [times, ...lines.map((line) => times.map((time) => line.get(time)))];
}

// The usual distance of two points: the median of the last ones.
function spacing(times) {
  if (times.length < 4) return null;
  const last = times.slice(-40);
  const gaps = last.slice(1).map((time, at) => time - last[at]).sort((one, other) => one - other);
  return gaps[gaps.length >> 1];
}
