"""What is sealed opens with its key in its place, and nowhere else."""

import base64

import pytest
from pydantic import SecretStr

from router.tenants.sealing import CannotOpen, Vault, is_sealed, place_of_key

OLD = SecretStr("0123456789abcdef0123456789abcdef")
NEW = SecretStr("fedcba9876543210fedcba9876543210")
HERE = place_of_key("evo_api_key", 7)


def test_what_is_sealed_opens_in_its_place():
    vault = Vault([NEW])
    sealed = vault.seal("EVO-chave-ção", HERE)
    assert is_sealed(sealed)
    assert "EVO-chave" not in sealed
    assert vault.open(sealed, HERE).get_secret_value() == "EVO-chave-ção"


def test_the_same_secret_is_never_sealed_to_the_same_text():
    vault = Vault([NEW])
    assert len({vault.seal("EVO-SECRET", HERE) for _ in range(50)}) == 50


@pytest.mark.parametrize(
    "place",
    [place_of_key("evo_api_key", 8), place_of_key("llm_api_key", 7), "tenants.system_prompt:7", ""],
)
def test_in_another_row_or_column_it_does_not_open(place):
    sealed = Vault([NEW]).seal("EVO-SECRET", HERE)
    with pytest.raises(CannotOpen, match="another place"):
        Vault([NEW]).open(sealed, place)


def test_a_single_changed_bit_is_noticed():
    prefix, _, text = Vault([NEW]).seal("EVO-SECRET", HERE).rpartition(":")
    raw = base64.urlsafe_b64decode(text)
    for place in range(len(raw)):
        changed = bytes([*raw[:place], raw[place] ^ 1, *raw[place + 1 :]])
        with pytest.raises(CannotOpen):
            Vault([NEW]).open(f"{prefix}:{base64.urlsafe_b64encode(changed).decode()}", HERE)


def test_an_old_key_still_opens_and_the_first_seals():
    sealed = Vault([OLD]).seal("EVO-SECRET", HERE)
    both = Vault([NEW, OLD])
    assert both.open(sealed, HERE).get_secret_value() == "EVO-SECRET"
    assert not both.is_current(sealed)
    assert both.is_current(both.seal("EVO-SECRET", HERE))


@pytest.mark.parametrize(
    ("keys", "said"), [([NEW], "lacks the key"), ([], "SECRETS_KEY is not set")]
)
def test_without_its_key_it_says_so_and_repeats_nothing(keys, said):
    sealed = Vault([OLD]).seal("EVO-SECRET", HERE)
    with pytest.raises(CannotOpen, match=said) as told:
        Vault(keys).open(sealed, HERE)
    assert sealed.rpartition(":")[2] not in str(told.value)


@pytest.mark.parametrize("rest", ["", ":", "no-such-key:AAAA", "*", "ffffffff:%%%"])
def test_what_only_looks_sealed_is_refused(rest):
    with pytest.raises(CannotOpen):
        Vault([NEW]).open(f"sealed:1:{rest}", HERE)


@pytest.mark.parametrize("text", ["AAAA", "%%%", "ção", "A" * 15])
def test_what_is_cut_or_no_base64_is_refused(text):
    name = Vault([NEW]).seal("x", HERE).split(":")[2]
    with pytest.raises(CannotOpen):
        Vault([NEW]).open(f"sealed:1:{name}:{text}", HERE)


def test_a_value_from_before_there_was_a_key_is_read_as_it_is():
    assert Vault([NEW]).open("EVO-PLAIN", HERE).get_secret_value() == "EVO-PLAIN"
    assert Vault([]).seal("EVO-PLAIN", HERE) == "EVO-PLAIN"
