// What the broker remembers of a topic's numbers, for charts that start filled. A broker that keeps no history answers
// 404: then charts begin with what comes live, and nobody asks again.

import { get } from '../api.js';

const POINTS = 600;
let kept = true;

/** The points of one number (`field` empty: the payload itself) of the last `seconds`, as `[seconds, number]`. */
export async function past(topic, field, seconds) {
  if (!kept) return [];
  const step = Math.max(1, Math.round(seconds / POINTS));
  try {
    const answer = await get('history', { filter: topic, field, since: `${seconds}s`, step: `${step}s` });
    return pointsOf(answer, topic, field);
  } catch (problem) {
    if (problem.status === 404) kept = false;
    return [];
  }
}

/** The points of `field` in an answer of the broker: plain values, or the mean of each step. */
export function pointsOf(answer, topic, field) {
  const series = answer.series.find((one) => one.topic === topic && (one.field ?? '') === field);
  if (series === undefined) return [];
  const time = series.columns.indexOf('time');
  const value = ['value', 'mean', 'last'].map((name) => series.columns.indexOf(name)).find((at) => at !== -1);
  if (time === -1 || value === undefined) return [];
  return series.points.map((point) => [point[time], point[value]]);
}
