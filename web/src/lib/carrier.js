// What carries a client's packets, in words.

const NAMES = { tcp: 'TCP', ws: 'WebSocket', unix: 'a Unix socket', 'in-process': 'a pipe in the broker' };

export const carrier = (transport) => NAMES[transport] ?? 'what nobody knows';

export const encryption = ({ version, cipher_suite: suite }) => `TLS ${version}, ${suite}`;
