"""Who may do what: rights files, what `cork acl explain` says of them, and reload by SIGHUP."""

import re
import signal
import subprocess
import time

import pytest

from broker import PASSWORD, USER, Cork, add_user, cork_bin
from paho_client import PahoClient

pytestmark = pytest.mark.cork_only

VERSIONS = [311, 5]
HOLDS_WITHIN = 1.0  # seconds from SIGHUP until a change holds
NOT_AUTHORIZED = 0x87

TOML = """\
default = "deny"
[groups]
family = ["ann", "bob"]

[[rule]]
user = "bob"
deny = ["write"]
topic = "home/door"

[[rule]]
group = "family"
allow = ["read", "write"]
topic = "home/#"

[[rule]]
allow = ["read", "write"]
topic = "settle/%c/#"
"""

MOSQUITTO = """\
# the same, in Mosquitto's words
user ann
topic readwrite home/#

user bob
topic deny home/door
topic home/#

pattern readwrite settle/%c/#
"""


class House:
    """A broker with two users and a rights file, and clients that are closed with it."""

    def __init__(self, workdir, name, text):
        self.passwords, self.rights = workdir / "passwords", workdir / name
        for user in (USER, "bob"):
            add_user(self.passwords, user)
        self.rights.write_text(text)
        self.broker = Cork(workdir, self.passwords, auth=f'acl_file = "{self.rights}"')
        self.config = workdir / "cork.toml"
        self.broker.start()
        self.clients = []

    def client(self, name, *, user=USER, **options):
        self.clients.append(PahoClient(self.broker, name, user=user, password=PASSWORD, **options))
        return self.clients[-1]

    def reload(self, expect="reloaded"):
        """SIGHUP; returns when the log says what became of it."""
        before = len(self.broker.log())
        self.broker.signal(signal.SIGHUP)
        deadline = time.monotonic() + HOLDS_WITHIN
        while expect not in self.broker.log()[before:]:
            assert time.monotonic() < deadline, self.broker.log()[before:]
            time.sleep(0.01)
        return self.broker.log()[before:]

    def explain(self, *arguments):
        command = [cork_bin(), "acl", "explain", "--config", str(self.config), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=20)

    def close(self):
        for one in self.clients:
            one.close()
        self.broker.stop()


@pytest.fixture
def house(workdir):
    made = []

    def make(name="acl.toml", text=TOML):
        made.append(House(workdir, name, text))
        return made[-1]

    yield make
    for one in made:
        one.close()


def was_refused(client, code):
    """Whether a publication was: 3.1.1 has no word for it."""
    return code.value == NOT_AUTHORIZED if client.version == 5 else None


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name, text", [("acl.toml", TOML), ("acl.conf", MOSQUITTO)], ids=["toml", "mosquitto"])
def test_rights_bind_publications_deliveries_and_wills(house, version, name, text):
    house = house(name, text)
    ann = house.client("ann", version=version)
    bob = house.client("bob", user="bob", version=version)
    ann.subscribe("home/#")
    for topic in ("home/door", "garden", "home/lamp"):
        code = bob.publish(topic, topic)
        assert was_refused(bob, code) in (None, topic != "home/lamp"), topic
    ann.wait_for(1)
    ann.settle()
    assert ann.payloads() == ["home/lamp"]
    denials = lambda client: [
        line for line in house.broker.log().splitlines() if "publish denied" in line and f'client="{client}"' in line
    ]
    will = {"topic": "home/door", "payload": "will", "qos": 1}
    one = house.client("w", user="bob", version=version, will=will, auto_connect=False)
    if name == "acl.toml":
        one.connect(expect=(5, NOT_AUTHORIZED))
    else:
        # As for Mosquitto: who may not leave its will comes in, and the will goes nowhere.
        one.connect().cut()
        ann.until(lambda: denials("w"), "the denial of the will")
        ann.settle()
    assert ann.payloads() == ["home/lamp"]
    assert len(denials("bob")) == 2, "one for each topic"
    for word in ('user="bob"', 'topic="home/door"', f"{name}:"):
        assert word in denials("bob")[0], denials("bob")[0]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_subscription_is_refused_or_brings_only_what_may_be_read(house, version):
    refused = NOT_AUTHORIZED if version == 5 else 0x80
    toml = house()
    ann = toml.client("ann", version=version)
    ann.subscribe("#", "home/#", "$share/g/garden", "$share/g/home/x", expect=[refused, 1, refused, 1])
    assert "subscribe denied" in toml.broker.log()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_mosquitto_file_grants_every_subscription_and_checks_each_delivery(house, version):
    house = house("acl", "user ann\ntopic home/#\ntopic settle/#\nuser bob\ntopic #\n")
    ann, bob = house.client("ann", version=version), house.client("bob", user="bob", version=version)
    ann.subscribe("#")
    bob.publish("garden", "no")
    bob.publish("home/x", "yes")
    ann.wait_for(1)
    assert ann.payloads() == ["yes"]


@pytest.mark.parametrize("version", VERSIONS)
def test_changed_rights_hold_within_a_second_for_who_is_connected(house, version):
    house = house()
    ann, bob = house.client("ann", version=version), house.client("bob", user="bob", version=version)
    ann.subscribe("home/#")
    bob.publish("home/lamp", "before", retain=True)
    ann.wait_for(1)
    house.rights.write_text(TOML.replace('["ann", "bob"]', '["bob"]'))
    house.reload()
    bob.publish("home/lamp", "after")
    ann.settle()
    assert ann.payloads() == ["before"]
    ann.publish("home/lamp", "denied")
    ann.subscribe("home/#", expect=[NOT_AUTHORIZED if version == 5 else 0x80])
    bob.subscribe("home/#")
    bob.wait_for(1)
    bob.settle()
    assert bob.payloads() == ["before"], "the retained value is untouched"
    house.rights.write_text(TOML)
    house.reload()
    bob.publish("home/lamp", "again")
    ann.wait_for(2)
    assert not ann.disconnects and not bob.disconnects


@pytest.mark.parametrize("version", VERSIONS)
def test_users_come_and_go_by_reload(house, version):
    house = house()
    ann, bob = house.client("ann", version=version), house.client("bob", user="bob", version=version)
    add_user(house.passwords, "eve")
    house.client("eve0", user="eve", version=version, auto_connect=False).connect(expect=(0x86, 4, 0x87))
    house.reload()
    house.client("eve1", user="eve", version=version)
    command = [cork_bin(), "passwd", str(house.passwords), "bob", "--delete"]
    assert subprocess.run(command, capture_output=True, timeout=20).returncode == 0
    house.reload()
    reason, by_packet = bob.wait_disconnect(HOLDS_WITHIN)
    if version == 5:
        assert (reason.value, by_packet) == (NOT_AUTHORIZED, True)
    house.client("bob", user="bob", version=version, auto_connect=False).connect(expect=(0x86, 4, 0x87))
    ann.settle()
    assert not ann.disconnects


BROKEN = {
    "rights: empty word": ("rights", TOML.replace('["write"]', "[]"), r"acl\.toml:7: `deny` is not accepted"),
    "rights: not TOML": ("rights", "[[rule\n", r"acl\.toml:1: "),
    "rights: missing": ("rights", None, r"acl\.toml`?: the rights file can't be read"),
    "users: empty": ("passwords", "", r"passwords`?: the password file has no users"),
    "users: damaged": ("passwords", "ann\n", r"passwords:1: the line has no colon"),
    "users: missing": ("passwords", None, r"passwords`?: the password file can't be read"),
    "configuration: misspelt": ("config", "[limit]\n", r"cork\.toml:1: key `limit`: unknown key"),
    "configuration: missing": ("config", None, r"cork\.toml: the configuration can't be read"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_changes_nothing_and_is_named(house, case):
    which, text, expected = BROKEN[case]
    house = house()
    ann = house.client("ann")
    ann.subscribe("home/#")
    path = getattr(house, which)
    good = path.read_text()
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    log = house.reload("not reloaded")
    assert re.search(expected, log), log
    assert ann.publish("home/x", "still").value == 0
    assert ann.publish("garden", "still not").value == NOT_AUTHORIZED
    ann.wait_for(1)
    house.client("bob", user="bob")
    house.client("thief", user="mallory", auto_connect=False).connect(expect=0x86)
    path.write_text(good)
    house.reload()
    assert not ann.disconnects and "panicked" not in house.broker.log()


@pytest.mark.parametrize("case", [case for case in BROKEN if not case.startswith("configuration")])
def test_a_broken_file_stops_the_start(house, case):
    which, text, expected = BROKEN[case]
    house = house()
    house.broker.stop()
    path = getattr(house, which)
    path.unlink()
    if text is not None:
        path.write_text(text)
    result = subprocess.run([cork_bin(), "serve", "--config", str(house.config)], capture_output=True, text=True, timeout=20)
    assert result.returncode == 1
    assert re.search(expected, result.stderr), result.stderr


@pytest.mark.parametrize("name", ["acl.toml", "acl"])
def test_an_empty_rights_file_closes_everything(house, name):
    ann = house(name, "").client("ann")
    assert ann.publish("home/x").value == NOT_AUTHORIZED
    ann.subscribe("home/x", expect=[NOT_AUTHORIZED] if name == "acl.toml" else [1])


def test_a_reload_says_what_changed_and_what_needs_a_restart(house):
    house = house()
    text = house.config.read_text()
    more = "\n[limits]\nmax_packet_size = 1000\n[log]\nlevel = 'debug'\n[drain]\ntimeout = '1s'\n"
    house.config.write_text("durability = 'none'\n" + text + more)
    early = house.client("early")
    log = house.reload()
    assert "limits.max_packet_size: 1kB (was 16MiB)" in log
    assert re.search(r"needs a restart.*durability.*always.*none", log)
    early.publish("home/x", "x" * 2000)
    late = house.client("late", user="bob")
    late.send("home/x", "x" * 2000)
    assert late.wait_disconnect()[0].value == 0x95
    house.config.write_text(text)
    log = house.reload()
    assert "limits.max_packet_size: 16MiB (was 1kB)" in log and "needs a restart" not in log
    assert "reloaded: nothing changed" in house.reload()


def test_explain_says_who_may_and_why(house):
    house = house()
    cases = [
        (("--user", "ann", "--topic", "home/door", "--action", "write"), 0, "allowed by .*acl.toml:10"),
        (("--user", "bob", "--topic", "home/door", "--action", "write"), 1, "denied by .*acl.toml:5"),
        (("--user", "bob", "--topic", "home/door", "--action", "read"), 0, "allowed by .*acl.toml:10"),
        (("--user", "bob", "--topic", "garden", "--action", "read"), 1, "denied by default: no rule fits"),
        (("--topic", "home/x", "--action", "read"), 1, "denied by default"),
        (("--client", "a", "--topic", "settle/a/1", "--action", "write"), 0, "allowed by .*acl.toml:15"),
        (("--user", "ann", "--topic", "$share/g/home/+", "--action", "subscribe"), 0, "allowed by .*acl.toml:10"),
        (("--user", "ann", "--topic", "#", "--action", "subscribe"), 1, "denied by default"),
        (("--user", "ann", "--topic", "home/#", "--action", "read"), 2, "wildcards"),
        (("--user", "ann", "--topic", "home", "--action", "listen"), 2, "listen"),
    ]
    for arguments, code, said in cases:
        result = house.explain(*arguments)
        assert result.returncode == code, (arguments, result)
        assert re.search(said, result.stdout + result.stderr), (arguments, result)
    assert f"judged by {house.config}" in house.explain("--topic", "a", "--action", "read").stdout
    question = [cork_bin(), "acl", "explain", "--topic", "home/x", "--action", "read"]
    here = subprocess.run(question, capture_output=True, text=True, timeout=20, cwd=house.config.parent)
    assert here.returncode == 1 and "judged by cork.toml" in here.stdout
    nowhere = subprocess.run(question, capture_output=True, text=True, timeout=20, cwd="/")
    assert nowhere.returncode == 0 and "judged by the defaults: there is no `cork.toml` here" in nowhere.stdout
    house.rights.write_text("[[rule]]\n")
    result = house.explain("--topic", "a", "--action", "read")
    assert result.returncode == 2 and "acl.toml:1" in result.stderr


def test_clients_that_share_an_identifier_are_named(house):
    house = house()
    for _ in range(5):
        house.client("twin")
    lines = [line for line in house.broker.log().splitlines() if "share one client identifier" in line]
    assert len(lines) == 1 and "WARN" in lines[0] and 'client="twin"' in lines[0]
    assert len(re.findall(r"127\.0\.0\.1:\d+", lines[0])) == 2
