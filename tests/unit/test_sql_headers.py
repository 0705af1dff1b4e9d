"""Each public SQL function's header names the keys that its body reads, and insists on."""

import doctest

import pytest

from tests import sql_headers
from tests.for_each import for_each
from tests.sql_bodies import keys_checked, keys_read
from tests.sql_headers import HeaderNotUnderstood, Shape, headers, read_header

# What ingest_status gives an event before it is applied as any other change.
_SET_ON_THE_WAY = {"ingest_events": {"answer_since"}}
NAMES = sorted(headers())


def test_the_examples_of_the_grammar_are_as_it_says():
    assert doctest.testmod(sql_headers).failed == 0


@for_each("name", NAMES)
def test_a_header_names_exactly_the_keys_that_the_body_reads(name: str):
    read = {place[0] for place in keys_read(name)}
    assert headers()[name].argument.keys == read


@for_each("name", NAMES)
def test_it_says_which_of_them_the_body_refuses_to_do_without(name: str):
    said = headers()[name].argument
    checked = keys_checked(name)
    assert said.required == checked.required
    assert set(said.alternatives) == set(checked.alternatives)
    assert said.nullable == checked.nullable


@pytest.mark.parametrize(
    ("name", "key"),
    [
        (name, key)
        for name in NAMES
        for key, shape in headers()[name].argument.nested.items()
        if not (shape.is_open or shape.is_map)
    ],
)
def test_so_it_does_of_what_stands_in_a_list_or_an_object(name: str, key: str):
    read = {place[1] for place in keys_read(name) if place[0] == key and len(place) > 1}
    shape = headers()[name].argument.nested[key]
    assert shape.keys == read - _SET_ON_THE_WAY.get(name, set())


@pytest.mark.parametrize(
    ("comment", "fault"),
    [
        ("-- Does it.\n-- Returns {ok}.", "must begin with f"),
        ("-- f({a}\n-- Returns {ok}.", "a \\) must come"),
        ("-- f({a, b\n-- Does it.", "bracket has no end"),
        ("-- f({a})\n-- Does it.", "one sentence must begin"),
        ("-- f({a})\n-- Returns {ok}. Returns {ok}.", "one sentence must begin"),
        ("-- f({a (null: any)})\n-- Returns {ok}.", "is no key"),
        ("-- f({a})\n-- Returns {ok: {b (a guess)}}.", "is no key"),
    ],
)
def test_a_header_that_is_not_in_the_grammar_is_refused(comment: str, fault: str):
    with pytest.raises(HeaderNotUnderstood, match=fault):
        read_header("f", comment)


def test_a_header_is_read():
    header = read_header(
        "f",
        "-- f({a, b?, c | d, e: [{g, h?}], i: [id] | null, j?: {<id>: rows}, k: {l, …}})\n"
        "-- Does it. Returns {m, n?: [{o}]} or {refused: 'x' | 'y'}: whatever {that} is.\n",
    )
    assert header.required == {"a", "e", "i", "k"}
    assert header.argument.nullable == {"i"}
    assert header.optional == {"b", "j"}
    assert header.alternatives == ({"c", "d"},)
    assert header.argument.nested["e"] == Shape(frozenset("g"), frozenset("h"))
    assert header.argument.nested["j"].is_map
    assert header.argument.nested["k"].is_open
    assert header.answer_keys == {"m", "n", "refused"}
    assert header.sure_answer_keys == frozenset()


@pytest.mark.parametrize(
    ("answer", "faults"),
    [
        ({"m": 1}, []),
        ({"m": None, "n": [{"o": 1}, {"o": 2}]}, []),
        ({"refused": "x"}, []),
        ({}, ["m is missing"]),
        ({"m": 1, "p": 2}, ["p is not named"]),
        ({"m": 1, "n": [{"o": 1}, {}]}, ["n.o is missing"]),
        (None, ["it is no object"]),
    ],
)
def test_an_answer_is_compared_with_its_header(answer: object, faults: list[str]):
    header = read_header("f", "-- f({})\n-- Returns {m, n?: [{o}]} or {refused: reason}.")
    assert header.misfits(answer) == faults
