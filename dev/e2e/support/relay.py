"""A relay that stands between a client and a broker and reads along: which packets the client sent, when SUBACK came."""

import socket
import threading

from broker import HOST


class Packets:
    """Cuts a stream of bytes into MQTT packets."""

    def __init__(self):
        self.buffer = bytearray()

    def feed(self, data):
        self.buffer += data
        while True:
            size, shift, at = 0, 0, 1
            while at < len(self.buffer) and at < 5:
                size |= (self.buffer[at] & 0x7F) << shift
                shift, at = shift + 7, at + 1
                if self.buffer[at - 1] < 0x80:
                    break
            else:
                return
            if len(self.buffer) < at + size:
                return
            packet, self.buffer = bytes(self.buffer[: at + size]), self.buffer[at + size :]
            yield packet[0], packet[at:]


class Relay:
    """Listens on `port`; `sent` are the packets of the client as (first byte, body), in order."""

    def __init__(self, broker_port):
        self.sent, self.subscribed, self._reading, self._sockets = [], threading.Event(), [], []
        self._to = broker_port
        self._listener = socket.create_server((HOST, 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            broker = socket.create_connection((HOST, self._to))
            self._sockets += [client, broker]
            self._reading.append(threading.Thread(target=self._pump, args=(client, broker, self._note_sent), daemon=True))
            self._reading[-1].start()
            threading.Thread(target=self._pump, args=(broker, client, self._note_received), daemon=True).start()

    def _pump(self, source, sink, note):
        packets = Packets()
        try:
            while data := source.recv(65536):
                sink.sendall(data)
                for first, body in packets.feed(data):
                    note(first, body)
        except OSError:
            pass
        try:
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def _note_sent(self, first, body):
        self.sent.append((first, body))

    def _note_received(self, first, _):
        if first == 0x90:
            self.subscribed.set()

    def finish(self):
        """Waits until everything is read of clients that are gone; what they sent."""
        self._listener.shutdown(socket.SHUT_RDWR)  # a thread that waits in accept would keep it open
        self._listener.close()
        for thread in self._reading:
            thread.join(10)
        # Paho waits with select(), which knows no descriptor above 1023: none may be left behind.
        for stream in self._sockets:
            stream.close()
        return self.sent


def essence(first, body, version):
    """What two clients that mean the same have in common; None for what they may do each in their own way."""
    kind = first >> 4
    if kind == 1:  # CONNECT: name, level, flags, Keep Alive; the client identifier and the rest are elsewhere
        name = int.from_bytes(body[:2], "big")
        return "CONNECT", body[2 : 2 + name], body[2 + name], body[3 + name], body[4 + name : 6 + name]
    if kind == 3:  # PUBLISH without its identifier
        size = int.from_bytes(body[:2], "big")
        at = 2 + size + (2 if first & 6 else 0)
        return "PUBLISH", first, body[2 : 2 + size], body[at:]
    if kind == 8:  # SUBSCRIBE without its identifier
        return "SUBSCRIBE", body[2:]
    if kind == 10:
        return "UNSUBSCRIBE", body[2:]
    if kind == 14:
        return ("DISCONNECT",)
    return None
