import os
import socket
import subprocess
import time

import psutil
import pytest
import ray

from cluster import check, session
from cluster.check import Node
from cluster.session import connect, worker_environment
from raygen.errors import ClusterError


def refused(address: str) -> str:
    with pytest.raises(ClusterError, match=r".") as caught, connect(address):
        pass
    assert not ray.is_initialized()
    return str(caught.value)


@pytest.mark.parametrize("address", ["head", "head:", ":6379", "head:x", "head:0", "head:70000"])
def test_malformed_address(address):
    assert refused(address) == f"address '{address}': must be host:port, 'auto' or 'local'"


def test_client_address_points_to_ray_jobs():
    assert refused("ray://head:10001").endswith("from outside use `ray job submit`")


def test_closed_port_is_told_at_once():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    begun = time.monotonic()
    want = f"address '{address}': no Ray head can be reached there: Connection refused"
    assert refused(address) == want
    assert time.monotonic() - begun < 5


def test_open_port_without_a_head_is_told_in_time(monkeypatch):
    monkeypatch.setattr(session, "_ANSWER_S", 1.0)
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        address = f"127.0.0.1:{mute.getsockname()[1]}"
        want = f"address '{address}': the port is open, but no Ray head answers there"
        assert refused(address) == want


def test_the_waits_stay_within_15_seconds():
    assert session._REACH_S + session._ANSWER_S < 15


def test_the_environment_gives_the_address(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "nowhere")
    with (
        pytest.raises(ClusterError, match="address 'nowhere': must be host:port"),
        connect(None),
    ):
        pass


def test_a_slow_start_is_tried_again_and_its_processes_ended(monkeypatch):
    calls: list[subprocess.Popen[bytes]] = []

    def init(**settings: object) -> None:
        calls.append(subprocess.Popen(["sleep", "600"]))
        if len(calls) < 3:
            msg = "The current node timed out during startup. This could happen because"
            raise Exception(msg)

    monkeypatch.setattr(ray, "init", init)
    with connect("local"):
        assert [psutil.pid_exists(call.pid) for call in calls] == [False, False, True]
    calls[2].kill()
    calls[2].wait()


def test_another_failure_of_the_start_is_told(monkeypatch):
    def init(**settings: object) -> None:
        msg = "no space left\nat all"
        raise OSError(msg)

    monkeypatch.setattr(ray, "init", init)
    assert refused("local") == "address 'local': no space left"


def test_unconnected():
    with pytest.raises(ClusterError, match="ray: not connected"):
        check.check_nodes()


def test_session_of_its_own():
    with connect("local", workers=3, threads=2):
        assert ray.cluster_resources()["CPU"] >= 6
        names = list(worker_environment(2))

        def look() -> dict[str, str | None]:
            return {name: os.environ.get(name) for name in names}

        assert ray.get(ray.remote(look).remote()) == worker_environment(2)
        (node,) = check.check_nodes()
        assert set(node.digests) == set(check.PACKAGES)
        with connect("elsewhere:1"):  # the session that is up is used
            assert ray.is_initialized()
        assert ray.is_initialized()
        session._require_head(ray.get_runtime_context().gcs_address)
    assert not ray.is_initialized()


def test_missing_and_foreign_packages_are_told():
    node = Node("10.0.0.7", {"actors": "/old/actors"}, {"actors": "aa"})
    with pytest.raises(
        ClusterError, match=r"^node 10.0.0.7: package 'actors' of /old/actors is not the code of "
    ):
        check._compare(node, "actors", "/new/actors", "bb")
    check._compare(node, "actors", "/new/actors", "aa")
    with pytest.raises(ClusterError, match=r"node 10.0.0.7: package 'cluster' does not import"):
        check._compare(node, "cluster", "/new/cluster", "bb")


def test_the_digest_sees_a_changed_file_and_bare_folders_are_no_packages(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "planted/deep").mkdir(parents=True)
    (tmp_path / "bare").mkdir()
    (tmp_path / "planted/__init__.py").touch()

    def look(source: str) -> str:
        (tmp_path / "planted/deep/file.py").write_text(source)
        folders, digests = check._looker()(("planted", "bare", "absent"))
        assert folders == {"planted": str(tmp_path / "planted")}
        return digests["planted"]

    assert look("x = 1\n") == look("x = 1\n")
    assert look("x = 1\n") != look("x = 2\n")
