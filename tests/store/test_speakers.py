"""Speakers: pages, patches, deletion."""

import pytest

from app.errors import ConcurrentModification, SpeakerNotFound, ValidationFailed
from app.store import Repository
from app.store.rows import merge_patch
from tests.store.makers import MODEL, OTHER_MODEL, TENANT, take


def enroll(repository: Repository, *names: str, group: str | None = None) -> None:
    metadata = None if group is None else {"group": group}
    for name in names:
        repository.add_enrollments(TENANT, name, MODEL, [take(1)], metadata=metadata)


def listed(repository: Repository, limit: int, group: str | None = None) -> list[list[str]]:
    pages, cursor = [], None
    while True:
        page = repository.list_speakers(TENANT, cursor=cursor, limit=limit, group=group)
        pages.append([speaker.speaker_id for speaker in page.speakers])
        cursor = page.next_cursor
        if cursor is None:
            return pages


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 6, 1000])
def test_pages_hold_everyone_once_in_the_order_of_creation(repository: Repository, limit: int) -> None:
    names = ["zoe", "anna", "mia", "ben", "yan"]
    enroll(repository, *names)
    pages = listed(repository, limit)
    assert [name for page in pages for name in page] == names
    assert len(pages) == -(-len(names) // limit)


def test_pages_keep_their_order_while_speakers_come_and_go(repository: Repository) -> None:
    enroll(repository, "a", "b", "c", "d")
    first = repository.list_speakers(TENANT, limit=2)
    repository.delete_speaker(TENANT, "b")  # the one the cursor stands on
    repository.delete_speaker(TENANT, "c")
    enroll(repository, "e")
    repository.add_enrollments(TENANT, "a", MODEL, [take(2)])
    second = repository.list_speakers(TENANT, cursor=first.next_cursor, limit=2)
    assert [s.speaker_id for s in second.speakers] == ["d", "e"]
    assert second.next_cursor is None


def test_a_page_shows_what_each_speaker_holds(repository: Repository) -> None:
    enroll(repository, "a", "b")
    repository.add_enrollments(TENANT, "b", OTHER_MODEL, [take(1), take(2)])
    page = repository.list_speakers(TENANT)
    assert [s.held(OTHER_MODEL).enrollments_count for s in page.speakers] == [0, 2]
    assert list(page.speakers) == [repository.get_speaker(TENANT, name) for name in ("a", "b")]


def test_an_empty_list_is_one_empty_page(repository: Repository) -> None:
    assert listed(repository, 10) == [[]]


def test_a_group_narrows_the_list(repository: Repository) -> None:
    enroll(repository, "a", "b", group="Köln 'x' \"y\"")
    enroll(repository, "c")
    enroll(repository, "d", group="other")
    assert listed(repository, 1, group="Köln 'x' \"y\"") == [["a"], ["b"]]
    assert listed(repository, 9, group="nobody") == [[]]


@pytest.mark.parametrize("cursor", ["", "x", "é", "c3BlYWtlcjo", "c3BlYWtlcjotMQ", "%%%", "A" * 4000])
def test_a_cursor_that_is_not_ours_is_refused(repository: Repository, cursor: str) -> None:
    with pytest.raises(ValidationFailed) as refusal:
        repository.list_speakers(TENANT, cursor=cursor)
    assert refusal.value.field == "cursor"


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_a_limit_out_of_range_is_refused(repository: Repository, limit: int) -> None:
    with pytest.raises(ValidationFailed) as refusal:
        repository.list_speakers(TENANT, limit=limit)
    assert refusal.value.field == "limit"


def test_an_update_changes_what_it_names(repository: Repository) -> None:
    created = repository.add_enrollments(
        TENANT, "anna", MODEL, [take(1)], display_name="Anna", metadata={"a": 1, "b": {"c": 2, "d": 3}}
    ).speaker
    renamed = repository.update_speaker(TENANT, "anna", display_name="Änne")
    assert (renamed.display_name, renamed.metadata) == ("Änne", created.metadata)
    patched = repository.update_speaker(TENANT, "anna", metadata_patch={"a": None, "b": {"c": 4}, "e": [1]})
    assert (patched.display_name, patched.metadata) == ("Änne", {"b": {"c": 4, "d": 3}, "e": [1]})
    unnamed = repository.update_speaker(TENANT, "anna", display_name=None)
    assert unnamed.display_name is None
    assert (created.version, unnamed.version) == (1, 4)
    assert created.created_at == unnamed.created_at <= created.updated_at < unnamed.updated_at
    assert unnamed.holdings == created.holdings
    assert repository.get_speaker(TENANT, "anna") == unnamed


def test_an_update_of_an_outdated_version_is_refused(repository: Repository) -> None:
    enroll(repository, "anna")
    first = repository.get_speaker(TENANT, "anna").edition
    repository.update_speaker(TENANT, "anna", display_name="first", expected_edition=first)
    with pytest.raises(ConcurrentModification):
        repository.update_speaker(TENANT, "anna", display_name="second", expected_edition=first)
    assert repository.get_speaker(TENANT, "anna").display_name == "first"


def test_what_was_known_of_a_deleted_speaker_says_nothing_of_the_next(repository: Repository) -> None:
    enroll(repository, "anna")
    old = repository.get_speaker(TENANT, "anna")
    repository.delete_speaker(TENANT, "anna")
    enroll(repository, "anna")
    new = repository.get_speaker(TENANT, "anna")
    assert new.version == old.version
    for change in (repository.update_speaker, repository.reset_speaker, repository.delete_speaker):
        with pytest.raises(ConcurrentModification):
            change(TENANT, "anna", expected_edition=old.edition)
    assert repository.get_speaker(TENANT, "anna") == new
    assert repository.delete_speaker(TENANT, "anna", expected_edition=new.edition) is not None


def test_updating_nobody_names_who_is_missing(repository: Repository) -> None:
    with pytest.raises(SpeakerNotFound) as refusal:
        repository.update_speaker(TENANT, "nobody", display_name="x")
    assert refusal.value.speaker_id == "nobody"
    with pytest.raises(ValidationFailed):
        repository.update_speaker(TENANT, "nobody", metadata_patch={"x": "\0"})


def test_deleting_is_idempotent_and_the_key_is_never_used_again(repository: Repository) -> None:
    enroll(repository, "anna")
    key = repository.get_speaker(TENANT, "anna").key
    receipt = repository.delete_speaker(TENANT, "anna")
    assert receipt is not None
    assert (receipt.enrollments, receipt.recordings, receipt.reason) == (1, 0, "request")
    assert repository.delete_speaker(TENANT, "anna") is None
    assert repository.delete_speaker(TENANT, "never") is None
    with pytest.raises(SpeakerNotFound):
        repository.get_speaker(TENANT, "anna")
    enroll(repository, "anna")
    assert repository.get_speaker(TENANT, "anna").key > key
    assert len(repository.list_enrollments(TENANT, "anna")) == 1


def test_a_deletion_reaches_the_gallery_of_every_model(repository: Repository) -> None:
    key = repository.add_enrollments(TENANT, "anna", MODEL, [take(1)]).speaker.key
    repository.add_enrollments(TENANT, "anna", OTHER_MODEL, [take(1)])
    before = {model: repository.changes_since(TENANT, model, 0).version for model in (MODEL, OTHER_MODEL)}
    repository.delete_speaker(TENANT, "anna")
    for model, version in before.items():
        assert repository.changes_since(TENANT, model, version).changes == [(key, None, 0.0)]
        assert repository.centroid_of(TENANT, model, "anna") is None
        assert repository.count_enrolled(TENANT, model) == 0


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": "b"}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ],
)
def test_merge_patch_follows_the_rfc(
    target: dict[str, object], patch: dict[str, object], result: dict[str, object]
) -> None:
    kept = dict(target)
    assert merge_patch(target, patch) == result
    assert target == kept
