"""Links to brokers behind TLS and WebSocket, to several, to those that take less than was sent; and what a link tells."""

import http.client
import time

import pytest

from bridged import BridgedMosquitto, Node, link
from broker import HOST, free_port
from paho_client import PahoClient, properties
from waiting import until

pytestmark = pytest.mark.cork_only

OUT = {"filter": "#", "qos": 2}


def client(node, name, **options):
    return PahoClient(node, name, user=None, **options)


def told(watcher, name, key):
    """What `$SYS` said last of a link."""
    said = watcher.payloads(f"$SYS/broker/bridge/{name}/{key}")
    return said[-1] if said else None


def watch(node, running):
    one = running(client(node, "watch"))
    one.subscribe("$SYS/broker/bridge/#")
    return one


@pytest.mark.parametrize("scheme", ["mqtts", "wss", "ws"])
def test_through_tls_and_websocket(workdir, running, authority, scheme):
    cert, key = authority.issue("broker", file="broker-bridge")
    own_cert, own_key = authority.issue("site-7")
    port = free_port()
    files = f'cert = "{cert}", key = "{key}"'
    doors = {
        "mqtts": f'tls = {{ {files}, client_ca = "{authority.ca}", client_cert = "required" }}',
        "wss": f"tls = {{ {files} }}",
        "ws": "",
    }
    cloud = running(Node(workdir / "cloud", f'[[listener]]\nurl = "{scheme}://{HOST}:{port}"\n{doors[scheme]}\n'))
    cloud.start()
    proof = f', cert = "{own_cert}", key = "{own_key}"' if scheme == "mqtts" else ""
    tls = f'tls = {{ ca = "{authority.ca}"{proof} }}\n' if scheme != "ws" else ""
    config = link("cloud", port, OUT).replace("mqtt://", f"{scheme}://").replace("[[bridge.topic]]", f"{tls}[[bridge.topic]]")
    local = running(Node(workdir / "local", config))
    local.start()
    reader = running(client(cloud, "reader", clean=False, SessionExpiryInterval=3600))
    reader.subscribe("a", qos=2)
    sender = running(client(local, "sender"))
    sender.publish("a", "1", qos=2)
    reader.wait_for(1)
    cloud.kill()
    sender.publish("a", "2", qos=2)
    cloud.start()
    reader.connect()  # what came before is waiting for it
    until(lambda: "2" in reader.payloads())
    if scheme == "mqtts":
        # Without its certificate it is not let in, and the log says why.
        local.configure(config.replace(proof, ""))
        local.stop()
        local.start()
        watcher = watch(local, running)
        until(lambda: "ertificate" in (told(watcher, "cloud", "last_error") or ""), what="the reason")


def test_another_broker_is_taken_when_one_is_gone(workdir, running):
    first, second = running(Node(workdir / "first")), running(Node(workdir / "second"))
    first.start()
    second.start()
    urls = f'["mqtt://{HOST}:{first.port}", "mqtt://{HOST}:{second.port}"]'
    config = link("cloud", first.port, OUT).replace(f'"mqtt://{HOST}:{first.port}"', urls)
    local = running(Node(workdir / "local", config))
    local.start()
    watcher, sender = watch(local, running), running(client(local, "sender"))
    until(lambda: told(watcher, "cloud", "state") == "online" and str(first.port) in told(watcher, "cloud", "remote"))
    first.kill()
    until(lambda: told(watcher, "cloud", "state") == "online" and str(second.port) in told(watcher, "cloud", "remote"))
    reader = running(client(second, "reader"))
    reader.subscribe("a", qos=2)
    sender.publish("a", "1", qos=2)
    reader.wait_for(1)
    first.start()
    second.kill()
    until(lambda: told(watcher, "cloud", "state") == "online" and str(first.port) in told(watcher, "cloud", "remote"))


def test_what_one_broker_refuses_does_not_stop_the_rest(workdir, running):
    cloud = Node(workdir / "cloud")
    (workdir / "cloud" / "acl.toml").write_text('default = "allow"\n[[rule]]\ndeny = ["write"]\ntopic = "bad/#"\n')
    cloud.head = cloud.head.replace("allow_anonymous = true", 'allow_anonymous = true\nacl_file = "acl.toml"')
    cloud.configure("")
    running(cloud).start()
    local = running(Node(workdir / "local", link("cloud", cloud.port, OUT)))
    local.start()
    watcher, sender, reader = watch(local, running), running(client(local, "sender")), running(client(cloud, "reader"))
    reader.subscribe("#", qos=2)
    for number in range(20):
        sender.publish("bad/1" if number % 4 == 0 else "good/1", str(number), qos=1 + number % 2)
    reader.wait_for(15, "good/1")
    until(lambda: told(watcher, "cloud", "messages/refused/remote") == "5", what="the counter")
    until(lambda: told(watcher, "cloud", "backlog/messages") == "0")
    lines = [line for line in local.log().splitlines() if "refuses a message" in line]
    assert len(lines) == 1 and 'bridge="cloud"' in lines[0], lines


def test_a_broker_that_takes_less_is_sent_no_more(workdir, running):
    cloud = Node(workdir / "cloud")
    cloud.head = cloud.head.replace("[limits]\n", '[limits]\nmax_packet_size = "2KiB"\nreceive_maximum = 3\n')
    cloud.configure("")
    running(cloud).start()
    local = running(Node(workdir / "local", link("cloud", cloud.port, OUT)))
    local.start()
    watcher, sender, reader = watch(local, running), running(client(local, "sender")), running(client(cloud, "reader"))
    reader.subscribe("#", qos=2)
    for number in range(100):
        sender.send("a", "x" * 4000 if number == 50 else str(number), qos=1 + number % 2)
    reader.wait_for(99, "a")
    until(lambda: told(watcher, "cloud", "messages/dropped/too_large") == "1", what="the counter")
    assert told(watcher, "cloud", "state") == "online" and told(watcher, "cloud", "reconnects") in (None, "0")
    assert sum("takes no packet of" in line for line in local.log().splitlines()) == 1


def test_retained_messages_their_deletion_and_properties_pass(workdir, running):
    cloud = running(Node(workdir / "cloud"))
    cloud.start()
    local = running(Node(workdir / "local", link("cloud", cloud.port, {**OUT, "remote_prefix": "site/"})))
    local.start()
    sender, reader = running(client(local, "sender")), running(client(cloud, "reader"))
    reader.subscribe("site/#", qos=2, retainAsPublished=True)
    more = {
        "ContentType": "application/json", "ResponseTopic": "answers/1", "CorrelationData": b"\x00\xff",
        "PayloadFormatIndicator": 1, "MessageExpiryInterval": 3600, "UserProperty": [("unit", "C"), ("unit", "K")],
    }
    sender.publish("a", '{"t":1}', qos=2, retain=True, **more)
    got = reader.wait_for(1)[0]
    assert got.retain and (got.properties.ContentType, got.properties.ResponseTopic) == ("application/json", "answers/1")
    assert got.properties.CorrelationData == b"\x00\xff" and got.properties.PayloadFormatIndicator == 1
    assert 3500 <= got.properties.MessageExpiryInterval <= 3600
    assert [pair for pair in got.properties.UserProperty if pair[0] == "unit"] == [("unit", "C"), ("unit", "K")]
    late = running(client(cloud, "late"))
    late.subscribe("site/a")
    assert late.wait_for(1)[0].retain
    sender.publish("a", "", qos=1, retain=True)
    reader.wait_for(2)
    later = running(client(cloud, "later"))
    later.subscribe("site/a")
    later.settle()
    assert later.payloads() == [], "the deletion did not pass"


def test_secrets_are_told_nowhere(workdir, running, password_file):
    cloud = Node(workdir / "cloud")
    cloud.head = cloud.head.replace("allow_anonymous = true", f'password_file = "{password_file}"')
    cloud.configure("")
    running(cloud).start()
    port = free_port()
    (workdir / "key").write_text("s3cret-file\n")
    config = f'[[listener]]\nurl = "http://{HOST}:{port}"\n' + link(
        "text", cloud.port, OUT, username="ann", password="s3cret-text"
    ) + link("file", cloud.port, OUT, username="ann", password_file=str(workdir / "key"))
    local = running(Node(workdir / "local", config))
    local.start()
    watcher = running(client(local, "watch"))
    watcher.subscribe("$SYS/#")
    until(lambda: all("refuses the connection" in (told(watcher, name, "last_error") or "") for name in ("text", "file")))
    time.sleep(1.5)
    said = [local.log(), *watcher.payloads(), *(one.topic for one in watcher.received)]
    for path in ("/metrics", "/api/v1/overview", "/api/v1/clients", "/api/v1/config", "/api/v1/sessions", "/healthz"):
        connection = http.client.HTTPConnection(HOST, port, timeout=5)
        connection.request("GET", path)
        said.append(connection.getresponse().read().decode())
        connection.close()
    assert not [text for text in said if "s3cret" in text]
    lines = [line for line in local.log().splitlines() if "link is down" in line]
    assert len(lines) == 2, lines


@pytest.mark.parametrize("qos", [1, 2])
def test_a_message_at_which_mosquitto_hangs_up_does_not_stop_the_rest(workdir, running, qos):
    mosquitto = running(BridgedMosquitto(workdir / "mosquitto", "max_packet_size 2000\n"))
    mosquitto.start()
    # What mosquitto of 3.1.1 cannot say beforehand.
    local = running(Node(workdir / "local", link("cloud", mosquitto.port, {**OUT, "qos": qos}, version="3.1.1")))
    local.start()
    reader = running(client(mosquitto, "reader", version=311))
    reader.subscribe("#", qos=2)
    sender = running(client(local, "sender"))
    for number in range(30):
        sender.publish("a" if number % 2 else "b", "x" * 4000 if number == 10 else str(number), qos=2)
    lines = lambda what: [line for line in local.log().splitlines() if what in line]
    until(lambda: lines("is set aside"), 30, "the line of what is set aside")
    local.kill()
    local.start()
    watcher = watch(local, running)
    expected = [str(number) for number in range(30) if number != 10]
    until(lambda: set(expected) <= set(reader.payloads()), 40, "the rest")
    # Something must show that mosquitto takes others.
    sender = running(client(local, "sender"))
    more = 0

    def gone():
        nonlocal more
        more += 1
        sender.publish("a", f"more {more}", qos=2)
        time.sleep(0.5)
        return told(watcher, "cloud", "messages/dropped/disconnected") == "1"

    until(gone, 40, "the counter")
    until(lambda: told(watcher, "cloud", "backlog/messages") == "0", what="the end of the backlog")
    until(lambda: told(watcher, "cloud", "messages/aside") == "0", what="nothing aside")
    if qos == 2:
        for topic in ("a", "b"):
            came = [text for text in reader.payloads(topic) if not text.startswith("more")]
            assert came == [number for number in expected if int(number) % 2 == (topic == "a")], topic
    dropped = lines("is dropped: the other broker takes others")
    assert len(dropped) == 1 and "`b` (4000 bytes)" in dropped[0] and "WARN" in dropped[0].upper(), dropped
    # It closes with what it did not read.
    assert str(mosquitto.port) in dropped[0] and ("closed" in dropped[0] or "reset" in dropped[0]), dropped


def test_a_bad_message_that_the_second_session_waits_for_does_not_stop_it(workdir, running):
    mosquitto = running(BridgedMosquitto(workdir / "mosquitto", "max_packet_size 2000\n"))
    mosquitto.start()
    local = running(Node(workdir / "local", link("cloud", mosquitto.port, {**OUT, "qos": 2}, version="3.1.1")))
    local.start()
    watcher = watch(local, running)
    until(lambda: told(watcher, "cloud/second", "state") == "online", what="the second session")
    reader = running(client(mosquitto, "reader", version=311, clean=False))
    reader.subscribe("#", qos=2)
    sender = running(client(local, "sender"))
    # Only a second session that was there once is given anything.
    sender.publish("a", "first", qos=2)
    reader.wait_for(1)
    mosquitto.stop()
    until(lambda: told(watcher, "cloud", "state") != "online", what="the outage")
    # The first session takes 65 messages of a topic that has a backlog: its last one is bad.
    for number in range(200):
        sender.publish("a", "x" * 4000 if number == 64 else str(number), qos=2)
    mosquitto.start()
    reader.connect()
    # There is nothing else that would show that mosquitto takes others.
    until(lambda: told(watcher, "cloud", "messages/dropped/disconnected") == "1", 90, "the counter")
    reader.until(lambda: "199" in reader.payloads("a"), "the rest", 20)
    assert reader.payloads("a") == ["first"] + [str(number) for number in range(200) if number != 64]
