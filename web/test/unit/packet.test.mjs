import assert from 'node:assert/strict';
import { test } from 'node:test';
import { contents, packetId } from '../../src/lib/packet.js';

const of = (text) => ({ packet: text.split(' ')[0], text });

test('the identifier of a packet is told apart from what it says', () => {
  const lines = [
    ['SUBSCRIBE #9 "a/#" QoS 1', '9', '"a/#" QoS 1'], ['SUBACK #9 Granted QoS 1 (0x01)', '9', 'Granted QoS 1 (0x01)'],
    ['PUBACK #65535', '65535', 'publish acknowledgement'], ['PUBREC #2 Quota exceeded (0x97)', '2', 'Quota exceeded (0x97)'],
    ['PINGREQ', '', 'ping request'], ['CONNECT 5.0 client "#1", Clean Start', '', '5.0 client "#1", Clean Start'],
    ['PUBLISH #2 "#3" QoS 1 0 bytes ""', '2', '"#3" QoS 1 0 bytes ""'], ['PUBLISH "a" QoS 0 1 bytes "#4"', '', '"a" QoS 0 1 bytes "#4"'],
  ];
  for (const [text, id, said] of lines) assert.deepEqual([packetId(of(text)), contents(of(text))], [id, said], text);
});
