"""What a filter should let through, said a second time and without a look at the broker: expressions as trees that can
be written down and evaluated, payloads understood by their bytes."""

import json
import re
import struct

NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?\Z")
SPACE = " \t\r\n"


class NoValue(Exception):
    """An error in an expression."""


class Bytes(bytes):
    """What is none of the others."""


class Members(dict):
    """An object of JSON; `count` are its members, of which two may have one name: the last one counts."""

    def __init__(self, pairs):
        super().__init__(pairs)
        self.count = len(pairs)


BEYOND = object()  # a number that no double holds: nothing can be said of it


# A plain number may also be written as devices print it.
PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\Z")


def plain_number(text):
    """A payload that is a number: decimal digits, perhaps with a sign, a point, an exponent, and white space around."""
    text = text.strip(SPACE)
    if not PLAIN.match(text):
        return None
    if re.fullmatch(r"[+-]?[0-9]+", text) and -(2**63) <= int(text) < 2**64:
        return int(text)
    value = float(text)
    return None if value in (float("inf"), float("-inf")) else value


def number(text):
    """A number as JSON writes it; whole ones within 64 bits are exact."""
    if not NUMBER.match(text):
        return None
    if re.fullmatch(r"-?\d+", text) and -(2**63) <= int(text) < 2**64:
        return int(text)
    value = float(text)
    return None if value in (float("inf"), float("-inf")) else value


def parsed_json(text):
    def refuse(word):
        raise ValueError(word)

    def read(digits):
        found = number(digits)
        return BEYOND if found is None else found

    value = json.loads(text, parse_constant=refuse, parse_int=read, parse_float=read, object_pairs_hook=Members)
    json.dumps(value, ensure_ascii=False, default=str).encode()  # half a surrogate is no character
    return value


def read_cbor(data, at=0):
    """A value and where it ends; maps have texts as keys."""
    major, info, at = data[at] >> 5, data[at] & 31, at + 1
    if info < 24:
        argument = info
    elif info <= 27:
        size = 1 << (info - 24)
        argument, raw, at = int.from_bytes(data[at : at + size], "big"), data[at : at + size], at + size
        assert len(raw) == size
    else:
        raise ValueError("what the tests do not send")
    if major == 0:
        return argument, at
    if major == 1:
        return -1 - argument, at
    if major in (2, 3):
        part = data[at : at + argument]
        assert len(part) == argument
        return (part.decode() if major == 3 else Bytes(part)), at + argument
    if major == 4:
        found = []
        for _ in range(argument):
            value, at = read_cbor(data, at)
            found.append(value)
        return found, at
    if major == 5:
        found = {}
        for _ in range(argument):
            key, at = read_cbor(data, at)
            found[key], at = read_cbor(data, at)
        return found, at
    if major == 7 and info in (25, 26, 27):
        return struct.unpack({25: ">e", 26: ">f", 27: ">d"}[info], raw)[0], at
    return {20: False, 21: True, 22: None}[info], at


def read_msgpack(data, at=0):
    """The same for MessagePack."""
    first, at = data[at], at + 1
    if first < 0x80:
        return first, at
    if first >= 0xE0:
        return first - 256, at
    if first in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[first], at
    fixed = {0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q", 0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"}
    if first in fixed:
        size = struct.calcsize(fixed[first])
        return struct.unpack(fixed[first], data[at : at + size])[0], at + size
    if 0xA0 <= first < 0xC0 or first == 0xD9:
        count, at = (data[at], at + 1) if first == 0xD9 else (first & 31, at)
        part = data[at : at + count]
        assert len(part) == count
        return part.decode(), at + count
    found = {} if first < 0x90 else []
    for _ in range(first & 15 if first < 0xA0 else 1 // 0):
        value, at = read_msgpack(data, at)
        if isinstance(found, list):
            found.append(value)
        else:
            found[value], at = read_msgpack(data, at)
    return found, at


def as_cbor(value):
    """A value in CBOR."""

    def head(major, count):
        if count < 24:
            return bytes([major << 5 | count])
        size = next(size for size in (1, 2, 4, 8) if count < 1 << 8 * size)
        return bytes([major << 5 | 24 + size.bit_length() - 1]) + count.to_bytes(size, "big")

    if isinstance(value, bool) or value is None:
        return bytes([{False: 0xF4, True: 0xF5, None: 0xF6}[value]])
    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, float):
        return b"\xfb" + struct.pack(">d", value)
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return head(4, len(value)) + b"".join(map(as_cbor, value))
    return head(5, len(value)) + b"".join(as_cbor(key) + as_cbor(each) for key, each in value.items())


def as_msgpack(value):
    """A small value in MessagePack."""
    if isinstance(value, bool) or value is None:
        return bytes([{False: 0xC2, True: 0xC3, None: 0xC0}[value]])
    if isinstance(value, int):
        if -32 <= value < 128:
            return struct.pack(">b", value)
        return b"\xcf" + struct.pack(">Q", value) if value >= 0 else b"\xd3" + struct.pack(">q", value)
    if isinstance(value, float):
        return b"\xcb" + struct.pack(">d", value)
    if isinstance(value, str):
        return b"\xd9" + bytes([len(value.encode())]) + value.encode()
    if isinstance(value, list):
        return bytes([0x90 | len(value)]) + b"".join(map(as_msgpack, value))
    return bytes([0x80 | len(value)]) + b"".join(as_msgpack(key) + as_msgpack(each) for key, each in value.items())


def understood(payload, content_type=None):
    """Type and value of a payload."""

    def all_of(read):
        value, end = read(payload)
        return value if end == len(payload) else 1 // 0

    said = {"application/cbor": ("cbor", read_cbor), "application/msgpack": ("msgpack", read_msgpack)}
    if content_type == "application/octet-stream":
        return "binary", Bytes(payload)
    if content_type in said:
        kind, read = said[content_type]
        try:
            return kind, all_of(read)
        except Exception:
            pass
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        for kind, read in said.values():
            try:
                value = all_of(read)
            except Exception:
                continue
            if isinstance(value, (dict, list)):
                return kind, value
        return "binary", Bytes(payload)
    plain = plain_number(text)
    if plain is not None:
        return "number", plain
    try:
        value = parsed_json(text)
    except (ValueError, RecursionError):
        value = BEYOND
    return ("text", text) if value is BEYOND else ("json", value)


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def equal(one, other):
    """Equality over all kinds: numbers by value, of different kinds never."""
    if one is BEYOND or other is BEYOND:
        raise NoValue
    if is_number(one) and is_number(other):
        return one == other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all_equal((one[key], other[key]) for key in one)
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all_equal(zip(one, other))
    return one == other


def all_equal(pairs):
    """A pair that differs decides, whatever cannot be said of others."""
    failed = False
    for one, other in pairs:
        try:
            if not equal(one, other):
                return False
        except NoValue:
            failed = True
    if failed:
        raise NoValue
    return True


def same(one, other):
    """What is no change; two numbers beyond all doubles are compared as they are written."""
    try:
        return equal(one, other)
    except NoValue:
        return one == other


def compare(sign, one, other):
    if sign == "==":
        return equal(one, other)
    if sign == "!=":
        return not equal(one, other)
    if not (is_number(one) and is_number(other)) and (
        type(one) is not type(other) or not isinstance(one, (str, bytes, bool))
    ):
        raise NoValue
    if isinstance(one, str):
        one, other = one.encode(), other.encode()  # by code points
    return {"<": one < other, "<=": one <= other, ">": one > other, ">=": one >= other}[sign]


def member(value, name):
    if not isinstance(value, dict) or name not in value:
        raise NoValue
    return value[name]


def evaluate(tree, names):
    """The value of an expression; raises NoValue."""
    value = evaluated(tree, names)
    if value is BEYOND:
        raise NoValue
    return value


def evaluated(tree, names):
    kind, *parts = tree
    if kind == "literal":
        return parts[0]
    if kind == "name":
        if parts[0] not in names:
            raise NoValue
        return names[parts[0]]
    if kind == "member":
        return member(evaluate(parts[0], names), parts[1])
    if kind == "index":
        value = evaluate(parts[0], names)
        if isinstance(parts[1], str):
            return member(value, parts[1])
        if not isinstance(value, list) or not 0 <= parts[1] < len(value):
            raise NoValue
        return value[parts[1]]
    if kind == "has":
        value = evaluate(parts[0], names)
        if not isinstance(value, dict):
            raise NoValue
        return parts[1] in value
    if kind == "compare":
        return compare(parts[0], evaluate(parts[1], names), evaluate(parts[2], names))
    if kind == "in":
        value = evaluate(parts[0], names)
        return any(equal(value, each) for each in parts[1])
    if kind == "call":
        value = evaluate(parts[0], names)
        if not isinstance(value, str):
            raise NoValue
        return {"startsWith": value.startswith, "endsWith": value.endswith, "contains": value.__contains__}[parts[1]](parts[2])
    if kind == "size":
        value = evaluate(parts[0], names)
        if not isinstance(value, (str, bytes, list, dict)):
            raise NoValue
        return value.count if isinstance(value, Members) else len(value)
    if kind == "not":
        value = evaluate(parts[0], names)
        if not isinstance(value, bool):
            raise NoValue
        return not value
    if kind == "choice":
        condition = evaluate(parts[0], names)
        if not isinstance(condition, bool):
            raise NoValue
        return evaluate(parts[1] if condition else parts[2], names)
    assert kind in ("&&", "||")
    decides, failed = kind == "||", False
    for part in parts:
        try:
            value = evaluate(part, names)
        except NoValue:
            value = None
        if value is decides:
            return decides
        failed |= not isinstance(value, bool)
    if failed:
        raise NoValue
    return not decides


def written(tree):
    """The expression as text."""
    kind, *parts = tree
    if kind == "literal":
        return literal(parts[0])
    if kind == "name":
        return parts[0]
    if kind == "member":
        return f"{written(parts[0])}.{parts[1]}"
    if kind == "index":
        return f"{written(parts[0])}[{literal(parts[1])}]"
    if kind == "has":
        return f"has({written(parts[0])}.{parts[1]})"
    if kind == "compare":
        return f"{written(parts[1])} {parts[0]} {written(parts[2])}"
    if kind == "in":
        return f"{written(parts[0])} in [{', '.join(map(literal, parts[1]))}]"
    if kind == "call":
        return f"{written(parts[0])}.{parts[1]}({literal(parts[2])})"
    if kind == "size":
        return f"size({written(parts[0])})"
    if kind == "not":
        return f"!({written(parts[0])})"
    if kind == "choice":
        return f"({written(parts[0])} ? {written(parts[1])} : {written(parts[2])})"
    return f" {kind} ".join(f"({written(part)})" for part in parts)


def literal(value):
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int) and value >= 2**63:
        return f"{value}u"
    return repr(value)


class Filter:
    """An expression with what stands behind it; remembers what it passed on."""

    def __init__(self, tree=None, options=()):
        self.tree, self.options, self.last, self.times = tree, dict(options), {}, {}

    def condition(self):
        return written(self.tree) if self.tree else ""

    def prefix(self):
        text = self.condition()
        for char in "%/+#;":
            text = text.replace(char, f"%{ord(char):02X}")
        shown = (f";{name}={value}" if value else f";{name}" for name, value in self.options.items())
        return f"$where/{text}{''.join(shown)}/"

    def passes(self, topic, names):
        try:
            if self.tree and evaluate(self.tree, names) is not True:
                return False
            looked_at = names["payload"]
            for key in (self.options.get("changed") or "").split(".")[1:]:
                looked_at = member(looked_at, key)
            if looked_at is BEYOND:
                return False
        except NoValue:
            return False
        band, before = self.options.get("deadband"), self.last.get(topic)
        if topic in self.last:
            if band and is_number(before) and is_number(looked_at):
                if abs(looked_at - before) <= float(band):
                    return False
            elif ("changed" in self.options or band) and same(before, looked_at):
                return False
            if "every" in self.options:
                return False  # these tests end before the time does
        self.last[topic] = looked_at
        return True
