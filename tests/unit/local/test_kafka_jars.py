"""deploy/kafka says what is missing on a machine that cannot run Apache Kafka; nothing is fetched for that."""

from pathlib import Path

import pytest

from deploy.kafka import jars
from deploy.kafka.cluster import Cluster
from services.chassis.errors import Fatal


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without Java and Maven, with an empty cache; programs go into its bin/."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def install(machine: Path, name: str, script: str) -> None:
    program = machine / "bin" / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_without_java_it_is_said_what_to_install(machine: Path) -> None:
    with pytest.raises(Fatal, match=r"needs java, which is not on PATH.*apt-get install default-jre-headless maven"):
        Cluster(machine / "kafka").prepare()


def test_without_maven_it_is_said_what_to_install(machine: Path) -> None:
    install(machine, "java", "exit 0")
    with pytest.raises(Fatal, match=r"needs mvn, which is not on PATH"):
        Cluster(machine / "kafka").prepare()


def test_a_fetch_that_fails_shows_what_maven_said_and_is_tried_again(machine: Path) -> None:
    install(machine, "java", "exit 0")
    install(machine, "mvn", "echo no route to the registry; exit 1")
    for _ in range(2):
        with pytest.raises(Fatal, match=r"(?s)fetching Apache Kafka failed.*no route to the registry"):
            jars.fetch()
    assert not (jars.cache_folder() / "libs").exists()


def test_a_java_that_is_too_old_is_named(machine: Path) -> None:
    install(machine, "java", """echo 'openjdk version "11.0.2" 2019-01-15' >&2""")
    with pytest.raises(Fatal, match=r"needs Java 17 or newer.*11\.0\.2"):
        jars.record_first_start((), lambda folder: None)


def test_what_is_there_is_not_fetched_again(machine: Path) -> None:
    install(machine, "java", "exit 0")
    (jars.cache_folder() / "libs").mkdir(parents=True)
    jars.fetch()


@pytest.mark.parametrize("brokers", [0, 2, 4])
def test_a_number_of_brokers_that_makes_no_sense_is_refused(tmp_path: Path, brokers: int) -> None:
    with pytest.raises(Fatal, match="one, or three"):
        Cluster(tmp_path, brokers)
