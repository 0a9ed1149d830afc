"""What MQTT 5.0 adds, and load, as Paho (Python) sees it."""

import time

import pytest
from paho.mqtt.subscribeoptions import SubscribeOptions

from paho_client import properties

VERSIONS = pytest.mark.parametrize("version", [31, 311, 5], ids=["3.1", "3.1.1", "5.0"])


def test_session_ends_when_its_expiry_interval_is_over(client):
    client("visitor", clean=False, SessionExpiryInterval=2).leave()
    again = client("visitor", clean=False, SessionExpiryInterval=2)
    assert again.session_present, "back in time"
    again.leave()
    time.sleep(4.5)
    assert not client("visitor", clean=False).session_present, "too late"


def test_session_without_expiry_interval_ends_with_its_connection(client):
    client("visitor", clean=False).leave()
    assert not client("visitor", clean=False).session_present


def test_disconnect_changes_the_session_expiry_interval(client):
    client("visitor", clean=False, SessionExpiryInterval=3600).leave(SessionExpiryInterval=0)
    assert not client("visitor", clean=False, SessionExpiryInterval=3600).session_present


def test_clean_start_forgets_the_session(client):
    client("visitor", clean=False, SessionExpiryInterval=3600).leave()
    assert not client("visitor", clean=True, SessionExpiryInterval=3600).session_present


@pytest.mark.cork_only
def test_connection_taken_over_is_told_why(client):
    first = client("twin")
    client("twin")
    reason, by_packet = first.wait_disconnect()
    assert (reason.value, by_packet) == (0x8E, True)


def test_second_connection_takes_over_the_session(client):
    first = client("twin", clean=False, SessionExpiryInterval=60)
    first.subscribe("a")
    second = client("twin", clean=False, SessionExpiryInterval=60)
    first.wait_disconnect()
    assert second.session_present
    second.publish("a", "still subscribed")
    assert second.wait_for(1)[0].payload == b"still subscribed"


@VERSIONS
def test_takeover_sends_the_will_of_the_connection_that_ended(client, version):
    watcher = client("watcher")
    watcher.subscribe("wills")
    client("twin", version=version, will={"topic": "wills", "payload": "gone", "qos": 1})
    client("twin", version=version)
    watcher.settle()
    assert watcher.payloads() == ["gone"]


def test_client_identifiers_are_assigned(client):
    names = [client("").connack_properties.AssignedClientIdentifier for _ in range(3)]
    assert all(names) and len(set(names)) == 3


def test_nameless_client_of_3_1_1_is_let_in_only_without_session(client):
    assert client("", version=311, clean=True).reason == 0


def test_subscription_identifiers_of_all_matching_subscriptions_arrive(client):
    reader = client("reader")
    reader.subscribe("a/+", identifier=7)
    reader.subscribe("a/#", identifier=268_435_455)
    reader.subscribe("b", identifier=9)
    reader.publish("a/b", "x")
    reader.settle()
    found = [number for message in reader.received for number in message.properties.SubscriptionIdentifier]
    assert sorted(found) == [7, 268_435_455]


def test_no_local_spares_the_sender(client):
    talker, listener = client("talker"), client("listener")
    for one in (talker, listener):
        one.subscribe("chat", noLocal=True)
    talker.publish("chat", "hello")
    listener.publish("chat", "hi")
    assert talker.settle().payloads() == ["hi"]
    assert listener.settle().payloads() == ["hello"]


def test_retain_as_published_keeps_the_flag(client):
    reader, keeper = client("reader"), client("keeper")
    reader.subscribe("a")
    keeper.subscribe("a", retainAsPublished=True)
    client("publisher").publish("a", "x", retain=True)
    assert [reader.wait_for(1)[0].retain, keeper.wait_for(1)[0].retain] == [False, True]


@pytest.mark.parametrize(
    ("handling", "first", "second"),
    [(SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE, 1, 1), (SubscribeOptions.RETAIN_SEND_IF_NEW_SUB, 1, 0),
     (SubscribeOptions.RETAIN_DO_NOT_SEND, 0, 0)],
    ids=["send", "if new", "never"],
)
def test_retain_handling(client, handling, first, second):
    reader = client("reader")
    reader.publish("a", "x", retain=True)
    for count in (first, second):
        reader.subscribe("a", retainHandling=handling)
        assert len(reader.settle().received) == count
        reader.all_received.clear()


@VERSIONS
def test_empty_retained_message_deletes(client, version):
    one = client("one", version=version)
    one.publish("a", "x", retain=True)
    one.publish("a", "", retain=True)
    one.subscribe("a")
    assert one.settle().received == []


def test_request_and_response_carry_their_properties(client):
    server, caller = client("server"), client("caller")
    server.subscribe("service")
    caller.subscribe("answers/caller")
    pairs = [("b", "2"), ("a", "1"), ("b", "3")]
    caller.publish(
        "service", '{"grüße": 1}', ResponseTopic="answers/caller", CorrelationData=b"\x00\xff17", UserProperty=pairs,
        ContentType="application/json", PayloadFormatIndicator=1,
    )
    request = server.wait_for(1)[0].properties
    assert request.UserProperty == pairs, "all, in order"
    assert (request.ContentType, request.PayloadFormatIndicator) == ("application/json", 1)
    server.publish(request.ResponseTopic, "done", CorrelationData=request.CorrelationData)
    assert caller.wait_for(1)[0].properties.CorrelationData == b"\x00\xff17"


def test_message_expiry_counts_down_while_it_waits(client):
    client("visitor", clean=False, SessionExpiryInterval=60).subscribe("a")
    publisher = client("publisher")
    presence = "$presence/visitor"
    publisher.subscribe(presence)
    client("visitor", clean=False, SessionExpiryInterval=60).leave()
    # The broker reads DISCONNECT some time after it was sent: until then it begins to deliver, and goes on later.
    publisher.until(lambda: '"offline"' in "".join(publisher.payloads(presence)[-1:]), "the visitor's end")
    publisher.publish("a", "short", MessageExpiryInterval=1)
    publisher.publish("a", "long", MessageExpiryInterval=100)
    time.sleep(2.5)
    visitor = client("visitor", clean=False, SessionExpiryInterval=60)
    visitor.settle()
    assert visitor.payloads() == ["long"]
    assert 90 <= visitor.received[0].properties.MessageExpiryInterval <= 98


def test_will_delay_ends_with_the_return(client):
    watcher = client("watcher")
    watcher.subscribe("wills")
    options = {"clean": False, "SessionExpiryInterval": 60}
    for client_id in ("returns", "stays away"):
        one = client(client_id, auto_connect=False, **options)
        delayed_will(one, "wills", client_id, seconds=1)
        one.connect().cut()
    client("returns", **options)
    watcher.wait_for(1)
    time.sleep(1)
    assert watcher.payloads() == ["stays away"]


def delayed_will(one, topic, payload, seconds):
    """Gives a client that has not connected yet a will with a delay."""
    made = properties("willmessage", WillDelayInterval=seconds)
    one.paho.will_set(topic, payload, qos=1, properties=made)


def test_publisher_may_use_a_topic_alias(client):
    reader, publisher = client("reader"), client("publisher")
    assert publisher.connack_properties.TopicAliasMaximum >= 1
    reader.subscribe("a/long/topic/name")
    publisher.publish("a/long/topic/name", "1", TopicAlias=1)
    publisher.publish("", "2", TopicAlias=1)
    got = reader.wait_for(2)
    assert [(message.topic, message.payload) for message in got] == [
        ("a/long/topic/name", b"1"), ("a/long/topic/name", b"2"),
    ]


@pytest.mark.cork_only
def test_outgoing_topic_aliases_are_used_when_the_client_allows_them(client):
    reader, publisher = client("reader", TopicAliasMaximum=2), client("publisher")
    reader.subscribe("first/#", qos=0)
    for number in range(6):
        publisher.publish("first/quite/long/topic", str(number), qos=0 if number % 2 else 1)
    reader.wait_for(6)
    known, resolved, aliased = {}, [], 0
    for message in reader.received:
        alias = getattr(message.properties, "TopicAlias", None)
        assert alias is None or 1 <= alias <= 2
        aliased += message.topic == ""
        if alias and message.topic:
            known[alias] = message.topic
        resolved.append(message.topic or known[alias])
    assert resolved == ["first/quite/long/topic"] * 6
    assert aliased > 0, "no PUBLISH came without its topic"


def test_maximum_packet_size_of_the_client_holds(client):
    reader, publisher = client("reader", MaximumPacketSize=1000), client("publisher")
    reader.subscribe("a")
    publisher.publish("a", b"x" * 2000)
    publisher.publish("a", b"small")
    assert reader.wait_for(1)[0].payload == b"small"
    assert len(reader.settle().received) == 1


def test_shared_subscription_gives_each_message_to_one_member(client):
    members = [client(f"member{number}") for number in range(3)]
    for member in members:
        member.subscribe("$share/workers/jobs/#")
    publisher = client("publisher")
    for number in range(60):
        publisher.publish(f"jobs/{number}", str(number))
    for member in members:
        member.settle()
    shares = [[int(payload) for payload in member.payloads()] for member in members]
    assert sorted(sum(shares, [])) == list(range(60)), "each once"
    assert all(share == sorted(share) for share in shares), "in order"
    assert min(map(len, shares)) >= 10, f"a fair share each: {[len(share) for share in shares]}"


@pytest.mark.cork_only
def test_writing_to_sys_is_denied_with_a_reason(client):
    assert client("ann").publish("$SYS/broker/version", "mine").value == 0x87


def test_sys_topics_have_mosquittos_names(client):
    reader = client("reader")
    reader.subscribe("$SYS/#", qos=0)
    wanted = {
        "$SYS/broker/version", "$SYS/broker/uptime", "$SYS/broker/clients/connected",
        "$SYS/broker/messages/received", "$SYS/broker/messages/sent", "$SYS/broker/subscriptions/count",
        "$SYS/broker/retained messages/count",
    }
    names = lambda: {message.topic for message in reader.received}
    reader.until(lambda: wanted <= names(), f"{sorted(wanted)}", timeout=25)


@VERSIONS
def test_burst_of_1000_qos_2_messages_arrives_exactly_once_in_order(client, version):
    more = {"ReceiveMaximum": 10} if version == 5 else {}
    reader, publisher = client("reader", version=version, **more), client("publisher", version=version)
    reader.subscribe("burst", qos=2)
    infos = [publisher.send("burst", str(number), qos=2) for number in range(1000)]
    reader.wait_for(1000, timeout=60)
    publisher.finish(infos[-1])
    reader.settle()
    assert [int(payload) for payload in reader.payloads("burst")] == list(range(1000))
    assert all(message.qos == 2 for message in reader.received)


def test_qos_2_waits_for_an_absent_session_exactly_once(client):
    options = {"clean": False, "SessionExpiryInterval": 60}
    first = client("visitor", **options)
    first.subscribe("a", qos=2)
    first.cut()
    publisher = client("publisher")
    for number in range(300):
        info = publisher.send("a", str(number), qos=2)
    publisher.finish(info)
    second = client("visitor", **options)
    second.wait_for(300)
    second.settle()
    assert [int(payload) for payload in second.payloads()] == list(range(300))


@pytest.mark.parametrize("transport", ["tcp", "websockets"])
def test_hundred_clients_hear_one(client, transport):
    readers = [client(f"reader{number}", transport=transport, version=(31, 311, 5)[number % 3]) for number in range(100)]
    for number, reader in enumerate(readers):
        reader.subscribe("news/+", qos=number % 3)
    publisher = client("publisher")
    for number in range(20):
        publisher.publish(f"news/{number}", str(number), qos=2)
    for number, reader in enumerate(readers):
        got = reader.wait_for(20)
        assert [int(message.payload) for message in got] == list(range(20))
        assert {message.qos for message in got} == {number % 3}
