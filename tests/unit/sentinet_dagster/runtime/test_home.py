from __future__ import annotations

import multiprocessing
import os
import socket
from pathlib import Path

import pytest

from sentinet_dagster.runtime.errors import UserError
from sentinet_dagster.runtime.home import Home


def test_a_home_is_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Home.from_environment({}).path == tmp_path / ".sentinet"
    assert Home.from_environment({"SENTINET_HOME": "  "}).path == tmp_path / ".sentinet"
    assert Home.from_environment({"SENTINET_HOME": "/srv/sentinet"}).path == Path("/srv/sentinet")
    assert Home.from_environment({"SENTINET_HOME": "mine"}).path == tmp_path / "mine"


def test_a_home_remembers_what_it_is(tmp_path: Path) -> None:
    home = Home(tmp_path / "deep" / "home")
    assert home.kind is None
    home.prepare("demo")
    home.prepare("demo")
    assert home.kind == "demo"
    assert {path.name for path in home.path.iterdir()} == {"kind", "postgres", "dagster", "logs"}
    with pytest.raises(UserError, match="holds a demo, not a service: set SENTINET_HOME"):
        home.prepare("service")


def test_an_interrupted_preparation_is_taken_up_again(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.path.mkdir()
    (home.path / "kind").write_text("demo\n")
    home.prepare("demo")
    assert home.logs.is_dir()


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UserError, match=r"is not empty and no home of Sentinet: set SENTINET_HOME"):
        Home(tmp_path).prepare("service")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_kind_nobody_knows_is_named(tmp_path: Path) -> None:
    (tmp_path / "kind").write_text("castle\n")
    with pytest.raises(UserError, match="says 'castle', not service or demo"):
        Home(tmp_path).prepare("demo")


@pytest.mark.parametrize("below", ["", "inner"])
def test_a_file_in_the_way_is_one_line(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError) as failure:
        Home(tmp_path / "file" / below).prepare("demo")
    assert "\n" not in str(failure.value)
    assert str(tmp_path / "file") in str(failure.value)


def test_an_unwritable_place_is_one_line() -> None:
    with pytest.raises(UserError) as failure:
        Home(Path("/proc/sentinet")).prepare("demo")
    assert str(failure.value).startswith("/proc/sentinet cannot be made: ")
    assert "\n" not in str(failure.value)


def _claim(path: Path, claimed: object, finish: object) -> None:
    with Home(path).claim():
        claimed.set()  # type: ignore[attr-defined]
        finish.wait(240)  # type: ignore[attr-defined]


def test_two_in_one_home_are_refused_and_a_killed_one_is_forgotten(tmp_path: Path) -> None:
    home, other = Home(tmp_path / "home"), Home(tmp_path / "other")
    home.prepare("service")
    other.prepare("service")
    assert home.owner() is None
    spawn = multiprocessing.get_context("spawn")
    claimed, finish = spawn.Event(), spawn.Event()
    holder = spawn.Process(target=_claim, args=(home.path, claimed, finish))
    holder.start()
    assert claimed.wait(240)

    assert home.owner() == holder.pid
    with pytest.raises(UserError, match=rf"already \(process {holder.pid}\): stop it"), home.claim():
        pass
    with other.claim():  # two homes run side by side
        assert other.owner() == os.getpid()
    assert other.owner() is None

    holder.kill()
    holder.join()
    assert home.owner() is None
    with home.claim():
        assert home.owner() == os.getpid()
    holder.close()


def test_ports_stay_the_same_while_they_are_free(tmp_path: Path) -> None:
    home = Home(tmp_path)
    first = home.choose_port("web", {})
    assert home.choose_port("web", {}) == first
    assert home.choose_port("postgres", {}) != first
    assert home.ports()["web"] == first
    with socket.create_server(("127.0.0.1", first)):
        assert home.choose_port("web", {}) != first


def test_a_port_of_another_part_is_not_given_twice(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.record_port("web", home.choose_port("postgres", {}))
    assert home.choose_port("web", {}) != home.ports()["postgres"]


def test_a_port_the_user_set_is_taken_or_refused_by_name(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError) as failure:
            home.choose_port("web", {"SENTINET_WEB_PORT": str(port)})
    assert str(failure.value) == (
        f"port {port} is in use: set SENTINET_WEB_PORT to a free port, or unset it to get one chosen"
    )
    assert home.choose_port("web", {"SENTINET_WEB_PORT": str(port)}) == port


def test_a_damaged_record_of_ports_costs_only_the_numbers(tmp_path: Path) -> None:
    (tmp_path / "ports.json").write_text("{")
    home = Home(tmp_path)
    assert home.ports() == {}
    assert home.ports() == {} != home.choose_port("web", {})


def test_a_daemon_that_ran_alone_leaves_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    Home(tmp_path).prepare("service")
    assert Home(tmp_path).kind == "service"
