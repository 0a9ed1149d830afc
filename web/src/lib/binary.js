// CBOR (RFC 8949) and MessagePack, decoded for reading: a document must use all of its bytes. What JSON cannot say is
// shown as text (`h'00ff'`, `tag 32: ...`). Depth and size are bounded by the payload itself and `DEPTH_MAX`.

const DEPTH_MAX = 64;

class Reader {
  constructor(bytes) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.at = 0;
    this.depth = 0;
  }

  take(count) {
    if (count > this.bytes.length - this.at) throw new RangeError('ends early');
    const from = this.at;
    this.at += count;
    return from;
  }

  byte() { return this.bytes[this.take(1)]; }
  uint(size) {
    const at = this.take(size);
    if (size === 1) return this.view.getUint8(at);
    if (size === 2) return this.view.getUint16(at);
    if (size === 4) return this.view.getUint32(at);
    return small(this.view.getBigUint64(at));
  }

  int(size) {
    const at = this.take(size);
    if (size === 1) return this.view.getInt8(at);
    if (size === 2) return this.view.getInt16(at);
    if (size === 4) return this.view.getInt32(at);
    return small(this.view.getBigInt64(at));
  }

  float(size) {
    const at = this.take(size);
    if (size === 2) return half(this.view.getUint16(at));
    return size === 4 ? Number(this.view.getFloat32(at).toPrecision(7)) : this.view.getFloat64(at);
  }

  slice(count) {
    const from = this.take(Number(count));
    return this.bytes.subarray(from, from + Number(count));
  }

  text(count) { return new TextDecoder('utf-8', { fatal: true }).decode(this.slice(count)); }
  binary(count) { return `h'${hex(this.slice(count))}'`; }

  nested(read) {
    this.depth += 1;
    if (this.depth > DEPTH_MAX) throw new RangeError('too deep');
    const result = read();
    this.depth -= 1;
    return result;
  }

  list(count, item) {
    return this.nested(() => {
      const items = [];
      for (let left = Number(count); left > 0; left -= 1) items.push(item(this));
      return items;
    });
  }

  map(count, item) {
    return this.nested(() => {
      const members = [];
      for (let left = Number(count); left > 0; left -= 1) members.push([key(item(this)), item(this)]);
      // Object.fromEntries defines properties: a key named `__proto__` stays a key.
      return Object.fromEntries(members);
    });
  }
}

function small(big) {
  return big >= Number.MIN_SAFE_INTEGER && big <= Number.MAX_SAFE_INTEGER ? Number(big) : big.toString();
}

function key(value) { return typeof value === 'string' ? value : JSON.stringify(value); }

function half(bits) {
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  const sign = bits & 0x8000 ? -1 : 1;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Bytes as lower-case hexadecimal digits. */
export function hex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

const BREAK = Symbol('break');

function cborItem(reader) {
  const value = cborAny(reader);
  if (value === BREAK) throw new RangeError('stray break');
  return value;
}

function cborAny(reader) {
  const head = reader.byte();
  const major = head >> 5;
  const info = head & 0x1f;
  if (major === 7) return cborSimple(reader, info);
  if (info === 31) return cborStream(reader, major);
  if (info > 27) throw new RangeError('reserved');
  const argument = info < 24 ? info : reader.uint(2 ** (info - 24));
  switch (major) {
    case 0: return argument;
    case 1: return typeof argument === 'number' ? -1 - argument : `-1-${argument}`;
    case 2: return reader.binary(argument);
    case 3: return reader.text(argument);
    case 4: return reader.list(argument, cborItem);
    case 5: return reader.map(argument, cborItem);
    default: {
      const inner = reader.nested(() => cborItem(reader));
      // Dates as text or number, and URLs, read well without their tag.
      return [0, 1, 32].includes(argument) ? inner : { [`tag ${argument}`]: inner };
    }
  }
}

function cborSimple(reader, info) {
  switch (info) {
    case 20: return false;
    case 21: return true;
    case 22: case 23: return null;
    case 25: return reader.float(2);
    case 26: return reader.float(4);
    case 27: return reader.float(8);
    case 31: return BREAK;
    default: return `simple(${info === 24 ? reader.byte() : info})`;
  }
}

// Strings, arrays and maps of unknown length: items until a break.
function cborStream(reader, major) {
  return reader.nested(() => {
    const items = [];
    for (;;) {
      const item = cborAny(reader);
      if (item === BREAK) break;
      items.push(item);
    }
    if (major === 2) return `h'${items.map((part) => String(part).slice(2, -1)).join('')}'`;
    if (major === 3) return items.join('');
    if (major === 4) return items;
    if (major !== 5 || items.length % 2 !== 0) throw new RangeError('bad stream');
    const members = [];
    for (let at = 0; at < items.length; at += 2) members.push([key(items[at]), items[at + 1]]);
    return Object.fromEntries(members);
  });
}

function msgpackItem(reader) {
  const head = reader.byte();
  if (head < 0x80) return head;
  if (head < 0x90) return reader.map(head & 0x0f, msgpackItem);
  if (head < 0xa0) return reader.list(head & 0x0f, msgpackItem);
  if (head < 0xc0) return reader.text(head & 0x1f);
  if (head >= 0xe0) return head - 0x100;
  switch (head) {
    case 0xc0: return null;
    case 0xc2: return false;
    case 0xc3: return true;
    case 0xc4: case 0xc5: case 0xc6: return reader.binary(reader.uint(2 ** (head - 0xc4)));
    case 0xc7: case 0xc8: case 0xc9: return extension(reader, reader.uint(2 ** (head - 0xc7)));
    case 0xca: return reader.float(4);
    case 0xcb: return reader.float(8);
    case 0xcc: case 0xcd: case 0xce: case 0xcf: return reader.uint(2 ** (head - 0xcc));
    case 0xd0: case 0xd1: case 0xd2: case 0xd3: return reader.int(2 ** (head - 0xd0));
    case 0xd4: case 0xd5: case 0xd6: case 0xd7: case 0xd8: return extension(reader, 2 ** (head - 0xd4));
    case 0xd9: case 0xda: case 0xdb: return reader.text(reader.uint(2 ** (head - 0xd9)));
    case 0xdc: case 0xdd: return reader.list(reader.uint(2 ** (head - 0xdb)), msgpackItem);
    case 0xde: case 0xdf: return reader.map(reader.uint(2 ** (head - 0xdd)), msgpackItem);
    default: throw new RangeError('0xc1 is never used');
  }
}

function extension(reader, count) {
  const kind = reader.int(1);
  return { [`ext ${kind}`]: reader.binary(count) };
}

// A map or an array that uses all bytes; everything else is too easily met by chance.
function whole(bytes, item) {
  const reader = new Reader(bytes);
  try {
    const value = item(reader);
    return reader.at === bytes.length && typeof value === 'object' && value !== null ? value : undefined;
  } catch (error) {
    if (error instanceof RangeError || error instanceof TypeError) return undefined;
    throw error;
  }
}

/** The map or array that `bytes` are in CBOR, or undefined. */
export function cbor(bytes) { return whole(bytes, cborItem); }

/** The map or array that `bytes` are in MessagePack, or undefined. */
export function msgpack(bytes) { return whole(bytes, msgpackItem); }
