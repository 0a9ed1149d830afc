// A packet of a trace as it is read: the broker gives it in one line of words. Pure functions.

// What those say that say nothing else, in the words of the specification.
const MEANING = {
  PUBACK: 'publish acknowledgement', PUBREC: 'publish received', PUBREL: 'publish release', PUBCOMP: 'publish complete',
  PINGREQ: 'ping request', PINGRESP: 'ping response', UNSUBACK: 'unsubscribe acknowledgement',
};

/** The Packet Identifier, as text; empty if it has none. */
export const packetId = ({ text }) => /^[A-Z]+ #(\d+)/.exec(text)?.[1] ?? '';

/** What the line says beside the packet's name and its identifier. */
export const contents = ({ packet, text }) => text.slice(packet.length).replace(/^ #\d+/, '').replace(/^[ ,]+/, '') || (MEANING[packet] ?? '');
