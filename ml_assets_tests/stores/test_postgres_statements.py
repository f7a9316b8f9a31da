"""What statements are given: texts as arrays, whatever is in them."""

from __future__ import annotations

import pytest

from ml_assets.stores import postgres


@pytest.mark.parametrize(
    "texts", [[], [""], ["plain", 'a "quoted" one', "back\\slash\\", "{a,b}", "null", "é\n\x1f\t "]]
)
def test_an_array_holds_its_texts_as_they_are(
    connection: postgres.Connection, texts: list[str]
) -> None:
    bound = {"texts": postgres.text_array(texts)}
    ((held,),) = connection.execute("select %(texts)s::text[]", bound).fetchall()
    assert held == texts
