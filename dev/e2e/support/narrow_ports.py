"""narrow_ports.py LOW HIGH COMMAND...: runs a command in a network namespace of its own, where only these ports are
given to clients. To be started by `unshare -rn`, which needs no privileges on most machines."""

import fcntl
import os
import socket
import struct
import sys
from pathlib import Path

SIOCSIFFLAGS = 0x8914
IFF_UP = 1

low, high, *command = sys.argv[1:]
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
Path("/proc/sys/net/ipv4/ip_local_port_range").write_text(f"{low} {high}")
os.execvp(command[0], command)
