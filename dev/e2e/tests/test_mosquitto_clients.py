"""Debian's mosquitto_pub and mosquitto_sub against the broker, in every version they speak."""

import time

import pytest

from mosquitto_tools import Subscriber, publish

pytestmark = pytest.mark.usefixtures("broker")
VERSIONS = pytest.mark.parametrize("version", [31, 311, 5], ids=["3.1", "3.1.1", "5.0"])


@VERSIONS
@pytest.mark.parametrize("sent", [0, 1, 2])
@pytest.mark.parametrize("asked", [0, 1, 2])
def test_quality_of_service_is_the_smaller_of_both(broker, version, sent, asked):
    reader = Subscriber(broker, "a/b", count=2, version=version, qos=asked)
    publish(broker, "a/b", "grüße", version=version, qos=sent)
    publish(broker, "a/b", None, version=version, qos=sent)
    qos = min(sent, asked)
    assert reader.lines() == [f"a/b|{qos}|0|grüße", f"a/b|{qos}|0|"]


@pytest.mark.parametrize("publisher", [31, 311, 5])
@pytest.mark.parametrize("subscriber", [31, 311, 5])
def test_versions_talk_to_each_other(broker, publisher, subscriber):
    reader = Subscriber(broker, "#", count=1, version=subscriber, qos=1)
    publish(broker, "/a//b", "x", version=publisher, qos=1)
    assert reader.lines() == ["/a//b|1|0|x"]


@VERSIONS
def test_retained_message_is_kept_replaced_and_deleted(broker, version):
    publish(broker, "a", "old", "-r", version=version, qos=1)
    publish(broker, "a", "new", "-r", version=version, qos=1)
    assert Subscriber(broker, "a", count=1, version=version, wait_subscribed=False).lines() == ["a|1|1|new"]
    publish(broker, "a", None, "-r", version=version, qos=1)
    publish(broker, "b", "last", "-r", version=version)
    assert Subscriber(broker, "+", count=1, version=version, wait_subscribed=False).lines() == ["b|0|1|last"]


@VERSIONS
def test_will_is_sent_when_the_process_is_killed(broker, version):
    reader = Subscriber(broker, "status", count=1, version=version)
    will = ["--will-topic", "status", "--will-payload", "gone", "--will-qos", 1, "--will-retain"]
    Subscriber(broker, "x", count=1, version=version, more=will).kill()
    assert reader.lines() == ["status|1|0|gone"]
    assert Subscriber(broker, "status", count=1, wait_subscribed=False).lines() == ["status|1|1|gone"]


@VERSIONS
def test_session_keeps_messages_while_its_client_is_away(broker, version):
    session = ["-i", "visitor", "-c"] + (["-x", 60] if version == 5 else [])
    Subscriber(broker, "a", count=1, version=version, more=session).kill()
    for number in range(20):
        publish(broker, "a", str(number), version=version, qos=1 + number % 2)
    got = Subscriber(broker, "a", count=20, version=version, more=session, wait_subscribed=False).lines()
    for qos in (1, 2):  # each in order; a QoS 2 message is handed over one step later than a QoS 1 message
        of_qos = [line for line in got if line.startswith(f"a|{qos}")]
        assert of_qos == [f"a|{qos}|0|{number}" for number in range(qos - 1, 20, 2)]


@VERSIONS
def test_wrong_password_is_refused(broker, version):
    result = publish(broker, "a", "x", "-P", "wrong", version=version, check=False)
    assert result.returncode != 0
    said = result.stderr.decode().lower()
    assert any(word in said for word in ("refused", "not authori", "bad user name or password")), said


def test_properties_reach_the_subscriber(broker):
    reader = Subscriber(broker, "a", count=1, form="%p|%C|%R|%D|%P|%E|%F")
    words = [
        ("content-type", "text/plain"), ("response-topic", "answers"), ("correlation-data", "17"),
        ("user-property", "b", "2"), ("user-property", "a", "1"), ("message-expiry-interval", "100"),
        ("payload-format-indicator", "1"),
    ]
    publish(broker, "a", "x", *[word for one in words for word in ("-D", "publish", *one)], qos=1)
    (line,) = reader.lines()
    payload, content_type, response, correlation, pairs, expiry, form = line.split("|")
    assert (payload, content_type, response, correlation, form) == ("x", "text/plain", "answers", "17", "1")
    assert pairs.split() == ["b:2", "a:1"], "in order"
    assert 98 <= int(expiry) <= 100


def test_topic_alias_of_the_publisher(broker):
    reader = Subscriber(broker, "a/long/name", count=3)
    alias = ["-D", "publish", "topic-alias", 1, "--repeat", 3]
    publish(broker, "a/long/name", "x", *alias, qos=1)
    assert reader.lines() == ["a/long/name|1|0|x"] * 3


def test_message_expires_while_it_waits(broker):
    publish(broker, "short", "x", "-r", "-D", "publish", "message-expiry-interval", 1, qos=1)
    publish(broker, "long", "x", "-r", "-D", "publish", "message-expiry-interval", 100, qos=1)
    time.sleep(2.5)
    (line,) = Subscriber(broker, "+", count=1, form="%t|%E", wait_subscribed=False).lines()
    topic, left = line.split("|")
    assert topic == "long" and 90 <= int(left) <= 98


def test_subscription_identifier_comes_back(broker):
    reader = Subscriber(broker, "a/#", count=1, form="%t|%S", more=["-D", "subscribe", "subscription-identifier", 42])
    publish(broker, "a/b", "x")
    assert reader.lines() == ["a/b|42"]


@VERSIONS
def test_shared_subscription(broker, version):
    pair = [Subscriber(broker, "$share/g/jobs", count=10, version=version, qos=1) for _ in range(2)]
    for number in range(20):
        publish(broker, "jobs", str(number), qos=1)
    numbers = [int(line.split("|")[3]) for reader in pair for line in reader.lines()]
    assert sorted(numbers) == list(range(20))


@VERSIONS
def test_sys_tells_the_version_and_stays_out_of_plain_wildcards(broker, version):
    names = ["$SYS/broker/version", "$SYS/broker/uptime"]
    lines = Subscriber(broker, *names, count=2, version=version, qos=0, form="%t", wait_subscribed=False).lines()
    assert set(lines) <= set(names)
    everything = Subscriber(broker, "#", "+/broker/version", count=1, version=version, form="%t")
    publish(broker, "end", "x")
    assert everything.lines() == ["end"]


@VERSIONS
def test_megabyte_passes_unchanged(broker, version):
    big = bytes(range(33, 127)) * (1_048_576 // 94)
    reader = Subscriber(broker, "big", count=1, version=version, qos=2, form="%l|%p")
    publish(broker, "big", big, version=version, qos=2)
    (line,) = reader.lines()
    length, payload = line.split("|", 1)
    assert int(length) == len(big) and payload.encode() == big
