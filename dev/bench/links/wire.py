"""As much of MQTT 3.1.1 as measuring needs, by bytes: Paho in Python would be what is measured."""

import select
import socket
import struct
import time

from broker import HOST, connect_packet

PAYLOAD_BYTES = 64
TOPICS = 100
TOPIC = "bench/{:02}"
WINDOW = 2000


def text(value):
    return struct.pack(">H", len(value)) + value.encode()


def publish(topic, payload, packet_id=None):
    """PUBLISH at QoS 1, or at QoS 0 without an identifier; short enough for one length byte."""
    body = text(topic) + (struct.pack(">H", packet_id) if packet_id else b"") + payload
    assert len(body) < 128
    return bytes([0x32 if packet_id else 0x30, len(body)]) + body


def connect(port, name, clean=True):
    stream = socket.create_connection((HOST, port), timeout=60)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    stream.sendall(connect_packet(name, clean=clean, keep_alive=0))
    answer = stream.recv(4)
    assert len(answer) == 4 and answer[3] == 0, f"CONNACK: {answer}"
    return stream


def subscribe(port, name, filter):
    """A subscriber at QoS 0, whose SUBACK has been read."""
    stream = connect(port, name)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    body = b"\0\1" + text(filter) + b"\0"
    stream.sendall(bytes([0x82, len(body)]) + body)
    read(stream, 5)
    return stream


def read(stream, size):
    data = b""
    while len(data) < size:
        more = stream.recv(size - len(data))
        assert more, "the broker closed the connection"
        data += more
    return data


def send_all(port, count, payload=b"x" * PAYLOAD_BYTES):
    """Publishes at QoS 1 and returns when all are acknowledged. `payload`: bytes, or a function of the number."""
    stream, acknowledged, sent = connect(port, "sender"), 0, 0
    made = payload if callable(payload) else lambda _: payload
    while acknowledged < count * 4:
        # Room for so many, in multiples that are worth a write.
        room = min(WINDOW - (sent - acknowledged // 4), count - sent)
        if room >= WINDOW // 4 or (room and room == count - sent):
            ids = range(sent, sent + room)
            stream.sendall(b"".join(publish(TOPIC.format(n % TOPICS), made(n), n % 60_000 + 1) for n in ids))
            sent += room
            continue
        data = stream.recv(1 << 16)
        assert data, "the broker closed the connection"
        acknowledged += len(data)
    stream.close()


class Counter:
    """Counts what arrives, by its bytes: all publications have the same length."""

    def __init__(self, port):
        self.stream = subscribe(port, "counter", "bench/#")
        self.size = len(publish(TOPIC.format(0), b"x" * PAYLOAD_BYTES))
        self.first = self.last = None
        self.buffer = bytearray(1 << 20)

    def wait_for(self, count, patience=20):
        """Until so many are there, or nothing more comes. Returns how many."""
        wanted, got = count * self.size, 0
        while got < wanted:
            if not select.select([self.stream], [], [], patience)[0]:
                break
            got += self.stream.recv_into(self.buffer)
            self.last = time.monotonic()
            self.first = self.first or self.last
        self.stream.close()
        return got // self.size
