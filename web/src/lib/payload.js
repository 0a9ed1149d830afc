// What a payload is, in the order in which the broker's expressions recognise it: content type; number; JSON; text;
// CBOR, then MessagePack; else binary. A payload is only ever shown as text or drawn as an image from a blob.

import { cbor, hex, msgpack } from './binary.js';

const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/;
const FIELDS_MAX = 64;

/**
 * Recognises `bytes`. Returns `{ type, value, text }`: `type` is number, json, text, cbor, msgpack, image, empty or
 * binary; `value` the decoded value where there is one; `text` the payload as text where it is text.
 */
export function recognise(bytes, contentType = '') {
  if (bytes.length === 0) return { type: 'empty', text: '' };
  const image = imageType(bytes, contentType);
  if (image) return { type: 'image', mime: image };
  if (/cbor/.test(contentType)) {
    const value = cbor(bytes);
    if (value !== undefined) return { type: 'cbor', value };
  }
  if (/msgpack/.test(contentType)) {
    const value = msgpack(bytes);
    if (value !== undefined) return { type: 'msgpack', value };
  }
  const text = utf8(bytes);
  if (text !== undefined) return recogniseText(text);
  const fromCbor = cbor(bytes);
  if (fromCbor !== undefined) return { type: 'cbor', value: fromCbor };
  const fromMsgpack = msgpack(bytes);
  if (fromMsgpack !== undefined) return { type: 'msgpack', value: fromMsgpack };
  return { type: 'binary' };
}

function recogniseText(text) {
  const trimmed = text.trim();
  if (trimmed.length <= 40 && NUMBER.test(trimmed)) return { type: 'number', value: Number(trimmed), text };
  if (/^[[{"]|^(true|false|null)$/.test(trimmed)) {
    try {
      return { type: 'json', value: JSON.parse(trimmed), text };
    } catch {
      return { type: 'text', text };
    }
  }
  return { type: 'text', text };
}

// Valid UTF-8 without control characters other than white space.
function utf8(bytes) {
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    // eslint-disable-next-line no-control-regex
    return /[\u0000-\u0008\u000b\u000c\u000e-\u001f]/.test(text) ? undefined : text;
  } catch {
    return undefined;
  }
}

const MAGIC = [
  ['image/png', [0x89, 0x50, 0x4e, 0x47]],
  ['image/jpeg', [0xff, 0xd8, 0xff]],
  ['image/gif', [0x47, 0x49, 0x46, 0x38]],
];

// Only formats without scripts: no SVG.
function imageType(bytes, contentType) {
  for (const [mime, magic] of MAGIC) {
    if (magic.every((byte, at) => bytes[at] === byte)) return mime;
  }
  if (hex(bytes.subarray(0, 4)) === '52494646' && hex(bytes.subarray(8, 12)) === '57454250') return 'image/webp';
  return ['image/avif', 'image/bmp'].includes(contentType) ? contentType : undefined;
}

/** The payload laid out to be read: indented JSON, the text itself, or lines of hexadecimal digits. */
export function pretty(bytes, known) {
  if (known.value !== undefined && known.type !== 'number') return JSON.stringify(known.value, null, 2);
  return known.text ?? hexDump(bytes);
}

/** One line for a list, at most `length` characters. */
export function preview(bytes, known, length = 120) {
  if (known.type === 'empty') return '';
  if (known.type === 'image') return `${known.mime}, ${bytes.length} bytes`;
  if (known.type === 'binary') return hex(bytes.subarray(0, 32));
  const text = known.text ?? JSON.stringify(known.value);
  const line = text.slice(0, length * 2).replace(/\s+/g, ' ').trim();
  return line.length > length ? `${line.slice(0, length)}…` : line;
}

/** Sixteen bytes a line: offset, digits, and what of it is printable. At most 4 KiB. */
export function hexDump(bytes) {
  const lines = [];
  const end = Math.min(bytes.length, 4096);
  for (let at = 0; at < end; at += 16) {
    const row = bytes.subarray(at, Math.min(at + 16, end));
    const digits = Array.from(row, (byte) => byte.toString(16).padStart(2, '0')).join(' ').padEnd(47);
    const shown = Array.from(row, (byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '.')).join('');
    lines.push(`${at.toString(16).padStart(6, '0')}  ${digits}  ${shown}`);
  }
  if (bytes.length > end) lines.push(`… ${bytes.length - end} bytes more`);
  return lines.join('\n');
}

/** The number in a payload: itself, or what the text or field says; undefined where there is none. */
export function numberOf(raw) {
  if (typeof raw === 'number') return Number.isFinite(raw) ? raw : undefined;
  if (typeof raw === 'boolean') return raw ? 1 : 0;
  if (typeof raw === 'string' && NUMBER.test(raw.trim())) return Number(raw);
  return undefined;
}

/** Every number in a payload as `[path, number]`; the path of a plain number is the empty text. */
export const numericFields = (known) => fieldsThat(known, (value) => typeof value === 'number' && Number.isFinite(value));

/** What of a payload a chart can show, as paths: its numbers, then what is true or false. */
export const chartable = (known) => [...numericFields(known), ...fieldsThat(known, (value) => typeof value === 'boolean')]
  .map(([path]) => path).slice(0, FIELDS_MAX);

function fieldsThat(known, fit) {
  const found = new Map();
  const walk = (value, path, depth) => {
    if (found.size >= FIELDS_MAX || depth > 8) return;
    // Keys that hold dots may give two values one path: it stands for the one that `field` finds.
    if (fit(value)) { if (field(known, path) === value) found.set(path, value); }
    else if (typeof value === 'object' && value !== null) {
      for (const [key, inner] of Object.entries(value)) walk(inner, path === '' ? key : `${path}.${key}`, depth + 1);
    }
  };
  if (known.value !== undefined) walk(known.value, '', 0);
  return [...found];
}

/** What `path` (`battery.level`, or the empty text for the whole) names in a recognised payload. */
export function field(known, path) {
  if (path === '' || path === undefined) return known.value ?? known.text;
  return within(known.value, path);
}

const has = (value, key) => Object.prototype.propertyIsEnumerable.call(value, key);

// A key may hold dots itself: the longest key that leads to something is taken.
function within(value, path) {
  if (typeof value !== 'object' || value === null) return undefined;
  if (has(value, path)) return value[path];
  for (let dot = path.lastIndexOf('.'); dot !== -1; dot = dot === 0 ? -1 : path.lastIndexOf('.', dot - 1)) {
    const key = path.slice(0, dot);
    const found = has(value, key) ? within(value[key], path.slice(dot + 1)) : undefined;
    if (found !== undefined) return found;
  }
  return undefined;
}

/** Bytes of base64, or none if it is damaged. */
export function fromBase64(text) {
  try {
    return Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
  } catch {
    return new Uint8Array();
  }
}

/** Bytes of hexadecimal digits with any white space between them; undefined if it is something else. */
export function fromHex(text) {
  const digits = text.replace(/\s+/g, '');
  if (digits.length % 2 !== 0 || /[^0-9a-fA-F]/.test(digits)) return undefined;
  return Uint8Array.from(digits.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

/** Base64 of bytes. */
export function toBase64(bytes) {
  let text = '';
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
}
