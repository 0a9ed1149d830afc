// What switches, buttons and sliders do. The broker decides whether it is allowed.

import { post } from '../api.js';
import { attempt, said } from '../toast.svelte.js';
import { targetOf } from './tile.js';

/** Publishes a tile's `payload`; a refusal is shown. Resolves to whether it was published. */
export function send(tile, payload) {
  const topic = targetOf(tile);
  return attempt(async () => {
    const { reason_code: code } = await post('publish', { topic, payload, qos: tile.qos, retain: tile.retain });
    if (code === 0x10) said(`Published. Nobody subscribes to ${topic} now.`);
  });
}
