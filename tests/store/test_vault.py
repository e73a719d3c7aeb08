"""Sealing: what was sealed opens for the same speaker, row and master key, and for nothing else."""

import base64
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import MasterKeyInvalid
from app.store import Vault

VAULT = Vault(bytes(range(32)))


@given(st.binary(max_size=2000), st.text(max_size=40))
def test_what_was_sealed_opens(data: bytes, about: str) -> None:
    key = VAULT.new_data_key()
    sealed = VAULT.seal(key, data, about)
    assert VAULT.open(key, sealed, about) == data
    assert VAULT.seal(key, data, about) != sealed, "no two sealings are alike"
    if len(data) > 7:
        assert data not in sealed


@pytest.mark.parametrize("wrong", ["key", "about", "byte", "cut", "empty", "master", "none"])
def test_nothing_else_opens(wrong: str) -> None:
    key = VAULT.new_data_key()
    sealed = bytearray(VAULT.seal(key, b"a voice", "row 1"))
    vault, about, data_key = VAULT, "row 1", key
    if wrong == "key":
        data_key = VAULT.new_data_key()
    elif wrong == "about":
        about = "row 2"
    elif wrong == "byte":
        sealed[-1] ^= 1
    elif wrong in ("cut", "empty"):
        sealed = sealed[: 20 if wrong == "cut" else 0]
    elif wrong == "master":
        vault = Vault(bytes(32))
    with pytest.raises(MasterKeyInvalid):
        vault.open(None if wrong == "none" else data_key, bytes(sealed), about)


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=9) | st.none(), max_size=5))
def test_a_token_carries_facts_that_nobody_reads_or_makes(facts: dict[str, object]) -> None:
    token = VAULT.seal_token(facts)
    assert VAULT.open_token(token) == facts
    assert not set(token) - set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    with pytest.raises(ValueError, match="no token"):
        Vault(bytes(32)).open_token(token)


@pytest.mark.parametrize("token", ["", "a", "nonsense", "é", "A" * 400, "=" * 8])
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(ValueError, match="no token"):
        VAULT.open_token(token)


def test_subjects_are_stable_and_say_nothing() -> None:
    ada = VAULT.subject("default", "ada")
    assert ada == VAULT.subject("default", "ada")
    assert len({ada, VAULT.subject("other", "ada"), VAULT.subject("default", "bob")}) == 3
    assert Vault(bytes(32)).subject("default", "ada") != ada
    # No two pairs run together.
    assert VAULT.subject("a", "bc") != VAULT.subject("ab", "c")


def test_the_first_start_makes_a_key_that_only_its_owner_reads(tmp_path: Path) -> None:
    path = tmp_path / "new" / "master.key"
    with ThreadPoolExecutor(8) as pool:
        vaults = list(pool.map(lambda _: Vault.load(path), range(8)))
    assert len({vault.subject("t", "s") for vault in vaults}) == 1, "all have the same key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(base64.b64decode(path.read_text())) == 32
    assert Vault.load(path).subject("t", "s") == vaults[0].subject("t", "s")


def test_a_key_from_the_environment_is_taken_and_no_file_made(tmp_path: Path) -> None:
    given = base64.b64encode(bytes(range(32))).decode()
    vault = Vault.load(tmp_path / "master.key", given)
    assert vault.subject("t", "s") == VAULT.subject("t", "s")
    assert list(tmp_path.iterdir()) == []


GOOD = base64.b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    "text", ["", "short", "é", base64.b64encode(bytes(31)).decode(), f"{GOOD}.", f"{GOOD}.{GOOD}"]
)
def test_a_damaged_key_is_refused_in_words(tmp_path: Path, text: str) -> None:
    path = tmp_path / "master.key"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(MasterKeyInvalid, match=r"master\.key"):
        Vault.load(path)
    (tmp_path / "folder.key").mkdir()
    with pytest.raises(MasterKeyInvalid, match=r"folder\.key"):
        Vault.load(tmp_path / "folder.key")
