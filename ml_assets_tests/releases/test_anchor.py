"""The end of the audit log in the home: what is done to the whole log shows, and kills do not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ml_assets.errors import RoleError, StoreError
from ml_assets.releases import anchor, audit, signing
from ml_assets.releases.anchor import FILE, Head, Witness, anchor_anew, follow, verify
from ml_assets.releases.audit import Entry, append
from ml_assets.releases.roles import grant
from ml_assets.stores import postgres

REWRITTEN = """
create temporary table kept as select * from model_audit_logs order by entry_id;
alter table model_audit_logs disable trigger all;
delete from model_audit_logs;
delete from audit_head;
alter table model_audit_logs alter column entry_id restart;
select append_audit(
    actor, action, subject, case entry_id when 3 then 'other' else reason end, details, 'here'
)
from kept order by entry_id;
alter table model_audit_logs enable trigger all;
"""
CUT = """
alter table model_audit_logs disable trigger all;
delete from model_audit_logs where entry_id > 4;
delete from audit_head;
insert into audit_head (entry_hash) select entry_hash from model_audit_logs where entry_id = 4;
"""
UNNAMED = "; or audit/ is that of another home, whose key it does not name"
"""Both done well: the chain, and the end that the database has, are sound."""


def write(connection: postgres.Connection, count: int = 1) -> None:
    for _ in range(count):
        append(connection, Entry("ann", "promote", "model/1", "because"))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def kept(connection: postgres.Connection, home: Path) -> postgres.Connection:
    """A log of 6 entries, the last of which names the key of the home, which keeps its end."""
    write(connection, 5)
    follow(connection, home, "ann", shared=False)
    return connection


def told(connection: postgres.Connection, home: Path, *, shared: bool = False) -> str | None:
    return verify(connection, home, shared=shared)


def entries(connection: postgres.Connection) -> list[str]:
    return [entry.action for entry in audit.read_entries(connection, 100)]


def test_the_home_keeps_the_end_signed_and_for_its_owner_alone(
    kept: postgres.Connection, home: Path
) -> None:
    assert entries(kept) == ["promote"] * 5 + ["anchor"]
    read = json.loads((home / FILE).read_text())
    assert signing.is_signed(read)
    assert anchor.read_head(kept) == Head(read["entry_id"], read["entry_hash"])
    assert read["entry_id"] == 6
    modes = {path.name: path.stat().st_mode & 0o777 for path in (home / "audit").iterdir()}
    assert modes == {"key.pem": 0o600, "head.json": 0o600, ".lock": 0o600}
    assert told(kept, home) is None
    write(kept)
    assert told(kept, home) is None
    follow(kept, home, "ann", shared=False)
    assert json.loads((home / FILE).read_text())["entry_id"] == 7
    assert entries(kept).count("anchor") == 1


def test_of_an_empty_log_nothing_is_kept(connection: postgres.Connection, home: Path) -> None:
    follow(connection, home, "ann", shared=False)
    assert not home.exists()
    assert told(connection, home) is None


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (REWRITTEN, "6: it is not the one that was kept in the home: the log was replaced"),
        (CUT, f"6: it is missing, and was kept in the home: the end was cut off{UNNAMED}"),
        ("drop table model_audit_logs cascade", "1: all entries are missing: the table is gone"),
    ],
)
def test_what_is_done_well_to_the_whole_log_shows_for_good(
    kept: postgres.Connection, home: Path, statement: str, expected: str
) -> None:
    before = (home / FILE).read_text()
    kept.execute(statement)
    assert told(kept, home) == expected
    follow(kept, home, "ann", shared=False)
    assert (home / FILE).read_text() == before
    assert told(kept, home) == expected


def test_a_cut_log_that_has_grown_again_shows(kept: postgres.Connection, home: Path) -> None:
    kept.execute(CUT)
    kept.execute("alter table model_audit_logs alter column entry_id restart with 5")
    write(kept, 4)
    follow(kept, home, "ann", shared=False)
    assert audit.verify(kept) is None
    assert "6: it is not the one" in str(told(kept, home))


def test_an_end_that_is_broken_behind_what_was_kept_is_not_taken_over(
    kept: postgres.Connection, home: Path
) -> None:
    write(kept, 3)
    kept.execute("alter table model_audit_logs disable trigger all")
    kept.execute("update model_audit_logs set reason = 'other' where entry_id = 8")
    follow(kept, home, "ann", shared=False)
    assert json.loads((home / FILE).read_text())["entry_id"] == 6
    assert told(kept, home) == "8: its content was altered"


def remove_file(home: Path) -> None:
    (home / FILE).unlink()


def remove_key(home: Path) -> None:
    (home / signing.KEY).unlink()


def remove_all(home: Path) -> None:
    shutil.rmtree(home / "audit")


def move_on(home: Path) -> None:
    read = json.loads((home / FILE).read_text())
    (home / FILE).write_text(json.dumps({**read, "entry_id": 5}))


def sign_with_another(home: Path) -> None:
    read = json.loads((home / FILE).read_text())
    key = signing.make_key(home / "other")
    content = {name: read[name] for name in ("entry_id", "entry_hash", "kept_at")}
    (home / FILE).write_text(json.dumps(signing.sign(key, content)))


def damage_file(home: Path) -> None:
    (home / FILE).write_bytes(b"\xff{")


def damage_key(home: Path) -> None:
    (home / signing.KEY).write_text("no key")


@pytest.mark.parametrize(
    ("tamper", "expected"),
    [
        (remove_file, "6: audit/head.json, which kept the end since then, is missing"),
        (remove_key, "6: audit/key.pem, which signed audit/head.json, is missing"),
        (remove_all, "6: audit/key.pem and audit/head.json are missing in the home"),
        (move_on, "5: audit/head.json is not as the key of the home signed it"),
        (sign_with_another, "6: audit/head.json is not as the key of the home signed it"),
        (damage_file, "1: audit/head.json is not as the key of the home signed it"),
        (damage_key, "key.pem: it is no key of a home"),
    ],
)
def test_what_is_done_to_the_file_or_the_key_shows_for_good(
    kept: postgres.Connection, home: Path, tamper: Callable[[Path], None], expected: str
) -> None:
    tamper(home)
    assert expected in str(told(kept, home))
    if tamper is not damage_key:
        write(kept)
        follow(kept, home, "ann", shared=False)
        assert expected in str(told(kept, home))


def test_the_file_and_the_key_of_another_home_show(
    kept: postgres.Connection, home: Path, tmp_path: Path
) -> None:
    other = signing.make_key(tmp_path / "other")
    head = {"entry_id": 3, "entry_hash": "0" * 64, "kept_at": "then"}
    (home / FILE).write_text(json.dumps(signing.sign(other, head)))
    shutil.copy(tmp_path / "other" / signing.KEY, home / signing.KEY)
    replaced = "3: it is not the one that was kept in the home: the log was replaced"
    assert told(kept, home) == replaced + UNNAMED


def test_a_second_home_of_a_server_keeps_the_end_by_a_key_of_its_own(
    kept: postgres.Connection, home: Path, tmp_path: Path
) -> None:
    second = tmp_path / "second"
    assert told(kept, second, shared=True) is None
    follow(kept, second, "bob", shared=True)
    assert entries(kept).count("anchor") == 2
    assert told(kept, second, shared=True) is told(kept, home, shared=True) is None
    copy = tmp_path / "moved"
    shutil.copytree(home, copy)
    assert told(kept, copy) is None


@pytest.mark.parametrize("step", ["_write", "_name", "_write of the name"])
def test_a_kill_between_the_steps_heals(
    connection: postgres.Connection, home: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    write(connection, 2)
    name, _, second = step.partition(" ")
    original, calls = getattr(anchor, name), []

    def killed(*given: object) -> None:
        calls.append(given)
        if not second or len(calls) == 2:
            raise KeyboardInterrupt
        original(*given)

    with monkeypatch.context() as patched:
        patched.setattr(anchor, name, killed)
        with pytest.raises(KeyboardInterrupt):
            follow(connection, home, "ann", shared=False)
    assert told(connection, home) is None
    write(connection)
    follow(connection, home, "ann", shared=False)
    assert told(connection, home) is None
    assert entries(connection).count("anchor") == 1
    assert signing.is_signed(json.loads((home / FILE).read_text()))


APPENDING = """
import sys
from pathlib import Path
from ml_assets.releases.anchor import follow
from ml_assets.releases.audit import Entry, append
from ml_assets.stores import postgres
with postgres.connect(sys.argv[1], Path()) as connection:
    for number in range(20):
        append(connection, Entry("ann", "promote", f"model/{number}", "because"))
        follow(connection, Path(sys.argv[2]), "ann", shared=False)
"""


def test_two_processes_append_at_once(
    connection: postgres.Connection, postgres_url: str, home: Path
) -> None:
    command = [sys.executable, "-c", APPENDING, postgres_url, str(home)]
    both = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert audit.count_entries(connection) == 41
    assert told(connection, home) is None
    assert json.loads((home / FILE).read_text())["entry_id"] >= 40


def test_what_dagster_kept_tells_of_a_replaced_log_without_a_home(
    kept: postgres.Connection, home: Path
) -> None:
    now = datetime.now(UTC)
    head = anchor.read_head(kept)
    assert head
    assert anchor.parse_head(str(head)) == head
    right, wrong, cut = Witness(head, now), Witness(Head(3, "0" * 64), now), Head(9, "0" * 64)
    assert verify(kept, home, [right], shared=True) is None
    assert "3: it is not the one that was kept by Dagster" in str(
        verify(kept, home, [right, Witness(cut, now), wrong], shared=True)
    )
    assert "9: it is missing, and was kept by Dagster" in str(
        verify(kept, home, [Witness(cut, now)], shared=True)
    )
    append(kept, Entry("ann", "restore", "home", "a disk"))
    assert verify(kept, home, [Witness(cut, now)], shared=True) is None
    later = Witness(cut, now + timedelta(hours=1))
    assert "9: " in str(verify(kept, home, [later], shared=True))


@pytest.mark.parametrize("text", ["", "none", "x " + "0" * 64, "3 " + "0" * 63])
def test_what_is_no_head_is_none(text: str) -> None:
    assert anchor.parse_head(text) is None


@pytest.mark.parametrize("tamper", [remove_all, remove_file, damage_file, damage_key])
def test_an_admin_takes_the_log_for_right(
    kept: postgres.Connection, home: Path, tamper: Callable[[Path], None]
) -> None:
    tamper(home)
    before = told(kept, home)
    assert before
    assert anchor_anew(kept, home, "ann", "the disk was lost") == before
    assert told(kept, home) is None
    entry = audit.read_entries(kept, 1)[0]
    assert (entry.action, entry.reason, entry.details["told"]) == (
        "anchor anew",
        "the disk was lost",
        before,
    )


def test_a_broken_chain_is_not_taken_for_right(kept: postgres.Connection, home: Path) -> None:
    kept.execute("alter table model_audit_logs disable trigger all")
    kept.execute("update model_audit_logs set reason = 'other' where entry_id = 2")
    with pytest.raises(StoreError, match="broken at 2: its content was altered"):
        anchor_anew(kept, home, "ann", "why not")
    grant(kept, "eve", "admin", "eve")
    with pytest.raises(RoleError):
        anchor_anew(kept, home, "ann", "why not")


def test_who_may_only_read_keeps_nothing(
    connection: postgres.Connection, home: Path, superuser: postgres.Connection
) -> None:
    write(connection)
    superuser.execute("create role keeps_nothing")
    try:
        superuser.execute("grant usage on schema ml_schema to keeps_nothing")
        superuser.execute("grant select on all tables in schema ml_schema to keeps_nothing")
        superuser.execute("set role keeps_nothing")
        follow(superuser, home, "ann", shared=True)
        assert not home.exists()
    finally:
        superuser.execute("reset role; drop owned by keeps_nothing; drop role keeps_nothing")
