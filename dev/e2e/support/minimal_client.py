"""A client as small as those on microcontrollers: protocol level 4, one 128-byte buffer, QoS 0 out, QoS 1 in.

It knows no packet it does not need, drops what does not fit its buffer, and sends each byte in a segment of its own.
"""

import socket
import time

from broker import HOST, PASSWORD, USER, connect_packet

BUFFER_BYTES = 128


def text(value):
    data = value.encode()
    return len(data).to_bytes(2, "big") + data


class MinimalClient:
    def __init__(self, port, client_id, *, keep_alive=15, byte_by_byte=True):
        self.stream = socket.create_connection((HOST, port), timeout=10)
        self.stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.byte_by_byte = byte_by_byte
        self.dropped = 0
        self.send(connect_packet(client_id, level=4, user=USER, password=PASSWORD, keep_alive=keep_alive))
        assert self.read() == (0x20, b"\x00\x00"), "CONNACK, accepted"

    def send(self, packet):
        assert len(packet) <= BUFFER_BYTES
        if not self.byte_by_byte:
            self.stream.sendall(packet)
            return
        for one in packet:
            self.stream.sendall(bytes([one]))
            time.sleep(0.0005)  # so that not even loopback puts two into one read

    def _exactly(self, count):
        data = b""
        while len(data) < count:
            part = self.stream.recv(count - len(data))
            if not part:
                raise ConnectionError("the broker closed")
            data += part
        return data

    def read(self):
        """The next packet that fits the buffer, as (first byte, body)."""
        while True:
            first = self._exactly(1)[0]
            length, shift = 0, 0
            while True:
                digit = self._exactly(1)[0]
                length |= (digit & 0x7F) << shift
                shift += 7
                if not digit & 0x80:
                    break
            body = self._exactly(length)
            if 1 + shift // 7 + length <= BUFFER_BYTES:
                return first, body
            self.dropped += 1

    def publish(self, topic, payload, *, retain=False):
        body = text(topic) + payload
        self.send(bytes([0x31 if retain else 0x30, len(body)]) + body)

    def subscribe(self, topic_filter, packet_id=1):
        body = packet_id.to_bytes(2, "big") + text(topic_filter) + b"\x01"
        self.send(bytes([0x82, len(body)]) + body)
        assert self.read() == (0x90, packet_id.to_bytes(2, "big") + b"\x01"), "SUBACK, QoS 1"

    def ping(self):
        self.send(b"\xc0\x00")
        assert self.read() == (0xD0, b""), "PINGRESP"

    def message(self):
        """The next PUBLISH as (topic, payload), acknowledged."""
        first, body = self.read()
        assert first & 0xF0 == 0x30, f"not a PUBLISH: {first:#x}"
        length = int.from_bytes(body[:2], "big")
        topic, rest = body[2 : 2 + length].decode(), body[2 + length :]
        if first & 0x06:
            self.send(b"\x40\x02" + rest[:2])
            rest = rest[2:]
        return topic, rest

    def disconnect(self):
        self.send(b"\xe0\x00")
        self.stream.close()
