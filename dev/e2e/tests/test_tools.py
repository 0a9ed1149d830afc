"""What `cork pub`, `cork sub` and the other tools can do beyond mosquitto's clients."""

import json
import re
import subprocess
import time

import pytest

from broker import HOST, PASSWORD, USER, Cork, CorkAnonymous, cork_bin

pytestmark = pytest.mark.cork_only
PATIENCE = 20


def cork(*args, stdin=b"", env=None, check=None):
    result = subprocess.run([cork_bin(), *map(str, args)], input=stdin, capture_output=True, timeout=PATIENCE, env=env)
    assert check is None or result.returncode == check, result.stderr
    return result


@pytest.fixture
def login(broker):
    return ["-h", HOST, "-p", broker.port, "-u", USER, "-P", PASSWORD]


@pytest.fixture
def kept(login):
    """Publishes a retained message, so that a subscriber gets it whenever it comes."""

    def publish(topic, payload, *more):
        cork("pub", *login, "-t", topic, "-s", "-r", "-q", 1, *more, stdin=payload, check=0)

    return publish


def test_json_is_one_object_a_line(login, kept):
    kept("a/json", b'{"t": 21.5}', "-D", "publish", "user-property", "k", "v")
    kept("a/msgpack", b"\x81\xa1a\x01")
    kept("a/binary", b"\xff\x00")
    out = cork("sub", *login, "-t", "a/#", "-C", 3, "--json", "-V", 5, check=0).stdout
    by_topic = {one["topic"]: one for one in map(json.loads, out.splitlines())}
    assert by_topic["a/json"]["payload"] == {"t": 21.5}
    assert by_topic["a/json"]["properties"] == {"user-property": [["k", "v"]]}
    assert (by_topic["a/msgpack"]["type"], by_topic["a/msgpack"]["payload"]) == ("msgpack", {"a": 1})
    assert (by_topic["a/binary"]["type"], by_topic["a/binary"]["payload"]) == ("binary", "/wA=")
    assert by_topic["a/json"]["retain"] is True and by_topic["a/json"]["time"].endswith("Z")


def test_pretty_view_and_colours_are_for_terminals_or_on_demand(login, kept):
    kept("a", b'{"t":1}')
    view = lambda *more: cork("sub", *login, "-t", "a", "-C", 1, *more, check=0).stdout
    assert view() == b'{"t":1}\n'
    assert view("--view", "pretty") == b'{\n  "t": 1\n}\n'
    assert b"\x1b[36m1\x1b[0m" in view("--view", "pretty", "--color", "always")


def test_a_terminal_gets_the_pretty_view_unless_no_color_is_set(login, kept):
    kept("a", b'{"t":1}\n')
    command = " ".join(map(str, [cork_bin(), "sub", *login[:-1], f"'{PASSWORD}'", "-t", "a", "-C", 1]))
    on_terminal = lambda line: subprocess.run(
        ["script", "-qec", line, "/dev/null"], capture_output=True, timeout=PATIENCE, stdin=subprocess.DEVNULL
    ).stdout.replace(b"\r", b"")
    assert on_terminal("NO_COLOR= " + command) == b'{\n  \x1b[34m"t"\x1b[0m: \x1b[36m1\x1b[0m\n}\n'
    assert on_terminal("NO_COLOR=1 " + command) == b'{\n  "t": 1\n}\n'


def test_packets_are_shown_both_ways_without_the_password(login):
    said = cork("pub", *login, "-t", "a", "-m", "x", "-q", 1, "--packets", check=0).stderr.decode()
    kinds = re.findall(r"(->|<-) ([A-Z]+)", said)
    assert kinds == [("->", "CONNECT"), ("<-", "CONNACK"), ("->", "PUBLISH"), ("<-", "PUBACK"), ("->", "DISCONNECT")]
    assert PASSWORD not in said


def test_template_and_rate(login):
    args = ["-t", "a/{{n}}", "-m", '{"n":{{n}},"r":{{random 1..6}}}', "--template", "--repeat", 5, "--rate", 10]
    before = time.monotonic()
    said = cork("pub", *login, *args, "--packets", check=0).stderr.decode()
    assert time.monotonic() - before > 0.38, "five messages at ten a second"
    assert re.findall(r'PUBLISH "a/(\d)"', said) == ["1", "2", "3", "4", "5"]
    assert len(re.findall(r'\{"n":[1-5],"r":[1-6]\}', said)) == 5


def test_a_high_rate_does_not_stall(login):
    before = time.monotonic()
    cork("pub", *login, "-t", "a", "-l", "--rate", 20000, stdin=b"x\n" * 20000, check=0)
    assert time.monotonic() - before > 0.9


def test_strict_tells_a_refusal(workdir, password_file):
    rights = workdir / "acl.toml"
    rights.write_text('default = "deny"\n[[rule]]\nallow = ["read", "write"]\ntopic = "ok/#"\n')
    process = Cork(workdir, password_file, auth=f'allow_anonymous = true\nacl_file = "{rights}"')
    process.start()
    try:
        where = ["-h", HOST, "-p", process.port, "-V", 5, "-q", 1]
        assert cork("pub", *where, "-t", "no", "-m", "x").returncode == 0
        assert cork("pub", *where, "-t", "no", "-m", "x", "--strict").returncode == 135
        for more in [], ["-E"]:
            theirs = subprocess.run(["mosquitto_sub", *map(str, where), "-t", "no", *more], capture_output=True)
            ours = cork("sub", *where, "-t", "no", *more)
            assert (theirs.returncode, ours.returncode) == (0, 0), "scripts go on with a warning"
            assert b"all subscriptions (--strict" in ours.stderr
        assert cork("sub", *where, "-t", "no", "--strict").returncode == 135
        assert cork("sub", *where, "-t", "no", "-t", "ok/x", "-E", "--strict").returncode == 0
        assert b"refused" in cork("rr", *where, "-t", "ok/x", "-e", "no", "-m", "x", check=1).stderr
    finally:
        process.stop()


def test_websocket_unix_and_tls(broker, kept):
    kept("a", b"x")
    login = ["-u", USER, "-P", PASSWORD]
    secure = ["--cafile", broker.ca]
    for where in (
        ["-L", f"ws://{HOST}:{broker.ws_port}/mqtt"],
        ["-L", f"wss://localhost:{broker.wss_port}/mqtt", *secure],
        ["-h", "localhost", "-p", broker.tls_port, *secure, "--tls-version", "tlsv1.3"],
        ["--unix", broker.socket],
    ):
        assert cork("sub", *where, *login, "-t", "a", "-C", 1, check=0).stdout == b"x\n", where


def test_sub_comes_back_after_the_broker(workdir):
    process = CorkAnonymous(workdir)
    process.start()
    where = ["-h", HOST, "-p", str(process.port)]
    child = subprocess.Popen([cork_bin(), "sub", *where, "-t", "a", "-C", "1", "-d"], stdout=subprocess.PIPE)
    try:
        while not child.stdout.readline().startswith(b"Subscribed"):
            pass
        process.stop()
        process.start()
        while not child.stdout.readline().startswith(b"Subscribed"):
            pass
        cork("pub", *where, "-t", "a", "-m", "back", check=0)
        assert b"back\n" in child.stdout.read() and child.wait(PATIENCE) == 0
    finally:
        child.kill()
        process.stop()


def test_nobody_reads_the_output(login, kept):
    kept("a/1", b"x")
    line = f"{cork_bin()} sub -h {HOST} -p {login[3]} -u {USER} -P '{PASSWORD}' -t 'a/#' -t 'b/#'; echo $? >&2"
    feed = ["-t", "b/1", "-l", "--rate", "200"]
    child = subprocess.Popen(["bash", "-c", f"({line}) | head -c 1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert child.stdout.read(1) == b"x"
        cork("pub", *login, *feed, stdin=b"y\n" * 50, check=0)
        assert child.communicate(timeout=PATIENCE)[1] == b"141\n"
    finally:
        child.kill()


@pytest.mark.parametrize(
    "filter_, topic, code",
    [("a/+", "a/b", 0), ("#", "$SYS/a", 1), ("$share/g/a", "a", 0), ("a/#/b", "a", 2), ("a", "a/+", 2)],
)
def test_match(filter_, topic, code):
    result = cork("match", filter_, topic, check=code)
    assert (result.stderr if code == 2 else result.stdout)


def test_completions_and_man_pages(workdir):
    for shell in ("bash", "zsh", "fish"):
        assert b"remove-retained" in cork("completions", shell, check=0).stdout
    script = cork("completions", "bash").stdout
    assert subprocess.run(["bash", "-n"], input=script, timeout=PATIENCE).returncode == 0
    cork("man", workdir / "man1", check=0)
    pages = {path.name for path in (workdir / "man1").iterdir()}
    assert {"cork.1", "cork-serve.1", "cork-pub.1", "cork-sub.1", "cork-rr.1", "cork-match.1"} <= pages
    assert "remove\\-retained" in (workdir / "man1" / "cork-sub.1").read_text()


def test_refused_flags_say_what_to_do():
    for flags, word in [(["--psk", "00", "--psk-identity", "x"], b"certificates"), (["--proxy", "socks5h://x"], b"ssh -L"),
                        (["-S"], b"-h and -p"), (["--ciphers", "ALL"], b"leave it out")]:
        assert word in cork("pub", "-t", "a", "-m", "x", *flags, check=1).stderr
