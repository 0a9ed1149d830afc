"""A newcomer's clock: the README's first commands as they stand, with this binary in place of what cargo would build."""

import subprocess
import sys
from pathlib import Path

import pytest

from broker import cork_bin

pytestmark = pytest.mark.cork_only

ROOT = Path(__file__).resolve().parents[3]
# The commands name the default ports, which may be taken: in a network of its own, whose loopback has to be started.
ALONE = ["unshare", "--map-root-user", "--net"]
LOOPBACK_UP = """
import fcntl, os, socket, struct, sys
SIOCSIFFLAGS, UP, RUNNING = 0x8914, 0x1, 0x40
fcntl.ioctl(socket.socket(), SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", UP | RUNNING))
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def test_a_gauge_moves_soon_after_the_first_command(figure):
    if subprocess.run([*ALONE, "true"], capture_output=True).returncode != 0:
        pytest.skip("no network of its own for a test here")
    command = [*ALONE, sys.executable, "-c", LOOPBACK_UP, str(ROOT / "dev/clock"), "--binary", cork_bin()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    figure(done.stdout.splitlines()[2])
