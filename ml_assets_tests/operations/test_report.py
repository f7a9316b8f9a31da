"""The compliance report: what it tells and warns of, and that no name gets out of its place."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import pytest

from ml_assets.documents.history import Licence
from ml_assets.errors import NothingToDoError
from ml_assets.operations.governance.lineage import Stores
from ml_assets.operations.governance.nodes import Lineage, Node
from ml_assets.operations.governance.report import Evidence, as_html, as_markdown, report
from ml_assets.registry.model import ModelVersion
from ml_assets.releases.anchor import Head
from ml_assets.releases.audit import Entry
from ml_assets.releases.gates import Gate
from ml_assets.releases.roles import grant
from ml_assets.training.model import Candidate, TrainingSet
from ml_assets_tests.corpus import Deployment
from ml_assets_tests.registry.deciding import decide, register

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CARD = """# document_classifier 1

## Use

- owner: team:a

## Going back

`ml-assets rollback`
"""
HOSTILE = "<script>alert(1)</script>|x`y](javascript:alert(2))\n# forged\n<img src=x onerror=a>"
SOUND = Evidence(
    version=ModelVersion(
        "document_classifier", 1, "s", 0, {}, {}, Candidate("r", "h", "f", "p", {}, {}, "u")
    ),
    source="files:a.csv",
    lineage=Lineage(
        Node("version", "1"), [Node("training set", "abc", {"documents": 3, "gone_since": 0})], []
    ),
    licences=[Licence("MIT", 3, NOW, NOW)],
    gates=[Gate("beats_the_champion", "pass", "macro-F1 0.9", {"f1": 0.9})],
    entries=[Entry("ann", "approve", "document_classifier/1", "reads well", {}, 7, NOW, "host")],
    drifted=[],
    broken=None,
    head=Head(7, "0" * 64),
    roles=2,
    withdrawn="",
    written_at=NOW,
)


class Page(HTMLParser):
    """The tags of a page, and the text of its headings."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.headings: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] in (["h1"], ["h2"]) and data.strip():
            self.headings.append(data)


SECTIONS = [
    *("Use", "Going back", "Sources and licences", "Lineage", "Gates"),
    *("Decisions and approvals", "Drift", "Audit", "Open risks"),
]


def test_a_report_has_every_section_and_no_risk_that_there_is_not() -> None:
    text = as_markdown(CARD, SOUND)
    headings = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert headings == SECTIONS
    assert text.startswith("# Compliance report: document_classifier 1\n")
    assert text.endswith("## Open risks\n\nNone is known.\n")
    assert "| MIT | 3 | 2026-03-01 | 2026-03-01 |" in text
    assert "| 7 | 2026-03-01 12:00 | ann | host | approve | reads well |" in text
    assert "- the log is: sound" in text


@pytest.mark.parametrize(
    ("changed", "risk"),
    [
        ({"gates": [Gate("g", "warn", "slow", {})]}, "The gate g: warn: slow"),
        ({"broken": "3: it is missing"}, "The audit log was altered: 3: it is missing"),
        ({"withdrawn": "1 was withdrawn by ann: bad"}, "Version 1 was withdrawn by ann: bad"),
        ({"roles": 0}, "Nobody has a role"),
        ({"drifted": None}, "Drift was never looked at"),
        ({"drifted": ["length rose"]}, "1 aspects of the data have drifted"),
        ({"licences": [Licence(None, 1200, None, None)]}, "of 1,200 documents name no licence"),
        (
            {"lineage": Lineage(Node("version", "1"), [Node("t", "a", {"gone_since": 2})], [])},
            "2 documents of its training set have left since",
        ),
    ],
)
def test_each_risk_is_told(changed: dict[str, Any], risk: str) -> None:
    text = as_markdown(CARD, replace(SOUND, **changed))
    assert risk in text.partition("## Open risks")[2]


def test_a_hostile_name_stays_where_it_is() -> None:
    hostile = replace(
        SOUND,
        source=HOSTILE,
        lineage=Lineage(Node("version", "1"), [Node("collection", HOSTILE, {"a": HOSTILE})], []),
        licences=[Licence(HOSTILE, 1, NOW, NOW)],
        gates=[Gate(HOSTILE, "block", HOSTILE, {})],
        entries=[Entry(HOSTILE, "approve", "x", HOSTILE, {}, 7, NOW, HOSTILE)],
        drifted=[HOSTILE],
        broken=HOSTILE,
        withdrawn=HOSTILE,
    )
    page, plain = (Page(as_html(as_markdown(CARD, each))) for each in (hostile, SOUND))
    assert set(page.tags) <= set(plain.tags) | {"ul", "li"}
    assert not {"script", "img", "a"} & set(page.tags)
    assert page.attributes == plain.attributes
    assert page.headings == plain.headings
    assert page.headings[1:] == SECTIONS
    assert page.tags.count("td") - plain.tags.count("td") == 0


def test_a_page_loads_and_runs_nothing() -> None:
    text = as_html(as_markdown(CARD, SOUND))
    assert "default-src 'none'" in text
    page = Page(text)
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert not {"src", "href", "onclick"} & page.attributes
    assert "table" in page.tags


def test_what_the_stores_have_of_a_version(trained: tuple[Deployment, TrainingSet]) -> None:
    deployment, training_set = trained
    connection = deployment.connection
    register(trained)
    assert decide(trained).served
    stores = Stores(connection, deployment.settings)
    connection.execute("update model_versions set card = ''")
    with pytest.raises(NothingToDoError, match="before cards were written"):
        report(stores, 1)
    connection.execute("update model_versions set card = %s", [CARD])
    grant(connection, "ann", "admin", "ann")
    text = report(stores, 1)
    assert f"| from | training set | {training_set.hash} |" in text
    assert "| promote |" in text
    count = len(training_set.rows)
    assert f"The metadata of {count} documents name no licence" in text
    assert "Nobody has a role" not in text
    with pytest.raises(NothingToDoError, match="there is no version 2"):
        report(stores, 2)
