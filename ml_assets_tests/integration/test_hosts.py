"""A second host, with a home of its own, on a PostgreSQL server: nothing is done or lost twice."""

from pathlib import Path

from ml_assets_tests.integration.project import write_documents
from ml_assets_tests.servers.hosts import encoded, hosts


def test_a_second_host_leaves_alone_what_it_cannot_see(
    tmp_path: Path, postgres_url: str, exported_models: Path
) -> None:
    """Models lie in the home of the first: `MLFLOW_TRACKING_URI` is not set."""
    file = tmp_path / "notes.jsonl"
    write_documents(file, per_topic=12)
    pair = hosts(tmp_path, file, {"POSTGRES_URL": postgres_url}, exported_models)
    a, b = pair.projects
    assert encoded(pair.run(0)) == 48
    assert "Nothing changed" in pair.run(0)
    told = pair.run(1)
    assert encoded(told) == 0
    assert "Models are left as they are: the models lie in the home of another host." in told
    assert "MLFLOW_TRACKING_URI" in told
    assert "Nothing changed" in pair.run(1)
    assert "Nothing changed" in pair.run(0)
    assert "kitchen" in a.call("predict", "bread", **pair.urls)
    refused = b.call("predict", "bread", code=1, **pair.urls)
    assert refused.startswith("Error MLFLOW_TRACKING_URI is not set: the model models:/m-")
    assert refused.count("\n") == 1
    assert pair.contents(1) == pair.contents(0)
