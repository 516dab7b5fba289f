"""Settings of a cluster: what is said of what can't be."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from shield.config.changes import held_over, needs_restart, waiting
from tests.ground import PLAIN, Ground

SECRET = "0123456789abcdef0123456789abcdef"
NODES = "nodes: {fra-1: 127.0.0.1:7071, fra-2: {address: '127.0.0.2:7071', weight: 2, region: fra}}"


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


def test_nodes_with_their_addresses_weights_and_regions(ground: Ground) -> None:
    ground.secret("cluster.secret", SECRET)

    settings = ground.settings(PLAIN + f"node: fra-1\ncluster: {{{NODES}, secret_file: secrets/cluster.secret}}\n")

    cluster = settings.cluster
    assert cluster is not None and cluster.secret is not None
    assert cluster.secret.get_secret_value() == SECRET
    assert [(str(node.address), node.weight, node.region) for node in cluster.nodes.values()] == [
        ("127.0.0.1:7071", 1.0, None),
        ("127.0.0.2:7071", 2.0, "fra"),
    ]
    assert str(cluster.listens_on("fra-1", 3)) == "127.0.0.1:7074"


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        (
            f"node: fra-3\ncluster: {{{NODES}, secret: {SECRET}}}",
            ['5: node: got "fra-3"; expected one of cluster.nodes: fra-1 fra-2; did you mean "fra-2"?'],
        ),
        (
            f"node: fra-1\ncluster: {{{NODES}}}",
            [
                "6: cluster.secret: there is none; expected secret or secret_file, or tls, so that nobody else can "
                "ask as a node"
            ],
        ),
        (
            f"node: fra-1\ncluster: {{secret: {SECRET}}}",
            ["6: cluster.nodes: there are none; expected all nodes of the cluster with their addresses, or dns"],
        ),
        (
            f"node: fra-1\ncluster: {{{NODES}, secret: {SECRET}, bus: 'rediss://:pw@h?ca_file=/nowhere/ca.pem'}}",
            ['6: cluster.bus: it names "/nowhere/ca.pem"; expected a file that can be read'],
        ),
        (
            f"node: fra-1\ncluster: {{{NODES}, dns: 'shield.svc:0', secret: {SECRET}}}",
            [
                "6: cluster.dns: nodes are given too; expected one of the two",
                '6: cluster.dns: got "shield.svc:0"; expected the port of the nodes\' first workers',
            ],
        ),
        (
            f"node: a\ncluster: {{nodes: {{a: '127.0.0.1:70', b: '127.0.0.1:70', c: ':0'}}, secret: {SECRET}}}",
            [
                '6: cluster.nodes.b: got "127.0.0.1:70", which a has; expected another',
                '6: cluster.nodes.c: got "0.0.0.0:0"; expected a port from 1 to 65535: each worker has its own, from '
                "there on",
            ],
        ),
        (
            f"node: fra-1\nlisten: 127.0.0.1:7072\nworkers: 2\ncluster: {{{NODES}, secret: {SECRET}}}",
            [
                "8: cluster.nodes.fra-1: listen has 127.0.0.1:7072, which is for other nodes: each worker has a "
                "port; expected another"
            ],
        ),
    ],
)
def test_problems(ground: Ground, text: str, problems: list[str]) -> None:
    assert ground.problems(PLAIN + text + "\n") == [f"shield.yaml:{problem}" for problem in problems]


def test_a_short_secret_is_a_problem_that_does_not_show_it(ground: Ground) -> None:
    (problem,) = ground.problems(PLAIN + f"node: fra-1\ncluster: {{{NODES}, secret: hunter2}}\n")

    assert "cluster.secret: " in problem
    assert "32 characters at least" in problem
    assert "hunter2" not in problem


def test_a_secret_has_a_line_of_its_own(ground: Ground) -> None:
    ground.secret("cluster.secret", f"{SECRET}\n\n{SECRET[::-1]}\n")
    settings = ground.settings(PLAIN + f"node: fra-1\ncluster: {{{NODES}, secret_file: secrets/cluster.secret}}\n")
    assert settings.cluster is not None and settings.cluster.secrets() == (SECRET.encode(), SECRET[::-1].encode())

    wrong = {
        f"{SECRET}\nshort": "32 characters at least",
        f"{SECRET}\n" * 5: "4 lines",
        f"{SECRET} x": "without blanks",
    }
    for lines, said in wrong.items():
        ground.secret("cluster.secret", lines)
        (problem,) = ground.problems(
            PLAIN + f"node: fra-1\ncluster: {{{NODES}, secret_file: secrets/cluster.secret}}\n"
        )
        assert said in problem


def test_members_secrets_and_the_bus_change_while_a_node_runs_and_all_else_of_a_cluster_with_a_restart(
    ground: Ground,
) -> None:
    one = f"node: fra-1\ncluster: {{{NODES}, secret: {SECRET}}}\n"
    other = (
        "node: fra-1\ncluster: {nodes: {fra-1: '127.0.0.1:7071'}, listen: ':7071', secret: " + SECRET[::-1] + "}\n"
    )
    running, given, alone = (ground.settings(PLAIN + text) for text in (one, other, "node: fra-1\n"))

    held = held_over(running, given)

    assert held.cluster is not None and running.cluster is not None
    assert list(held.cluster.nodes) == ["fra-1"]
    assert (held.cluster.listen, held.cluster.secrets()) == (None, (SECRET[::-1].encode(),))
    assert waiting(running, given) == ("cluster.listen",)
    with_bus = running.cluster.model_copy(update={"bus": SecretStr("redis://one/0")})
    other_bus = running.cluster.model_copy(update={"bus": SecretStr("redis://two/0"), "bus_prefix": "x"})
    has_one, has_other = (running.model_copy(update={"cluster": each}) for each in (with_bus, other_bus))
    assert waiting(has_one, has_other) == () and held_over(has_one, has_other).cluster == other_bus
    assert waiting(running, has_one) == ("cluster.bus",)
    without = running.cluster.model_copy(update={"secret": None})
    assert waiting(running, running.model_copy(update={"cluster": without})) == ("cluster.secret",)
    assert waiting(running, alone) == waiting(alone, running) == ("cluster",)
    assert held_over(running, alone).cluster == running.cluster
    for path in (("tls", "ca_file"), ("secret",), ("bus_file",), ("nodes",)):
        assert not needs_restart(["cluster", *path])
    assert needs_restart(["cluster", "listen"])
