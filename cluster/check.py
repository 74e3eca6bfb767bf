"""Check that every node of the cluster runs this code.

Four of the five packages have names that another distribution may also use, and a node with an old
install would silently run the old code. Each node therefore imports the five and answers with the
digest of their source files, which must be the driver's. Nodes that join later are not asked.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray
from ray import ObjectRef
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raygen.errors import ClusterError

PACKAGES = ("raygen", "training", "actors", "assignment", "cluster")
"""The top-level packages of a run."""

_Code = tuple[dict[str, str], dict[str, str]]  # by package: its folder, its digest

_TIMEOUT_S = 120.0  # the first task on a node may have to fetch the run's working directory


@dataclass(frozen=True)
class Node:
    """One node's answer: its address, and by package the folder and the digest of its code."""

    address: str
    folders: dict[str, str]
    digests: dict[str, str]


def check_nodes() -> list[Node]:
    """Import the five packages on every living node and compare them with the driver's.

    Returns
    -------
    nodes
        One entry a node, in order of address.

    Raises
    ------
    ClusterError
        If Ray is not connected, a node does not answer, or a package is missing there or is not the
        driver's code. The message names the node, the package and the folder.
    """
    if not ray.is_initialized():
        msg = "ray: not connected; call inside `with cluster.session.connect(address)`"
        raise ClusterError(msg)
    look = _looker()
    folders, digests = look(PACKAGES)
    every: list[dict[str, Any]] = ray.nodes()
    alive = sorted((str(n["NodeManagerAddress"]), str(n["NodeID"])) for n in every if n["Alive"])
    asked = [(address, _ask(look, node_id)) for address, node_id in alive]
    nodes = [_answer(address, reference) for address, reference in asked]
    for node in nodes:
        for package in PACKAGES:
            _compare(node, package, folders.get(package, "nowhere"), digests.get(package))
    return nodes


def _ask(look: Callable[[tuple[str, ...]], _Code], node_id: str) -> ObjectRef[_Code]:
    strategy = NodeAffinitySchedulingStrategy(node_id=node_id, soft=False)
    task = ray.remote(look).options(num_cpus=0, scheduling_strategy=strategy, max_retries=1)
    return task.remote(PACKAGES)


def _answer(address: str, reference: ObjectRef[_Code]) -> Node:
    try:
        folders, digests = ray.get(reference, timeout=_TIMEOUT_S)
    except RayError as error:
        line = str(error).strip().splitlines()[-1]
        msg = f"node {address}: cannot say which code it has: {line}"
        raise ClusterError(msg) from error
    return Node(address, folders, digests)


def _compare(node: Node, package: str, folder: str, digest: str | None) -> None:
    if package not in node.digests:
        msg = f"node {node.address}: package {package!r} does not import there; "
        msg += "submit with `ray job submit --working-dir .` or install raygen on the node"
        raise ClusterError(msg)
    if node.digests[package] != digest:
        msg = (
            f"node {node.address}: package {package!r} of {node.folders[package]} is not the code "
        )
        msg += f"of this run in {folder}"
        raise ClusterError(msg)


def _looker() -> Callable[[tuple[str, ...]], _Code]:
    """Return the function that a node runs.

    It is nested, so that Ray ships its code: a node without ``cluster`` could not import it.
    """

    def look(packages: tuple[str, ...]) -> _Code:
        import hashlib
        import importlib
        import pathlib

        folders: dict[str, str] = {}
        digests: dict[str, str] = {}
        for package in packages:
            try:
                file = importlib.import_module(package).__file__
            except ImportError:
                continue
            if file is None:  # a stray folder of that name, without __init__.py
                continue
            folder = pathlib.Path(file).parent
            digest = hashlib.sha256()
            for source in sorted(folder.rglob("*.py")):
                digest.update(source.relative_to(folder).as_posix().encode())
                digest.update(source.read_bytes())
            folders[package] = str(folder)
            digests[package] = digest.hexdigest()
        return folders, digests

    return look
