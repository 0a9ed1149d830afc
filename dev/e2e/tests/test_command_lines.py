"""The same command lines through mosquitto's clients and through cork, against the same broker: once Mosquitto, once
Corkboard. Output, exit code and the packets that matter must be the same.

What cork does in another way on purpose stands in docs/cli.md, and below in DIFFERENT with what it does instead.
"""

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, field

import pytest

import broker as brokers
import raw_mqtt
from broker import HOST, PASSWORD, USER
from relay import Relay, essence

PATIENCE = 20.0
pytestmark = pytest.mark.cork_only  # the clients are the subject here; both brokers are used anyway


@dataclass
class Case:
    """A command line. `{port}` and so on are filled in; `feed` is published once the client has subscribed."""

    name: str
    tool: str
    args: list
    stdin: bytes = b""
    feed: list = field(default_factory=list)
    retained: list = field(default_factory=list)
    # What changes from run to run is replaced by these.
    blur: list = field(default_factory=list)
    packets: bool = True
    direct: bool = False
    env: dict = field(default_factory=dict)


def msg(topic, payload=b"", qos=0, retain=0, props=b""):
    payload = payload.encode() if isinstance(payload, str) else payload
    return raw_mqtt.publish(topic, payload, 5, qos=qos, packet_id=7, retain=retain, props=props)


DIGITS = [(rb"\d", b"9")]
STAMP = [(rb'("tst":\s*")[^"]*"', rb'\1"')]
ALL_PROPERTIES = (
    b"\x01\x01" + b"\x02" + raw_mqtt.u32(100) + b"\x03" + raw_mqtt.text("text/plain") + b"\x08" + raw_mqtt.text("rt")
    + b"\x09" + raw_mqtt.text("abc") + b"\x26" + raw_mqtt.text("a") + raw_mqtt.text("b") + b"\x26" + raw_mqtt.text("c d")
    + raw_mqtt.text("e")
)
P5 = ["-V", "5"]
D = "-D"


def pub(name, *args, stdin=b"", **more):
    return Case(f"pub {name}", "pub", ["-t", "t/a", *args], stdin, **more)


def sub(name, *args, feed=(), count=1, **more):
    return Case(f"sub {name}", "sub", ["-t", "t/#", "-C", str(count), *args], feed=list(feed), **more)


def fmt(form, message, *args, blur=(), **more):
    return sub(f"-F {form}", "-F", form, *args, feed=[message], blur=list(blur), **more)


HELLO = msg("t/a", "hello")
FULL = msg("t/a", "hello", 1, props=ALL_PROPERTIES)
TREE = msg("t/a", '{"a": 1.50, "b":[1,2,{"c":null},[],{}], "d":true, "e":{}, "s":"\\u00e9\\n\\/"}')
NUMBERS = msg("t/a", "[1e10,1e16,1e15,0.1,1e-7,1e-4,3.141592653589793,100000.0,2147483648,0.30000000000000004,-5,1.5e300]")

PUBLISHING = [
    pub("-m", "-m", "x"),
    pub("-m empty", "-m", ""),
    pub("-m like a flag", "-m", "-t"),
    pub("-m UTF-8", "-m", "grüße"),
    pub("-m bytes", "-m", os.fsdecode(b"\xff\xfe"), "-q", "1"),
    pub("-m like -o", "-m", "-o", "-q", "1"),
    pub("-m like -L", "-m", "-L", "-q", "1"),
    pub("--will-payload bytes", "-m", "x", "--will-topic", "w", "--will-payload", os.fsdecode(b"\xff")),
    pub("-n", "-n"),
    pub("-n -r", "-n", "-r"),
    pub("-q 1", "-m", "x", "-q", "1"),
    pub("-q 2", "-m", "x", "-q", "2"),
    pub("-q 2 -V 5", "-m", "x", "-q", "2", *P5),
    pub("-q 2 -V 31", "-m", "x", "-q", "2", "-V", "31"),
    pub("-V mqttv311", "-m", "x", "-V", "mqttv311"),
    pub("-V mqttv5", "-m", "x", "-V", "mqttv5"),
    pub("-r -q 1", "-m", "x", "-r", "-q", "1"),
    pub("-s", "-s", stdin=b"one\ntwo\n\x00\xff"),
    pub("-s -q 1", "-s", "-q", "1", stdin=bytes(range(256)) * 40),
    pub("-f", "-f", "{binary}"),
    pub("-f empty", "-f", "{empty}"),
    pub("-f nowhere", "-f", "/nowhere/at/all"),
    pub("-f folder", "-f", "/tmp"),
    pub("-l", "-l", stdin=b"one\ntwo\n\nfour"),
    pub("-l -q 1", "-l", "-q", "1", stdin=b"one\ntwo\n"),
    pub("-l -q 2", "-l", "-q", "2", stdin=b"".join(b"%d\n" % n for n in range(50))),
    pub("-l carriage returns", "-l", stdin=b"one\r\ntwo\r\n"),
    pub("-l long lines", "-l", stdin=b"x" * 5000 + b"\n" + b"y" * 70000 + b"\n"),
    pub("-l empty stdin", "-l"),
    pub("-s empty stdin", "-s"),
    pub("-l with retain", "-l", "-r", stdin=b"one\n"),
    pub("--repeat", "-m", "x", "--repeat", "3"),
    pub("--repeat -q 1", "-m", "x", "--repeat", "3", "-q", "1"),
    pub("--repeat --repeat-delay", "-m", "x", "--repeat", "3", "--repeat-delay", "0.1", "-q", "1"),
    pub("--repeat 0", "-m", "x", "--repeat", "0"),
    pub("--repeat-delay negative", "-m", "x", "--repeat", "2", "--repeat-delay", "-1"),
    pub("-i", "-m", "x", "-i", "me"),
    pub("-I", "-m", "x", "-I", "me-"),
    pub("-i and -I", "-m", "x", "-i", "me", "-I", "me"),
    pub("-k", "-m", "x", "-k", "5"),
    pub("-k too small", "-m", "x", "-k", "4"),
    pub("-k too large", "-m", "x", "-k", "70000"),
    pub("-k none", "-m", "x", "-k", "0"),
    pub("-c without -i", "-m", "x", "-c"),
    pub("-c", "-m", "x", "-c", "-i", "pubc"),
    pub("-c -V 5", "-m", "x", "-c", "-i", "pubc5", *P5, "-x", "5"),
    pub("-x", "-m", "x", "-x", "5", *P5, "-i", "x5"),
    pub("-x -1", "-m", "x", "-x", "-1", *P5, "-i", "x6"),
    pub("-x words", "-m", "x", "-x", "abc", *P5),
    pub("-x too large", "-m", "x", "-x", "4294967296", *P5),
    pub("-x without -V 5", "-m", "x", "-x", "5"),
    pub("-u -P", "-m", "x", "-u", USER, "-P", PASSWORD),
    pub("-u -P -V 5", "-m", "x", "-u", USER, "-P", PASSWORD, *P5),
    pub("wrong password", "-m", "x", "-u", USER, "-P", "wrong"),
    pub("wrong password -V 5", "-m", "x", "-u", USER, "-P", "wrong", *P5),
    pub("wrong password -V 31", "-m", "x", "-u", USER, "-P", "wrong", "-V", "31"),
    pub("wrong password --quiet", "-m", "x", "-u", USER, "-P", "wrong", "--quiet"),
    pub("-P without -u", "-m", "x", "-P", PASSWORD),
    pub("--will", "-m", "x", "--will-topic", "w", "--will-payload", "gone", "--will-qos", "1", "--will-retain"),
    pub("--will-topic alone", "-m", "x", "--will-topic", "w"),
    pub("--will-payload alone", "-m", "x", "--will-payload", "gone"),
    pub("--will-retain alone", "-m", "x", "--will-retain"),
    pub("--will-qos alone", "-m", "x", "--will-qos", "1"),
    pub("--will-topic wildcard", "-m", "x", "--will-topic", "w/#"),
    pub("-D publish", "-m", "x", D, "publish", "content-type", "text/plain", D, "publish", "user-property", "a", "-b"),
    pub("-D all of publish", "-m", "x", "-q", "1", D, "publish", "message-expiry-interval", "100", D, "publish",
        "payload-format-indicator", "1", D, "publish", "response-topic", "rt", D, "publish", "correlation-data", "abc"),
    pub("-D after -V 311", "-m", "x", "-V", "311", D, "publish", "content-type", "a"),
    pub("-D capitals", "-m", "x", D, "PUBLISH", "content-type", "a"),
    pub("-D will", "-m", "x", "--will-topic", "w", D, "will", "will-delay-interval", "5"),
    pub("-D connect user-property", "-m", "x", D, "connect", "user-property", "a", "b"),
    pub("-D disconnect", "-m", "x", D, "disconnect", "user-property", "a", "b"),
    pub("-D disconnect reason-string", "-m", "x", D, "disconnect", "reason-string", "done"),
    pub("-D unknown name", "-m", "x", D, "publish", "foo", "1"),
    pub("-D unknown command", "-m", "x", D, "foo", "content-type", "1"),
    pub("-D wrong place", "-m", "x", D, "connect", "content-type", "1"),
    pub("-D too few", "-m", "x", D, "publish"),
    pub("-D out of range", "-m", "x", D, "connect", "receive-maximum", "70000"),
    pub("-D zero", "-m", "x", D, "connect", "receive-maximum", "0"),
    pub("-D authentication-method", "-m", "x", D, "connect", "authentication-method", "foo"),
    pub("-M", "-m", "x", "-M", "1", "-q", "1"),
    pub("-M 0", "-m", "x", "-M", "0"),
    pub("-A", "-m", "x", "-A", "127.0.0.1"),
    pub("-A somewhere else", "-m", "x", "-A", "1.2.3.4"),
    pub("--nodelay", "-m", "x", "--nodelay"),
    pub("--quiet", "-m", "x", "--quiet"),
    pub("-q too large", "-m", "x", "-q", "3"),
    pub("-V 4", "-m", "x", "-V", "4"),
    pub("-m and -n", "-m", "x", "-n"),
    pub("-m and -l", "-m", "x", "-l"),
    pub("-m without value", "-m"),
    pub("no message"),
    pub("unknown flag", "-m", "x", "--bogus"),
    pub("an argument too many", "-m", "x", "foo"),
    pub("-S", "-m", "x", "-S"),
    pub("last -t wins", "-t", "t/b", "-m", "x"),
    pub("last -q wins", "-m", "x", "-q", "1", "-q", "0"),
    pub("--cert without --key", "-m", "x", "--cert", "a"),
    pub("--psk without identity", "-m", "x", "--psk", "00"),
    pub("long flags", "--message", "x", "--qos", "1", "--retain", "--id", "me", "--keepalive", "30", "--protocol-version", "5"),
    pub("options file", "-m", "x", env={"XDG_CONFIG_HOME": "{config}"}),
    pub("options file and its flags again", "-m", "x", "-q", "2", "--id", "mine", env={"XDG_CONFIG_HOME": "{config}"}),
    Case("pub wildcard", "pub", ["-t", "a/+", "-m", "x"]),
    Case("pub no topic", "pub", ["-m", "x"]),
    Case("pub -L", "pub", ["-L", "mqtt://127.0.0.1:{port}/t/url", "-m", "x"], direct=True, packets=False),
    Case("pub -L login", "pub", ["-L", f"mqtt://{USER}:wrong@127.0.0.1:{{port}}/t/url", "-m", "x"], direct=True),
    Case("pub -L after another place", "pub", ["-L", "mqtt://127.0.0.1:{port}/t/url", "-m", "x", "-q", "1"], direct=True,
         env={"XDG_CONFIG_HOME": "{elsewhere}"}),
    Case("pub -L and -p", "pub", ["-L", "mqtt://127.0.0.1/t/url", "-p", "{port}", "-m", "x"], direct=True),
    Case("pub -L and -h", "pub", ["-L", "mqtt://nosuch.invalid:{port}/t/url", "-h", HOST, "-m", "x"], direct=True),
    Case("pub -L after -P", "pub", ["-P", "wrong", "-L", f"mqtt://{USER}:{PASSWORD}@127.0.0.1:{{port}}/t/u", "-m", "x"],
         direct=True),
    Case("pub -L in capitals", "pub", ["-L", "MQTT://127.0.0.1:{port}/t/url", "-m", "x"], direct=True),
    Case("pub -L and --unix", "pub", ["-L", "mqtt://127.0.0.1:{port}/t/url", "--unix", "/nowhere.sock", "-m", "x"], direct=True),
    Case("pub -L and -t", "pub", ["-t", "t/b", "-L", "mqtt://127.0.0.1:{port}/t/url", "-m", "x", "-d", "-i", "me", "-q", "1"],
         direct=True),
    Case("pub -L without topic", "pub", ["-L", "mqtt://127.0.0.1:{port}", "-m", "x"], direct=True),
    Case("pub -L other scheme", "pub", ["-L", "http://127.0.0.1:{port}/a", "-m", "x"], direct=True),
    Case("pub nobody there", "pub", ["-h", HOST, "-p", "1", "-t", "a", "-m", "x"], direct=True),
    Case("pub port too large", "pub", ["-p", "70000", "-t", "a", "-m", "x"], direct=True),
    Case("pub unknown host", "pub", ["-h", "nosuch.invalid", "-t", "a", "-m", "x"], direct=True),
    Case("pub --unix nowhere", "pub", ["--unix", "/nowhere.sock", "-t", "a", "-m", "x"], direct=True),
    Case("pub TLS", "pub", ["-h", "localhost", "-p", "{tls_port}", "--cafile", "{ca}", "-t", "t/a", "-m", "x", "-q", "1"],
         direct=True),
    Case("pub TLS 1.2", "pub", ["-h", "localhost", "-p", "{tls_port}", "--cafile", "{ca}", "--tls-version", "tlsv1.2",
                                "-t", "t/a", "-m", "x", "-q", "1"], direct=True),
    Case("pub TLS --insecure", "pub", ["-h", HOST, "-p", "{tls_port}", "--cafile", "{ca}", "--insecure", "-t", "t/a",
                                       "-m", "x", "-q", "1"], direct=True),
    Case("pub TLS -L mqtt://", "pub", ["-L", "mqtt://localhost:{tls_port}/t/a", "--cafile", "{ca}", "-m", "x"], direct=True),
    Case("pub TLS -L mqtts://", "pub", ["-L", "mqtts://localhost:{tls_port}/t/a", "--cafile", "{ca}", "-m", "x"], direct=True),
    # A certificate that is not trusted is not among them: mosquitto_pub ends with 1 or with 8, as it happens.
    Case("pub TLS no such authority", "pub", ["-h", "localhost", "-p", "{tls_port}", "--cafile", "/nowhere", "-t", "t/a",
                                              "-m", "x"], direct=True),
    Case("pub TLS client certificate", "pub", ["-h", "localhost", "-p", "{certificate_port}", "--cafile", "{ca}", "--cert",
                                               "{cert}", "--key", "{key}", "-t", "t/a", "-m", "x", "-q", "1"], direct=True),
]

SUBSCRIBING = [
    sub("plain", feed=[HELLO]),
    sub("-v", "-v", feed=[HELLO]),
    sub("-N", "-N", feed=[HELLO]),
    sub("-v -N", "-v", "-N", feed=[HELLO]),
    sub("empty payload", feed=[msg("t/a")]),
    sub("empty payload -v", "-v", feed=[msg("t/a")]),
    sub("empty payload -v -N", "-v", "-N", feed=[msg("t/a")]),
    sub("binary payload", feed=[msg("t/a", bytes(range(256)))]),
    sub("binary payload -N", "-N", feed=[msg("t/a", bytes(range(256)) * 300)]),
    sub("-q 1", "-q", "1", "-v", feed=[msg("t/a", "x", 1)]),
    sub("-q 2 -V 5", "-q", "2", "-v", *P5, feed=[msg("t/a", "x", 1)]),
    sub("-V 31", "-V", "31", feed=[HELLO]),
    sub("-V 5", *P5, feed=[HELLO]),
    sub("-C 3", "-v", count=3, feed=[msg("t/a", "1"), msg("t/b", "2"), msg("t/c", "3"), msg("t/d", "4")]),
    sub("two -t", "-t", "other/+", "-v", count=2, feed=[msg("t/a", "1"), msg("other/x", "2")]),
    sub("-T", "-T", "t/a", "-v", feed=[msg("t/a", "1"), msg("t/b", "2")]),
    sub("-T wildcard", "-T", "t/+/x", "-T", "t/a/#", "-v", feed=[msg("t/a/y", "1"), msg("t/b/x", "2"), msg("t/b", "3")]),
    sub("-R", "-R", "-v", retained=[msg("t/old", "old", 0, 1)], feed=[HELLO]),
    sub("-R -V 5", "-R", "-v", *P5, retained=[msg("t/old", "old", 0, 1)], feed=[HELLO]),
    sub("-R --retain-as-published", "-R", "--retain-as-published", "-F", "%r %p", *P5, feed=[msg("t/rap", "x", 0, 1), HELLO]),
    sub("retained", "-v", retained=[msg("t/old", "old", 0, 1)]),
    sub("--retained-only", "--retained-only", "-v", count=9, retained=[msg("t/old", "old", 0, 1)], feed=[HELLO]),
    sub("--remove-retained", "--remove-retained", "-v", "-W", "2", retained=[msg("t/old", "old", 0, 1)]),
    sub("--remove-retained -T", "--remove-retained", "-T", "t/keep", "-v", "-W", "2",
        retained=[msg("t/keep", "k", 0, 1), msg("t/old", "old", 0, 1)]),
    sub("--remove-retained -R", "--remove-retained", "-R", "-v", retained=[msg("t/old", "old", 0, 1)], feed=[HELLO]),
    sub("--remove-retained --retained-only", "--remove-retained", "--retained-only", "-v", "-W", "2", count=9,
        retained=[msg("t/old", "old", 0, 1)], feed=[HELLO]),
    sub("--retain-as-published", "--retain-as-published", *P5, "-F", "%r", feed=[msg("t/rap", "x", 0, 1)]),
    sub("-U", "-U", "t/x", "-v", feed=[HELLO]),
    sub("-c", "-c", "-i", "subc", "-v", feed=[HELLO]),
    sub("-c without -i", "-c"),
    sub("-x", "-x", "10", *P5, "-i", "subx", feed=[HELLO]),
    sub("-x -1 without -i", "-x", "-1", *P5),
    sub("subscription-identifier", *P5, D, "subscribe", "subscription-identifier", "42", "-F", "%S|%05S|%-5S|", feed=[HELLO]),
    sub("-D unsubscribe", "-U", "t/x", D, "unsubscribe", "user-property", "a", "b", feed=[HELLO]),
    sub("-D publish", D, "publish", "content-type", "x", feed=[HELLO]),
    sub("long flags", "--verbose", "--qos", "1", "--filter-out", "t/z", "--id", "subl", feed=[HELLO]),
    sub("--will", "--will-topic", "w", "--will-payload", "gone", feed=[HELLO]),
    sub("--pretty alone", "--pretty", feed=[TREE]),
    sub("--random-filter 0", "--random-filter", "0"),
    sub("-C 0", "-C", "0"),
    sub("-C negative", "-C", "-1"),
    sub("-W", "-W", "1"),
    sub("-W after messages", "-W", "1", "-v", count=9, feed=[HELLO]),
    sub("-W 0", "-W", "0"),
    sub("-W words", "-W", "abc"),
    sub("-E", "-E"),
    sub("-E -c", "-E", "-c", "-i", "sube"),
    sub("-E -V 5 -q 2", "-E", *P5, "-q", "2"),
    sub("-R and --retained-only", "-R", "--retained-only"),
    sub("-T wrong", "-T", "b/#/c"),
    sub("-U wrong", "-U", "b/#/c"),
    sub("wrong password", "-u", USER, "-P", "wrong"),
    sub("wrong password -V 5", "-u", USER, "-P", "wrong", *P5),
    sub("-m", "-m", "x"),
    sub("many messages", count=2000, feed=[msg("t/a", str(n)) for n in range(2000)]),
    sub("a megabyte", "-N", feed=[msg("t/a", b"0123456789abcdef" * 65536)]),
    Case("sub wrong filter", "sub", ["-t", "a/#/b"]),
    Case("sub wrong filter 2", "sub", ["-t", "a+"]),
    Case("sub no topic", "sub", []),
    Case("sub -U alone", "sub", ["-U", "a"]),
    Case("sub -L", "sub", ["-L", "mqtt://127.0.0.1:{port}/t/x", "-E"], direct=True),
    Case("sub -L and -t", "sub", ["-L", "mqtt://127.0.0.1:{port}/t/x", "-t", "t/y", "-E", "-d", "-i", "me"], direct=True),
    Case("sub -L after another place", "sub", ["-L", "mqtt://127.0.0.1:{port}/t/x", "-E"], direct=True,
         env={"XDG_CONFIG_HOME": "{elsewhere}"}),
    Case("sub nobody there", "sub", ["-h", HOST, "-p", "1", "-t", "a", "-W", "2"], direct=True),
    Case("sub TLS", "sub", ["-h", "localhost", "-p", "{tls_port}", "--cafile", "{ca}", "-t", "t/old", "-C", "1", "-v"],
         direct=True, retained=[msg("t/old", "old", 0, 1)]),
    # Every field, with and without value, width, precision and flags.
    fmt("%t|%p|%q|%r|%m|%l|%x|%X|%%", msg("t/a", "hello", 1), "-q", "1"),
    fmt(r"@@|\\|\n|\t|\0|\a|\e|\r|\v|", HELLO),
    fmt("%10t|%-10t|%3.2t|%.2t|%010t|", HELLO),
    fmt("%10p|%-10p|%3p|%.3p|%10.3p|%05p|", HELLO),
    fmt("%08l|%-8l|%8l|%5m|%05m|%-5m|", msg("t/a", "hello", 1), "-q", "1"),
    fmt("%20x|%020x|%-20x|%5x|%3X|%1x|", HELLO),
    fmt("%5q|%-5q|%05r|", HELLO),
    fmt("%A|%C|%D|%E|%F|%P|%R|%S|", HELLO, *P5),
    fmt("%A|%C|%D|%E|%F|%P|%R|%S|", HELLO),
    fmt("%A|%C|%D|%F|%P|%R|%S|", FULL, *P5),
    fmt("%5A|%5C|%.2C|%10.2C|%05F|%5F|%10R|%-10.1R|%5S|%-5S|", FULL, *P5),
    fmt("%E|%08E|%-8E|", FULL, *P5, blur=DIGITS),
    fmt("%I|%30I|%-30I|%.4I|%U", HELLO, blur=DIGITS),
    fmt("@Y-@m-@dT@H:@M:@S@z @N @s @j @y @C @F @T @R @D @e @k @l @I @u @w @U @W @V @G @g", HELLO, blur=DIGITS),
    fmt("@a @A @b @B @h @p @P @Z @c @x @X @r @n@t@%", HELLO, blur=DIGITS),
    fmt("@q@Q@+@-@f@i@J@K@L@o@v@E@O", HELLO),
    fmt("%j", HELLO, blur=STAMP),
    fmt("%j", msg("t/a", 'he"l\\lo\tx\x01/', 1), "-q", "1", *P5, blur=STAMP),
    fmt("%j", msg("t/a"), blur=STAMP),
    fmt("%j", msg("t/a", b"\xff\xc3\xa9\x7f"), blur=STAMP + [(rb"\xff|\xef\xbf\xbd", rb"?")]),
    fmt("%j", FULL, "-q", "1", *P5, blur=STAMP + [(rb'(interval":)\d+', rb"\1")]),
    fmt("%j", FULL, "--pretty", *P5, blur=STAMP + [(rb'(interval":\s*)\d+', rb"\1")]),
    fmt("%J", TREE, blur=STAMP),
    fmt("%J", NUMBERS, blur=STAMP),
    fmt("%J", TREE, "--pretty", blur=STAMP),
    fmt("%J", msg("t/a", '{"b":1e400,"c":-1e999}'), blur=STAMP),
    fmt("%J", msg("t/a", " 5 "), blur=STAMP),
    fmt("%J", msg("t/a"), blur=STAMP),
    fmt("%t %J", msg("t/a", "abc"), blur=STAMP),
    fmt("%t", HELLO, "-v"),
    fmt("%p", HELLO, "-N"),
    fmt("%", HELLO), fmt("%z", HELLO), fmt("\\", HELLO), fmt("\\q", HELLO), fmt("@", HELLO), fmt("%-", HELLO),
    fmt("%--5l|", HELLO), fmt("%0-5r|", HELLO), fmt("%-05q|%00003l|", HELLO),
    fmt("%.t|%10.t|%5.I|", HELLO), fmt("%10R|%-10R|%10C|", HELLO, *P5),
    fmt("%10", HELLO), fmt("plain text", HELLO), fmt("", HELLO), fmt("grüße %t", HELLO),
]


def rr(name, *args, feed=(), **more):
    return Case(f"rr {name}", "rr", ["-t", "t/q", "-e", "t/r", *args], feed=list(feed), **more)


ANSWER = msg("t/r", "answer")
ASKING = [
    rr("plain", "-m", "x", feed=[ANSWER]),
    rr("-V 311", "-m", "x", "-V", "311", feed=[ANSWER]),
    rr("-v", "-m", "x", "-v", feed=[ANSWER]),
    rr("-N -q 1", "-m", "x", "-N", "-q", "1", feed=[ANSWER]),
    rr("-F", "-m", "x", "-F", "%t %p", feed=[ANSWER]),
    rr("-n", "-n", feed=[ANSWER]),
    rr("-s", "-s", feed=[ANSWER], stdin=b"all of it\n"),
    rr("-f", "-f", "{binary}", feed=[ANSWER]),
    rr("-D", "-m", "x", D, "publish", "correlation-data", "7", D, "publish", "user-property", "a", "b", feed=[ANSWER]),
    rr("-W", "-m", "x", "-W", "1"),
    rr("-W 0", "-m", "x", "-W", "0"),
    rr("no message"),
    rr("-C", "-m", "x", "-C", "1"),
    rr("-l", "-l"),
    rr("wrong password", "-m", "x", "-u", USER, "-P", "wrong"),
    Case("rr no response topic", "rr", ["-t", "a", "-m", "x"]),
    Case("rr no topic", "rr", ["-e", "a", "-m", "x"]),
    Case("rr wildcard", "rr", ["-t", "a", "-e", "a/+", "-m", "x"]),
    Case("rr wildcard in topic", "rr", ["-t", "a/#", "-e", "a", "-m", "x"]),
]

CASES = PUBLISHING + SUBSCRIBING + ASKING

REMOVAL = ("PUBLISH", 0x33, b"t/old", b"")


def cork_removes(theirs, ours):
    """mosquitto_sub 2.0.11 waits for ever after the last message when it has removed one."""
    assert (theirs.code, ours.code) == (27, 0)
    assert ours.stdout == theirs.stdout and REMOVAL in ours.packets


def cork_removes_unseen(theirs, ours):
    """mosquitto_sub 2.0.11 removes nothing with -R, although its manual says so. The removal itself comes back, too."""
    assert (ours.code, theirs.code) == (0, 0)
    assert REMOVAL in ours.packets and REMOVAL not in theirs.packets


def cork_sends_it(theirs, ours):
    """mosquitto_rr 2.0.11 sends an empty request in place of a file or of standard input."""
    assert (ours.code, ours.stdout) == (theirs.code, theirs.stdout)
    payload = [packet[3] for packet in ours.packets if packet[0] == "PUBLISH"][0]
    assert payload.endswith((b"all of it\n", bytes(range(256))))


# What cork does in another way, and why: see docs/cli.md.
DIFFERENT = {
    "rr -s": cork_sends_it,
    "rr -f": cork_sends_it,
    "sub --remove-retained": cork_removes,
    "sub --remove-retained -T": cork_removes,
    "sub --remove-retained --retained-only": cork_removes,
    "sub --remove-retained -R": cork_removes_unseen,
}


class TwinMosquitto(brokers.Process):
    """Mosquitto with the listeners that these tests need."""

    def __init__(self, directory, password_file, authority):
        self.tls_port, self.certificate_port, self.ca = brokers.free_port(), brokers.free_port(), authority.ca
        cert, key = authority.issue("localhost", file="twin")
        port, ws_port = brokers.free_port(), brokers.free_port()
        config = directory / "mosquitto.conf"
        files = f"certfile {cert}\nkeyfile {key}\ncafile {authority.ca}\n"
        config.write_text(
            f"user {brokers.getpass.getuser()}\nallow_anonymous true\npassword_file {password_file}\n"
            f"listener {port} {HOST}\nlistener {ws_port} {HOST}\nprotocol websockets\n"
            f"listener {self.tls_port} localhost\n{files}"
            f"listener {self.certificate_port} localhost\n{files}require_certificate true\n"
        )
        super().__init__(["mosquitto", "-c", str(config)], directory, port, ws_port)


@pytest.fixture(scope="module", params=["mosquitto", "corkboard"])
def twin(request, tmp_path_factory, password_file, authority):
    """The broker that both clients talk to, and what command lines may name."""
    directory = tmp_path_factory.mktemp(request.param)
    if request.param == "mosquitto":
        if shutil.which("mosquitto") is None:
            pytest.skip("Debian's package mosquitto is not installed")
        hashed = directory / "passwords"
        command = ["mosquitto_passwd", "-c", "-b", str(hashed), USER, PASSWORD]
        subprocess.run(command, check=True, timeout=30)
        process = TwinMosquitto(directory, hashed, authority)
    else:
        process = brokers.Cork(directory, password_file, auth="allow_anonymous = true", authority=authority)
    process.start()
    binary, empty, config, elsewhere = (directory / name for name in ("binary", "empty", "config", "elsewhere"))
    binary.write_bytes(bytes(range(256)) * 4)
    empty.write_bytes(b"")
    config.mkdir()
    (config / "mosquitto_pub").write_text("# mine\n\n -q 1\r\n-r\n--id from-file\n")
    elsewhere.mkdir()
    for tool in "pub", "sub":
        (elsewhere / f"mosquitto_{tool}").write_text("-h nosuch.invalid\n-p 1\n")
    cert, key = authority.issue(USER, file="twin-user")
    process.words = {
        "binary": binary, "empty": empty, "config": config, "elsewhere": elsewhere, "ca": process.ca, "tls_port": process.tls_port,
        "certificate_port": process.certificate_port, "cert": cert, "key": key,
    }
    yield process
    process.stop()


class Feeder:
    """Publishes raw packets."""

    def __init__(self, broker):
        self.client = raw_mqtt.RawClient(broker).login("feeder", 5)

    def publish(self, packets):
        """Returns when all are answered: an acknowledgement may come after the PINGRESP, for it may wait for a disk."""
        self.client.send(b"".join(packets) + raw_mqtt.PINGREQ)
        for _ in range(1 + sum(packet[0] & 6 != 0 for packet in packets)):
            assert self.client.read(PATIENCE), "the broker closed"

    def forget(self, packets):
        """Deletes what was kept."""
        topics = {packet[4 : 4 + packet[3]] for packet in packets if packet[0] & 1 and packet[1] < 0x80}
        self.publish([raw_mqtt.publish(topic, b"", 5, retain=1) for topic in topics])

    def close(self):
        self.client.close()


@dataclass
class Run:
    """What one client did."""

    code: int
    stdout: bytes
    stderr: bytes
    packets: list


def run(program, case, broker, home):
    """Runs the command line through one of the two programs."""
    feeder, relay = Feeder(broker), Relay(broker.port)
    words = broker.words | {"port": broker.port}
    fill = lambda text: re.sub(r"\{(\w+)\}", lambda found: str(words[found[1]]), text)
    where = [] if case.direct else ["-h", HOST, "-p", str(relay.port)]
    command = [*program, *where, *map(fill, case.args)]
    env = os.environ | {"HOME": str(home), "TZ": "UTC"} | {name: fill(value) for name, value in case.env.items()}
    env.pop("XDG_CONFIG_HOME", None) if "XDG_CONFIG_HOME" not in case.env else None
    feeder.publish(case.retained)
    given = tempfile.TemporaryFile()
    given.write(case.stdin)
    given.seek(0)
    child = subprocess.Popen(command, stdin=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
    try:
        if case.feed:
            deadline = time.monotonic() + PATIENCE
            while not relay.subscribed.wait(0.01) and child.poll() is None and time.monotonic() < deadline:
                pass
            # A request goes out after SUBACK; the answer must not come before it is there.
            if case.tool == "rr":
                while not any(first >> 4 == 3 for first, _ in relay.sent) and time.monotonic() < deadline:
                    time.sleep(0.005)
            feeder.publish(case.feed)
        out, err = child.communicate(timeout=PATIENCE)
    finally:
        child.kill()
        given.close()
        feeder.forget([*case.retained, *case.feed, msg("t/a", retain=1)])
        feeder.close()
        sent = relay.finish()
    for pattern, instead in case.blur:
        out = re.sub(pattern, instead, out)
    packets = [essence(first, body, 5) for first, body in sent]
    return Run(child.returncode, out, err, [packet for packet in packets if packet])


def programs(tool):
    return [f"mosquitto_{tool}"], [brokers.cork_bin(), tool]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_both_do_the_same(twin, case, tmp_path):
    theirs, ours = (run(program, case, twin, tmp_path) for program in programs(case.tool))
    if case.name in DIFFERENT:
        DIFFERENT[case.name](theirs, ours)
        return
    said = f"theirs {theirs.code} {theirs.stderr[:300]!r}, ours {ours.code} {ours.stderr[:300]!r}"
    assert ours.code == theirs.code, said
    # Without a word of usage mosquitto's clients print their whole help; the error itself goes to standard error.
    if not theirs.stdout.startswith(b"mosquitto_"):
        assert ours.stdout == theirs.stdout, said
    assert bool(ours.stderr) == bool(theirs.stderr), said
    if case.packets:
        assert comparable(ours, case) == comparable(theirs, case)


def comparable(done, case):
    """mosquitto_rr hangs up without DISCONNECT, and that of mosquitto_sub is lost when messages come at the end."""
    return [packet for packet in done.packets if case.tool == "pub" or packet != ("DISCONNECT",)]
