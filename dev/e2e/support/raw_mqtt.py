"""MQTT on a bare socket: packets as bytes, TCP or WebSocket, and what came back until the broker closed.

For tests that send what no library would.
"""

import socket
import threading
import time

from broker import HOST

PINGREQ = b"\xc0\x00"
PINGRESP = b"\xd0\x00"
HANDSHAKE = (
    b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
)
MASK = b"\x01\x02\x03\x04"


def u16(number):
    return number.to_bytes(2, "big")


def u32(number):
    return number.to_bytes(4, "big")


def length(number):
    """A Variable Byte Integer."""
    out = bytearray()
    while True:
        number, digit = number >> 7, number & 0x7F
        out.append(digit | (0x80 if number else 0))
        if not number:
            return bytes(out)


def text(value):
    data = value.encode() if isinstance(value, str) else value
    return u16(len(data)) + data


def packet(first, *body):
    joined = b"".join(body)
    return bytes([first]) + length(len(joined)) + joined


def properties(version, data=b""):
    """The Properties field; nothing in 3.1.1."""
    return length(len(data)) + data if version == 5 else b""


def connect(client_id="x", version=4, *, flags=0x02, keep_alive=0, props=b"", payload=b"", name=b"MQTT", level=None):
    """`payload` follows the Client Identifier as it is."""
    head = text(name) + bytes([version if level is None else level, flags]) + u16(keep_alive)
    return packet(0x10, head, properties(version, props), text(client_id), payload)


def publish(topic, payload=b"", version=4, *, qos=0, packet_id=1, props=b"", retain=0, dup=0):
    identifier = u16(packet_id) if qos else b""
    first = 0x30 | dup << 3 | qos << 1 | retain
    return packet(first, text(topic), identifier, properties(version, props), payload)


def subscribe(filters, version=4, *, packet_id=1, props=b"", options=0):
    entries = b"".join(text(one) + bytes([options]) for one in filters)
    return packet(0x82, u16(packet_id), properties(version, props), entries)


def unsubscribe(filters, version=4, *, packet_id=1):
    return packet(0xA2, u16(packet_id), properties(version), b"".join(map(text, filters)))


def frame(payload, opcode=2, *, fin=True, mask=MASK):
    """A WebSocket frame from a client; without `mask` as a client must not send it."""
    head = bytes([0x80 * fin | opcode])
    size, masked = len(payload), 0x80 if mask else 0
    if size < 126:
        head += bytes([masked | size])
    elif size < 1 << 16:
        head += bytes([masked | 126]) + u16(size)
    else:
        head += bytes([masked | 127]) + size.to_bytes(8, "big")
    if not mask:
        return head + payload
    key = (mask * (size // 4 + 1))[:size]
    return head + mask + (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")


class RawClient:
    """One connection. `received` is MQTT; `close_code` what a WebSocket CLOSE said."""

    def __init__(self, process, websocket=False, *, receive_buffer=None, handshake=True):
        self.websocket = websocket
        self.received, self.undecoded, self.close_code = bytearray(), bytearray(), None
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(10)
        self.socket.connect((HOST, process.ws_port if websocket else process.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.name = "{}:{}".format(*self.socket.getsockname())
        if websocket and handshake:
            self.socket.sendall(HANDSHAKE)
            while b"\r\n\r\n" not in self.undecoded:
                self.undecoded += self.socket.recv(4096)
            answer, _, rest = bytes(self.undecoded).partition(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 101 "), answer
            self.undecoded = bytearray(rest)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(frame(data) if self.websocket else data)

    def send_anyhow(self, data):
        """As `send`; no error when the broker has closed already."""
        try:
            self.send(data)
        except OSError:
            return False
        return True

    def _receive(self):
        """False at the end of the stream. A reset is an error: it destroys what the broker said last."""
        data = self.socket.recv(1 << 16)
        if self.websocket:
            self.undecoded += data
            self._unframe()
        else:
            self.received += data
        return bool(data)

    def _unframe(self):
        buffer = self.undecoded
        while len(buffer) >= 2:
            head = {126: 4, 127: 10}.get(buffer[1], 2)
            size = buffer[1] if head == 2 else int.from_bytes(buffer[2:head], "big")
            if len(buffer) < head + size:
                return
            opcode, payload = buffer[0] & 0x0F, bytes(buffer[head : head + size])
            del buffer[: head + size]
            if opcode == 8:
                self.close_code = int.from_bytes(payload[:2], "big")
            elif opcode in (0, 2):
                self.received += payload

    def read(self, seconds=10):
        """The next packet, whole; empty at the end of the stream."""
        self.socket.settimeout(seconds)
        while True:
            size, shift = 0, 0
            for at, digit in enumerate(self.received[1:5], 1):
                size |= (digit & 0x7F) << shift
                shift += 7
                if not digit & 0x80:
                    if len(self.received) > at + size:
                        one = bytes(self.received[: at + 1 + size])
                        del self.received[: at + 1 + size]
                        return one
                    break
            if not self._receive():
                return b""

    def read_to_end(self, seconds=10):
        """All until the broker closes."""
        self.socket.settimeout(seconds)
        while self._receive():
            pass
        data = bytes(self.received)
        self.received.clear()
        return data

    def login(self, client_id, version=4, **options):
        self.send(connect(client_id, version, **options))
        answer = self.read()
        assert answer[0] == 0x20 and answer[3] == 0, f"CONNACK: {answer.hex()}"
        return self

    def ping(self):
        """Round trip; everything that came before the PINGRESP is thrown away."""
        self.send(PINGREQ)
        while True:
            one = self.read(30)
            assert one, "closed"
            if one == PINGRESP:
                return


class Neighbour(threading.Thread):
    """Sends QoS 1 messages to itself, one after the other, TCP to WebSocket; notes how long each took."""

    def __init__(self, process, **options):
        super().__init__(daemon=True)
        self.receiver = RawClient(process, websocket=True).login("neighbour-in", **options)
        self.receiver.send(subscribe(["neighbour"], options=1))
        assert self.receiver.read()[0] == 0x90
        self.sender = RawClient(process).login("neighbour-out", **options)
        self.seconds, self.error, self.over = [], None, threading.Event()

    def run(self):
        try:
            while not self.over.wait(0.01):
                self._once(len(self.seconds))
        except (OSError, AssertionError) as error:
            self.error = repr(error)

    def _once(self, number):
        payload, start = str(number).encode(), time.monotonic()
        self.sender.send(publish("neighbour", payload, qos=1, packet_id=number % 65535 + 1))
        got = self.receiver.read(20)
        assert got.endswith(payload), f"message {number} is lost: {got!r}"
        at = 2 + len(text("neighbour"))
        self.receiver.send(b"\x40\x02" + got[at : at + 2])
        assert self.sender.read(20)[0] == 0x40, "PUBACK"
        self.seconds.append(time.monotonic() - start)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind, *_):
        self.over.set()
        self.join(25)
        for one in (self.sender, self.receiver):
            one.close()
        if kind is None:
            assert self.error is None, self.error
            assert self.seconds, "not one message came through"
            assert max(self.seconds) < 3, f"the neighbour waited {max(self.seconds):.1f} s"
            median = sorted(self.seconds)[len(self.seconds) // 2]
            assert median < 0.1, f"the neighbour waits {median:.3f} s for each message"
