"""What of a home is in its backup, and what none misses is not."""

from pathlib import Path

from pydantic import SecretStr

from ml_assets.operations.backup import back_up
from ml_assets.settings import Settings
from ml_assets.stores import cache, online, postgres
from ml_assets.stores.online.sqlite import VISITS, open_visits


def test_counters_and_sessions_of_a_service_at_work_are_in_no_backup(
    settings: Settings, postgres_url: str, connection: postgres.Connection, tmp_path: Path
) -> None:
    changed = settings.model_copy(update={"postgres_url": SecretStr(postgres_url)})
    home, target = changed.home, tmp_path / "backup"
    with open_visits(home) as visits:
        visits.execute("insert into counters values ('requests', 1, 0)")
        with online.connect(None, home) as store:
            store.put_many("view", {"x": online.Row({"n": 1}, "r")})
        (home / cache.FILE).write_bytes(b"vectors of queries")
        assert (home / f"{VISITS}-wal").stat().st_size, "it is written"
        back_up(changed, target, print)
    copied = {path.name for path in target.iterdir()}
    assert "online.sqlite" in copied
    assert not [name for name in copied if name.startswith((VISITS, cache.FILE))]
