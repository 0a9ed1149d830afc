"""An Eclipse Paho client that remembers what it received and waits for answers instead of sleeping."""

import itertools
import socket
import threading
import time

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from broker import HOST, PASSWORD, USER

PROTOCOLS = {31: paho.MQTTv31, 311: paho.MQTTv311, 5: paho.MQTTv5}
PATIENCE = 15.0
SETTLE = "settle/"


def properties(packet, **values):
    """v5 properties by Paho's names, for example `properties("connect", SessionExpiryInterval=3600)`."""
    made = Properties(getattr(PacketTypes, packet.upper()))
    for name, value in values.items():
        setattr(made, name, value)
    return made


# What a test calls a transport: what Paho calls it, which of the broker's ports, whether with TLS.
TRANSPORTS = {
    "tcp": ("tcp", "port", False),
    "websockets": ("websockets", "ws_port", False),
    "tls": ("tcp", "tls_port", True),
    "wss": ("websockets", "wss_port", True),
    "certificate": ("tcp", "certificate_port", True),
    "unix": ("unix", "port", False),
}


class KeepingPaho(paho.Client):
    """A publisher at QoS 2 that outlives a broker which is away for more than one attempt to connect.

    Paho 2.2 gets a flow ready for the next connection at each attempt. The second one no longer knows "the PUBREL goes
    out again" from the first, and takes the message for one that was never sent: it would be published twice.
    """

    def _messages_reconnect_reset_out(self):
        released = [one for one in self._out_messages.values() if one.state == paho.mqtt_ms_resend_pubrel]
        super()._messages_reconnect_reset_out()
        for one in released:
            one.state = paho.mqtt_ms_resend_pubrel


class PahoClient:
    """One client; every call returns when the broker has answered."""

    def __init__(self, broker, client_id, *, version=5, transport="tcp", user=USER, password=PASSWORD, clean=True,
                 keep_alive=60, will=None, auto_connect=True, certificate=None, **connect_properties):
        self.client_id, self.version, self.clean, self.keep_alive = client_id, version, clean, keep_alive
        carried, port, encrypted = TRANSPORTS[transport]
        self.host = str(broker.socket) if transport == "unix" else HOST
        self.port = getattr(broker, port)
        if certificate is not None:
            user = None  # the certificate says who it is
        self.connect_properties = connect_properties
        self.all_received, self.connack, self.disconnects = [], None, []
        self._acks, self._changed = {}, threading.Condition()
        options = {} if version == 5 else {"clean_session": clean}
        self.paho = paho.Client(
            paho.CallbackAPIVersion.VERSION2, client_id=client_id, protocol=PROTOCOLS[version], transport=carried,
            reconnect_on_failure=False, **options,
        )
        self.paho.max_queued_messages_set(0)
        if encrypted:
            cert, key = certificate or (None, None)
            self.paho.tls_set(str(broker.ca), certfile=cert and str(cert), keyfile=key and str(key))
        if user is not None:
            self.paho.username_pw_set(user, password)
        if will is not None:
            self.paho.will_set(**will)
        self.paho.on_connect = self._on_connect
        self.paho.on_disconnect = self._on_disconnect
        self.paho.on_message = self._on_message
        self.paho.on_subscribe = lambda _c, _u, mid, codes, _p: self._acknowledge(("suback", mid), codes)
        self.paho.on_unsubscribe = lambda _c, _u, mid, codes, _p: self._acknowledge(("unsuback", mid), codes)
        self.paho.on_publish = lambda _c, _u, mid, code, _p: self._acknowledge(("published", mid), code)
        if auto_connect:
            self.connect()

    # What Paho's thread tells us.

    def _note(self, change):
        with self._changed:
            change()
            self._changed.notify_all()

    def _on_connect(self, _client, _userdata, flags, reason_code, props):
        self._note(lambda: setattr(self, "connack", (reason_code, flags.session_present, props)))

    def _on_disconnect(self, _client, _userdata, flags, reason_code, _props):
        self._note(lambda: self.disconnects.append((reason_code, flags.is_disconnect_packet_from_server)))

    def _on_message(self, _client, _userdata, message):
        self._note(lambda: self.all_received.append(message))

    def _acknowledge(self, key, codes):
        self._note(lambda: self._acks.__setitem__(key, codes))

    def until(self, ready, what, timeout=PATIENCE):
        """Waits until `ready()` is true; fails with `what` when it takes too long."""
        with self._changed:
            if not self._changed.wait_for(ready, timeout):
                raise AssertionError(f"{self.client_id}: waited {timeout} s for {what}; received {self.summary()}")

    # What a test does.

    def connect(self, *, expect=0):
        """Connects and checks the reason code of CONNACK; returns `self`."""
        more = {}
        if self.version == 5:
            more = {"clean_start": self.clean, "properties": properties("connect", **self.connect_properties)}
        self.connack = None
        self.paho.connect(self.host, self.port, self.keep_alive, **more)
        self.paho.loop_start()
        self.until(lambda: self.connack is not None, "CONNACK")
        codes = expect if isinstance(expect, tuple) else (expect,)
        assert self.reason.value in codes, f"CONNACK {self.reason}, expected {codes}"
        return self

    @property
    def reason(self):
        return self.connack[0]

    @property
    def session_present(self):
        return self.connack[1]

    @property
    def connack_properties(self):
        return self.connack[2]

    def subscribe(self, *filters, qos=1, expect=None, identifier=None, **options):
        """Subscribes in one packet; returns the reason codes, which must be the granted QoS unless `expect` is given."""
        if self.version == 5:
            wanted = [(one, SubscribeOptions(qos=qos, **options)) for one in filters]
        else:
            wanted = [(one, qos) for one in filters]
        props = properties("subscribe", SubscriptionIdentifier=identifier) if identifier else None
        _, mid = self.paho.subscribe(wanted, properties=props)
        self.until(lambda: ("suback", mid) in self._acks, f"SUBACK for {filters}")
        codes = [code.value for code in self._acks[("suback", mid)]]
        assert codes == (expect or [qos] * len(filters)), f"SUBACK {codes} for {filters}"
        return codes

    def unsubscribe(self, *filters):
        _, mid = self.paho.unsubscribe(list(filters))
        self.until(lambda: ("unsuback", mid) in self._acks, f"UNSUBACK for {filters}")

    def send(self, topic, payload=b"", *, qos=0, retain=False, **props):
        """Publishes without waiting; returns what Paho gives for `finish`."""
        made = properties("publish", **props) if props else None
        return self.paho.publish(topic, payload, qos=qos, retain=retain, properties=made)

    def finish(self, info):
        """Waits until the QoS flow of a sent message is over; returns the reason code."""
        self.until(lambda: ("published", info.mid) in self._acks, "the end of the publish flow")
        return self._acks[("published", info.mid)]

    def publish(self, topic, payload=b"", *, qos=1, retain=False, **props):
        return self.finish(self.send(topic, payload, qos=qos, retain=retain, **props))

    @property
    def received(self):
        return [one for one in self.all_received if one._topic[: len(SETTLE)] != SETTLE.encode()]

    def payloads(self, topic=None):
        """The payloads received, as text, in order; only those of `topic` if given."""
        return [one.payload.decode() for one in self.received if topic is None or one.topic == topic]

    def summary(self):
        pairs = [(one.topic, bytes(one.payload[:40])) for one in self.received]
        return f"{len(pairs)} messages: {pairs[-20:]}"

    def wait_for(self, count, topic=None, timeout=PATIENCE):
        """Waits for that many messages; returns them all."""
        self.until(lambda: len(self.payloads(topic)) >= count, f"{count} messages on {topic or 'any topic'}", timeout)
        return [one for one in self.received if topic is None or one.topic == topic]

    def settle(self, _round=itertools.count()):
        """Returns when a message this client sends to itself has come back: what was under way before is here now."""
        topic = f"{SETTLE}{self.client_id or 'nameless'}/{next(_round)}"
        self.subscribe(topic)
        self.publish(topic)
        self.until(lambda: any(one.topic == topic for one in self.all_received), "its own message")
        self.unsubscribe(topic)
        time.sleep(0.05)
        return self

    def leave(self, **disconnect_properties):
        """Leaves by DISCONNECT."""
        props = properties("disconnect", **disconnect_properties) if disconnect_properties else None
        self.paho.disconnect(properties=props)
        self.until(lambda: self.disconnects, "the end of the connection")
        self.paho.loop_stop()

    def cut(self):
        """Ends the connection as a pulled plug does for the broker: the stream ends, there was no DISCONNECT."""
        stream = self.paho.socket()
        raw = getattr(stream, "_socket", stream)
        raw.shutdown(socket.SHUT_RDWR)
        self.until(lambda: self.disconnects, "the end of the connection")
        self.paho.loop_stop()

    def wait_disconnect(self, timeout=PATIENCE):
        """Waits until the broker ends the connection; returns (reason code, whether a DISCONNECT packet said so)."""
        self.until(lambda: self.disconnects, "the broker to disconnect", timeout)
        return self.disconnects[-1]

    def close(self):
        self.paho.disconnect()
        self.paho.loop_stop()
