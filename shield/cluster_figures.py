"""Figures of the cluster, as one worker sees it: its fetches through other nodes, and their requests to it."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from shield.client_figures import words
from shield.observe.counters import Counters
from shield.observe.metrics import Family, Sample, labelled, number
from shield.peers.cluster import Cluster
from shield.peers.node_front import NodeProxy


@dataclass(frozen=True, slots=True)
class ClusterFigures:
    """`counters` are of other nodes' requests."""

    cluster: Cluster
    proxy: NodeProxy
    counters: Counters

    def state(self) -> dict[str, object]:
        """For operators."""
        nodes, found = self.cluster.nodes, self.cluster.statistics()
        lacking = nodes.lacking()
        return {
            "node": nodes.own,
            "ring": nodes.ring.id.decode(),
            "nodes": {
                each.name: {
                    "address": each.address,
                    "region": each.region or None,
                    "version": each.version or None,
                    "ring": each.ring or None,
                    "its_workers": each.workers,
                    "workers_down": len(each.down),
                    "accepts_newest_secret": each.name not in lacking,
                    "failures": found.failures.get(each.name, 0),
                }
                for each in nodes.statistics()
            },
            "fetches": {
                "owner": found.owner,
                "second": found.second,
                "without": found.without,
                "hits": found.hits,
                "refused": found.refused,
                "beyond": found.beyond,
                "beyond_hits": found.beyond_hits,
                "behind": self.cluster.behind.refused,
                "inherited": self.cluster.heritage.found,
            },
            "secret": {
                "accepted": len(nodes.secrets.accepted),
                "former_until": nodes.secrets.until,
            },
            "copies": asdict(self.cluster.copies.statistics()),
            "requests": words(self.counters),
            "denied": dict(self.proxy.denied),
        }

    def families(self) -> list[Family]:
        nodes, found = self.cluster.nodes.statistics(), self.cluster.statistics()
        copies = self.cluster.copies.statistics()
        answers = {"owner": found.owner, "second": found.second, "none": found.without}
        return [
            labelled(
                "peer_node_fetches",
                "Fetches of keys that other nodes own, by the node that answered: the owner, the second of the key's "
                "order, or none, so that this one asked the origins",
                "answer",
                answers,
            ),
            number(
                "peer_node_inherited",
                "Fetches for which the node that stood in for this one had the object, after a start",
                self.cluster.heritage.found,
            ),
            number("peer_copies", "Hot copies of other nodes' entries that were made", copies.made),
            number("peer_copies_bytes", "Bytes of hot copies in RAM, at most", copies.bytes, gauge=True),
            number(
                "peer_copies_refused",
                "Hot copies that weren't made, since the other node might not know of a purge",
                copies.refused,
            ),
            number(
                "peer_node_beyond",
                "Fetches of this node's own keys through another region, which is near to their origin",
                found.beyond,
            ),
            number("peer_node_beyond_hits", "Those that the other region had stored", found.beyond_hits),
            number(
                "peer_node_behind",
                "Responses of other nodes that weren't used, since these lack a purge of the key",
                self.cluster.behind.refused,
            ),
            number("peer_node_hits", "Those that another node had stored", found.hits),
            number(
                "peer_node_refused",
                "Requests that another node refused, since by its ring it doesn't own the key",
                found.refused,
            ),
            labelled(
                "peer_node_failures", "Requests to which another node gave no answer, by node", "node", found.failures
            ),
            labelled("peer_node_requests", "Requests of other nodes by result", "cache", words(self.counters)),
            labelled(
                "peer_node_denied", "Requests that were none of the cluster's, by reason", "reason", self.proxy.denied
            ),
            Family(
                "peer_node_down",
                "Workers of another node that don't answer",
                [Sample(len(each.down), {"node": each.name}) for each in nodes],
                gauge=True,
                alike=True,
            ),
        ]
