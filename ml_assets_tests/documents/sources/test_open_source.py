"""The one line of text that chooses and configures a source."""

from __future__ import annotations

from pathlib import Path

import pytest

from ml_assets.documents.model import Document
from ml_assets.documents.sources import Source, open_source
from ml_assets.errors import SettingError, SourceError, UserError
from ml_assets.settings import Settings


def documents(source: Source) -> list[Document]:
    rows = source.read(list(source.collections()))
    return [row for row in rows if isinstance(row, Document)]


@pytest.mark.parametrize("kind", ["python_docs", "python_environment"])
def test_sources_without_a_path(kind: str, settings: Settings) -> None:
    source = open_source(kind, settings)
    assert source.name == kind
    assert len(source.collections()) >= 16


def test_columns_and_percent_encoding(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "odd name?.csv").write_text("the body,a&b,id\nhello,x,1\n")
    spec = f"files:{tmp_path}/odd%20name%3F.csv?text=the+body&label=a%26b&name=my%20tweets"
    (document,) = documents(open_source(spec, settings))
    assert document == Document("1", "my tweets", "hello", label="x")


def test_a_toml_file_says_the_same(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "data.csv").write_text("id,body,k,l\n1,hello,5,6\n")
    (tmp_path / "source.toml").write_text(
        'source = "files"\npath = "data.csv"\ntext = "body"\nmetadata = ["k", "l"]\n'
    )
    (document,) = documents(open_source(str(tmp_path / "source.toml"), settings))
    assert document == Document("1", "data", "hello", metadata={"k": "5", "l": "6"})


def test_passwords_are_not_shown(settings: Settings) -> None:
    source = open_source("files:https://me:secret@example.org/x.csv", settings)
    assert source.name == "files:https://me:***@example.org/x.csv"


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        (
            "sqlite:x",
            SettingError,
            (
                "ML_ASSETS_SOURCE: unknown kind of source 'sqlite'. Use one of python_docs,"
                " python_environment, beir, files, sql, mongodb, or the path of a .toml file"
            ),
        ),
        ("", SettingError, "unknown kind of source ''"),
        ("files:", SourceError, "(files): no path. Write files:/path/to/the/documents"),
        ("beir", SourceError, "(beir): no path"),
        ("python_docs:/tmp", SourceError, "(python_docs): takes no path, but got '/tmp'"),
        ("python_docs?a=b", SourceError, "unknown option a. It takes no options"),
        ("beir:/x?text=t", SourceError, "unknown option text. Use name"),
        (
            "files:x.csv?txt=a&zz=b",
            SourceError,
            (
                "unknown option txt, zz. Use id, text, title, label, url, group, created_at,"
                " metadata, collection_by, name"
            ),
        ),
        ("files:x.csv?text=a&text=b", SettingError, "an option is given twice"),
        ("files:x.csv?encoding=base64", SourceError, "unknown encoding base64. Write one such as"),
        ("files:x.csv?text", SettingError, "the options cannot be read"),
        ("files:x.csv?text=", SourceError, "the option text is empty"),
        (
            "files:x.csv?collection_by=created_at",
            SourceError,
            (
                "collection_by=created_at has no period. Write"
                " collection_by=created_at:day|month|quarter|year"
            ),
        ),
        ("files:x.csv?collection_by=created_at:week", SourceError, "has no period"),
        ("/no/such.toml", SettingError, "ML_ASSETS_SOURCE: /no/such.toml: No such file"),
    ],
)
def test_mistakes(spec: str, error: type[UserError], message: str, settings: Settings) -> None:
    with pytest.raises(error) as caught:
        open_source(spec, settings)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("source = ", "is not TOML"),
        ('source = "files"\npath = "x"\ntext = 3', "text is not a string or a list of strings"),
        ('path = "x"', "unknown kind of source ''"),
    ],
)
def test_mistakes_in_toml(content: str, message: str, tmp_path: Path, settings: Settings) -> None:
    file = tmp_path / "s.toml"
    file.write_text(content)
    with pytest.raises(SettingError, match=message):
        open_source(str(file), settings)
