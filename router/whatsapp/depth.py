"""How deep a JSON value is nested."""


def too_deep(value: object, most: int) -> bool:
    """Whether more than `most` objects and lists are nested. Never recurses."""
    level: list[object] = [value] if isinstance(value, dict | list) else []
    for _ in range(most):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return False
    return bool(level)


def _inside(outer: object) -> list[object]:
    if isinstance(outer, dict):
        return [value for value in outer.values() if isinstance(value, dict | list)]
    if isinstance(outer, list):
        return [value for value in outer if isinstance(value, dict | list)]
    return []
