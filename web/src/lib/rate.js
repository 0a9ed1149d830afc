// How many a second, of what comes in bursts: devices that send at the same moment each second are the rule.

/** Seconds after which a message weighs most: what is told is the mean over about twice as long. */
const PEAK = 3;
/** Seconds before which nobody knows a rate: it grows to what it is until then. */
const LEAST = 2;

/**
 * A rate whose reading does not depend on when one looks. A message weighs nothing in the moment when it comes, most after
 * `PEAK` seconds, and fades from then on; all of it together is one. (A weight that is largest at once says too much just
 * after each burst.) Times are milliseconds; `since` is when counting began: before that nothing was seen, so that what has
 * been seen stands for the whole, and what was counted before is forgotten.
 */
export class Rate {
  // The sum of e^-age, and of age * e^-age, for all messages; the ages at `#at`, in units of PEAK.
  #fresh = 0;
  #weight = 0;
  #at = 0;

  add(count, now, since = 0) {
    this.#age(now, since);
    this.#fresh += count;
  }

  /** Per second. */
  now(now, since = 0) {
    this.#age(now, since);
    const seen = Math.max(now - since, LEAST * 1000) / 1000 / PEAK;
    return this.#weight / PEAK / (1 - Math.exp(-seen) * (1 + seen));
  }

  #age(now, since) {
    if (this.#at < since) this.#fresh = this.#weight = 0;
    const passed = this.#fresh === 0 ? 0 : Math.max(0, now - this.#at) / 1000 / PEAK;
    const left = Math.exp(-passed);
    this.#weight = (this.#weight + this.#fresh * passed) * left;
    this.#fresh *= left;
    this.#at = Math.max(now, since);
  }
}
