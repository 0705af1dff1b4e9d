"""Large tables of small cases, in one test.

What pytest does around a test takes longer than such a case: a table of five hundred took half a
second in which nothing was tested. `for_each` is written as `pytest.mark.parametrize` is.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

Ids = Callable[[Any], object] | Iterable[object]
_LONGEST = 300  # characters of a case that failed


def for_each(
    names: str | tuple[str, ...], cases: Iterable[Any], ids: Ids = repr
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Call a test for each case, in the order of the table; a failure says for which."""
    given = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    table = list(cases)
    called = ids if callable(ids) else dict(zip(range(len(table)), ids, strict=True)).get
    assert table, f"there is no case of {names}"

    @contextmanager
    def given_case(place: int) -> Iterator[dict[str, Any]]:
        case = table[place]
        values = getattr(case, "values", None)  # of pytest.param
        if not isinstance(values, tuple):
            values = (case,) if len(given) == 1 else tuple(case)
        try:
            yield dict(zip(given, values, strict=True))
        except BaseException as error:
            error.add_note(f"for {called(case if callable(ids) else place)}"[:_LONGEST])
            raise

    def over_all(test: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.iscoroutinefunction(test):

            @wraps(test)
            async def run(**others: Any) -> None:
                for place in range(len(table)):
                    with given_case(place) as case:
                        await test(**case, **others)
        else:

            @wraps(test)
            def run(**others: Any) -> None:
                for place in range(len(table)):
                    with given_case(place) as case:
                        test(**case, **others)

        asked = inspect.signature(test)
        left = [each for name, each in asked.parameters.items() if name not in given]
        assert len(left) == len(asked.parameters) - len(given), f"it does not take {names}"
        run.__signature__ = asked.replace(parameters=left)  # type: ignore[attr-defined]
        return run

    return over_all
