"""What is in a lineage, and how it is told of the rows of the stores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ml_assets.registry.versions import Registered

if TYPE_CHECKING:
    from ml_assets.registry.model import ModelVersion
    from ml_assets.releases.pointer import Parts, Release
    from ml_assets.search.publishing.listing import ListedGeneration
    from ml_assets.training.training_set import Trained


@dataclass(frozen=True, slots=True)
class Node:
    """Something in the lineage: its kind, its name, and what is known of it.

    In the lineage of a column: `columns` of it, with those of what is before it that each is made
    of; `decided_by`: those that decide about it as a whole, such as the key of a join.
    """

    kind: str
    name: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    decided_by: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Lineage:
    """What `of` was made from, and what was made from it, nearest first.

    `documents`: each that a model version was trained, chosen or tested on.
    """

    of: Node
    made_from: Sequence[Node]
    made_into: Sequence[Node]
    documents: Sequence[Trained] = ()


def parts_of(parts: Parts) -> list[Node]:
    """Generation, version, feature views and vector spaces of a release."""
    nodes = []
    if parts.generation_id:
        nodes.append(Node("generation", parts.generation_id))
    if parts.model_version is not None:
        nodes.append(Node("version", str(parts.model_version)))
    spaces = dict.fromkeys([parts.space_id, parts.model_space_id])
    return [
        *nodes,
        *view_nodes(parts.feature_views),
        *(Node("vector space", space) for space in spaces if space),
    ]


def view_nodes(views: Mapping[str, str]) -> list[Node]:
    """Feature views, by key, with their fingerprints."""
    return [Node("feature view", name, {"fingerprint": mark}) for name, mark in views.items()]


def release_node(release: Release) -> Node:
    """A release, when it was served, and by whom."""
    times = {"served_from": release.served_from, "served_until": release.served_until}
    return Node("release", str(release.release_id), {**times, "actor": release.actor})


def releases_with(releases: Sequence[Release], nodes: Sequence[Node]) -> list[Node]:
    """The releases of which one of the nodes is a part."""
    served = {(node.kind, node.name) for node in nodes}
    return [
        release_node(release)
        for release in releases
        if served & {(part.kind, part.name) for part in parts_of(release.parts)}
    ]


def version_node(
    version: Registered | ModelVersion, facts: Mapping[str, Any] | None = None
) -> Node:
    """A model version, and the hash of its training set."""
    trained = (
        version.training_set_hash
        if isinstance(version, Registered)
        else version.candidate.training_set_hash
    )
    return Node("version", str(version.version), {"training_set": trained, **(facts or {})})


def generation_node(listed: ListedGeneration, facts: Mapping[str, Any] | None = None) -> Node:
    """A search generation, and whether it is served."""
    return Node("generation", listed.generation_id, {"state": listed.state, **(facts or {})})
