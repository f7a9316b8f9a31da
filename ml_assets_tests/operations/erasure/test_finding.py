"""Marks: pieces of a document that nothing else says."""

from ml_assets.operations.erasure.finding import Said, marks_of


def said(text: str = "", document_id: str = "one", **fields: object) -> Said:
    given = {"collection": "all", "title": "", "label": None, "url": None, "group_id": document_id}
    return Said(document_id, text=text, **{**given, "metadata": {}, **fields})  # type: ignore[arg-type]


def test_a_rare_word_is_a_mark_by_itself_where_no_vocabulary_can_have_it() -> None:
    marks = marks_of([said("It tells of zq7marker4711, and of ovens.")], ["It tells of ovens."])
    assert "zq7marker4711" in marks


def test_another_rare_word_is_a_mark_with_what_is_around_it() -> None:
    marks = marks_of([said("It tells of a hyperbolic oven.")], ["It tells of a cold oven."])
    assert "It tells of a hyperbolic oven." in marks
    assert "hyperbolic" not in marks


def test_five_words_that_stand_nowhere_else_in_this_order_are_a_mark() -> None:
    others = ["the oven is too hot for bread", "bread is for the hot oven too"]
    marks = marks_of([said("for bread the oven is too cold or too hot")], [*others, "cold or"])
    assert " the oven is too cold " in marks
    assert not any("too hot" in mark and "cold" not in mark for mark in marks)


def test_five_words_that_are_parts_of_longer_ones_elsewhere_are_no_mark() -> None:
    text = "so: a cat and a dog ran"
    marks = marks_of([said(text)], ["so a tomcat", "the bobcat and a dogma", "cat and dog ran a"])
    assert "cat and a dog" not in marks
    assert all(mark in text and mark not in "the bobcat and a dogma" for mark in marks)


def test_of_what_is_long_the_pieces_with_rare_words_are_marks() -> None:
    long = f"{'shared words ' * 12}hyperbolic {'shared words ' * 12}"
    marks = marks_of([said("text", metadata={"note": long})], ["text", "shared words " * 40])
    assert marks
    assert all("hyperbolic" in mark and len(mark) <= 96 for mark in marks)


def test_what_others_say_is_no_mark() -> None:
    text = "The whole text is said by another document."
    assert (
        marks_of(
            [said(text, title="A shared title", label="shared label")],
            [text, "one A shared title shared label"],
        )
        == ()
    )


def test_an_id_is_no_mark_where_another_begins_with_it() -> None:
    document = said("short", "document-0012", group_id="")
    assert "document-0012" in marks_of([document], ["document-0013"])
    assert "document-0012" not in marks_of([document], ["document-00123"])


def test_a_word_is_no_mark_where_a_longer_one_has_it() -> None:
    document = said("It tells of zq7marker4711 and zq7other4711.")
    marks = marks_of([document], ["another zq7marker47112, and xzq7other471"])
    assert "zq7other4711" in marks
    assert "zq7marker4711" not in marks


def test_ids_titles_labels_and_metadata_are_marks() -> None:
    document = said(
        "text",
        "id-zq7-4711",
        title="Zq7 of 4711",
        label="label zq7x4711",
        metadata={"owner": "owner zq7y4711", "pages": 4},
    )
    marks = marks_of([document], ["text"])
    assert {"label zq7x4711", "owner zq7y4711"} <= set(marks)


def test_of_many_documents_each_has_some_marks() -> None:
    documents = [
        said(" ".join(f"w{n}x{k}words" for k in range(50)), f"number-{n}-of") for n in range(300)
    ]
    marks = marks_of(documents, ["others"])
    assert len(marks) <= 3 * 300
    assert all(any(f"{n}-of" in mark or f"w{n}x" in mark for mark in marks) for n in range(300))
