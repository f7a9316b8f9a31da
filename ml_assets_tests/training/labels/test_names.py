"""Labels that look alike."""

from hypothesis import given
from hypothesis import strategies as st

from ml_assets.training.labels.names import alike


def test_labels_that_differ_by_what_a_reader_overlooks_are_together() -> None:
    given = ["animals", "Animals", "plants", "ani\u200bmals", "wild  animals", "Wild animals"]
    assert alike([*given, "\uff50lants", "plant"]) == [
        ("Animals", "animals", "ani\u200bmals"),
        ("Wild animals", "wild  animals"),
        ("plants", "\uff50lants"),
    ]


def test_different_labels_are_not() -> None:
    assert alike(["animal", "animals", "café", "cafe", "a b", "ab", "animal"]) == []
    assert alike([]) == []


@given(st.lists(st.text(max_size=4)), st.randoms())
def test_the_order_of_the_labels_does_not_matter(labels: list[str], random: object) -> None:
    shuffled = [*labels]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert alike(shuffled) == alike(labels)


@given(st.text(max_size=8))
def test_a_label_is_like_itself_in_another_case(label: str) -> None:
    names = {label, label.upper().lower(), f"{label}\u00ad"}
    assert [set(each) for each in alike(names)] == ([names] if len(names) > 1 else [])
