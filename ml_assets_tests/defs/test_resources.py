"""Resources: what a run keeps open between its steps, and lets go of at its end."""

import dagster as dg

from ml_assets.defs.resources import PostgresResource
from ml_assets.stores import postgres


def test_the_steps_of_a_run_share_a_connection_that_ends_with_it(postgres_url: str) -> None:
    resource = PostgresResource(url=postgres_url, home="", actor="tester")
    used: list[postgres.Connection] = []

    def use() -> None:
        with resource.connect() as connection:
            used.append(connection)

    with resource.yield_for_execution(dg.build_init_resource_context()):
        use()
        use()
        assert not used[-1].closed
    assert used[0] is used[1]
    assert used[0].closed
    use()
    assert used[2].closed, "outside a run nobody would close it"
