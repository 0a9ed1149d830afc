"""Fixtures: a broker per test, clients that are closed when the test ends, figures printed at the end of the run."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

import broker as brokers
from broker import MOSQUITTO
from certificates import Authority
from paho_client import PahoClient


def pytest_addoption(parser):
    parser.addoption(
        "--pace", type=float, default=0.1, help="sensor intervals of the walkthrough, 1.0 being 3 s and 0.5 s"
    )


def pytest_collection_modifyitems(items):
    if MOSQUITTO:
        for item in items:
            if "cork_only" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="Corkboard's promise, not mosquitto's"))


def pytest_configure(config):
    config.figures = []


def pytest_terminal_summary(terminalreporter, config):
    if config.figures:
        terminalreporter.section("figures")
        for line in config.figures:
            terminalreporter.write_line(line)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    process = item.funcargs.get("broker") if hasattr(item, "funcargs") else None
    if report.failed and process is not None:
        lines = process.log().splitlines()[-30:]
        report.sections.append(("broker's log, last 30 lines", "\n".join(lines)))
    return report


@pytest.fixture(autouse=True)
def nothing_stays():
    """A test that fails half-way leaves no broker and no database behind."""
    before = list(brokers.started)  # what a whole module shares
    yield
    brokers.end_all(but=before)


@pytest.fixture
def figure(request):
    """`figure("text")` prints a measured figure at the end of the run, passed or not."""
    return request.config.figures.append


@pytest.fixture
def pace(request):
    return request.config.getoption("--pace")


@pytest.fixture
def workdir():
    """An empty directory with a short path, removed afterwards."""
    path = Path(tempfile.mkdtemp(prefix="cork-e2e-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def running():
    """Whatever is put in is stopped when the test ends, however it ends: `running(Node(...))`."""
    things = []
    yield lambda thing: things.append(thing) or thing
    for thing in reversed(things):
        (thing.stop if hasattr(thing, "stop") else thing.close)()


@pytest.fixture(scope="session")
def password_file(tmp_path_factory):
    """One user, hashed once for the whole run."""
    path = tmp_path_factory.mktemp("auth") / "passwords"
    if MOSQUITTO:
        command = ["mosquitto_passwd", "-c", "-b", str(path), brokers.USER, brokers.PASSWORD]
        subprocess.run(command, check=True, timeout=30)
    else:
        brokers.add_user(path)
    return path


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """Who issues the certificates of this run."""
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def user_certificate(authority):
    """Certificate and key of the one user."""
    return authority.issue(brokers.USER)


@pytest.fixture
def broker(workdir, password_file, authority):
    """A running broker that knows one user."""
    if MOSQUITTO:
        process = brokers.Mosquitto(workdir, password_file)
    else:
        process = brokers.Cork(workdir, password_file, authority=authority)
    process.start()
    yield process
    process.stop()


@pytest.fixture
def client(broker, user_certificate):
    """Makes Paho clients for `broker`: `client("name", version=5, ...)`. They are closed with the test."""
    made = []

    def make(client_id, **options):
        if options.get("transport") == "certificate":
            options["certificate"] = user_certificate
        made.append(PahoClient(broker, client_id, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()
