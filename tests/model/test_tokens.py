import pytest

from foremesh.model import tokens


def test_a_token_names_its_resource_even_with_dots_in_the_name() -> None:
    token = tokens.new("mesh", "gw.ams.example")
    assert tokens.resource_of(token) == "mesh/gw.ams.example"


@pytest.mark.parametrize("text", ["", "abc", "a.b", "a..c", ".a.b", "a.b.", "a.\udc80.c"])
def test_a_token_that_is_not_three_parts_is_refused(text: str) -> None:
    with pytest.raises(tokens.Unauthorized):
        tokens.resource_of(text)


def test_only_the_same_token_passes_and_the_error_does_not_repeat_it() -> None:
    token, other = tokens.new("mesh", "ams"), tokens.new("mesh", "ams")
    tokens.check(token, tokens.digest(token))
    for stored in (tokens.digest(other), None, ""):
        with pytest.raises(tokens.Unauthorized) as refused:
            tokens.check(token, stored)
        assert token.rpartition(".")[2] not in str(refused.value)
