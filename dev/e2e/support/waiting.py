"""Waiting for something that must come."""

import time


def until(condition, seconds=20.0, what="what was waited for"):
    """Waits for a condition and returns what it gave; fails when it does not come."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} did not come within {seconds:g} s"
        time.sleep(0.05)
    return found
