"""Files that are made from the declared settings of tenants: one of SQL, and a page for people.

`python -m scripts.build_schema` writes both.
"""

import textwrap
from collections.abc import Iterable, Sequence

from router.configuration.declaring import Declared
from router.configuration.settings import Settings
from router.configuration.tenant_settings import SETTINGS

_WIDTH = 110
_SQL_HEADER = """\
-- HybridFlow: the settings of tenants. Made by `python -m scripts.build_schema` from
-- router/configuration/tenant_settings.py; change that, not this.
"""
_FUNCTION = """\
-- {about}
create or replace function hybridflow.{name}({argument})
returns {returns}
language {language}
{volatility}set search_path = ''
as $$
{body}
$$;
"""
_STORE = """\
declare
    v_stored public.tenants;
begin
    update public.tenants
    set
{assignments}
        updated_at = hybridflow.clock()
    where id = p_new.id
    returning * into v_stored;
    return v_stored;
end"""
_PAGE_HEADER = """\
# Settings of a tenant

`make schema` generates this page from `router/configuration/tenant_settings.py`: edit that file.

Each setting is a column of `tenants`, a value of `PATCH /api/tenants/{tenant_id}`, and a
`name=value` of `scripts.tenant set`. Settings that are left out stay as they are; null (`name=` on
the command line) restores the default ("without it"). Unless stated otherwise, members of a tenant
can read its settings, and its admins can change them.

| setting | means | without it | must |
|---|---|---|---|
"""


def settings_sql(settings: Sequence[Declared] = SETTINGS) -> str:
    """Return SQL's lists and error texts of the settings, and the function that stores them."""
    return "\n".join(
        [
            _SQL_HEADER,
            *_lists(settings),
            _function(
                "list_bounds",
                "How many names a list may have, and how long each may be.",
                _sizes(
                    (setting.name, f"array[{setting.most}, {setting.longest}]")
                    for setting in settings
                    if setting.form == "names" and setting.most and setting.longest
                ),
                returns="jsonb",
            ),
            _function(
                "text_bounds",
                "How many characters a text may have.",
                _sizes(
                    (setting.name, str(setting.longest))
                    for setting in settings
                    if setting.form == "text" and setting.longest
                ),
                returns="jsonb",
            ),
            _rules(settings),
            _function(
                "store_settings",
                "Stores all settings of an existing tenant. Returns the stored row.",
                _STORE.format(
                    assignments=_wrapped((f"{name} = p_new.{name}" for name in _names(settings)), 8)
                    + ","
                ),
                argument="p_new public.tenants",
                returns="public.tenants",
                language="plpgsql",
            ),
            *map(_comment, settings),
            "",
        ]
    )


def settings_page(settings: Sequence[Declared] = SETTINGS) -> str:
    """Return the page that describes every setting."""
    return _PAGE_HEADER + "".join(_row(setting) for setting in settings)


def _names(settings: Iterable[Declared]) -> list[str]:
    return [setting.name for setting in settings]


def _lists(settings: Sequence[Declared]) -> list[str]:
    lists = {
        ("tenant_settings", "The settings of a tenant."): settings,
        ("tenant_keys", "Keys. They are never shown; only whether they are set."): [
            each for each in settings if each.form == "key"
        ],
        (
            "settings_for_admins",
            "Shown only to the tenant's admins; others see whether they are set.",
        ): [each for each in settings if each.read_by == "admin"],
        ("settings_of_deployment", "Only the deployment may change these."): [
            each for each in settings if each.set_by == "deployment"
        ],
        ("untold_settings", "The audit log shows only that these have changed."): [
            each for each in settings if not each.is_told
        ],
        ("settings_followed", "Members may also read these directly (row security)."): [
            each for each in settings if each.followed
        ],
    }
    return [
        _function(name, about, _array(_names(those)), returns="text[]")
        for (name, about), those in lists.items()
    ]


def _function(
    name: str, about: str, body: str, *, returns: str, argument: str = "", language: str = "sql"
) -> str:
    return _FUNCTION.format(
        name=name,
        about=about,
        body=body,
        returns=returns,
        argument=argument,
        language=language,
        volatility="immutable\n" if language == "sql" else "",
    )


def _array(names: Iterable[str]) -> str:
    return f"    select array[\n{_wrapped(map(_quoted, names), 8)}\n    ]::text[]"


def _sizes(sizes: Iterable[tuple[str, str]]) -> str:
    pairs = (f"{_quoted(name)}, {size}" for name, size in sizes)
    return f"    select jsonb_build_object(\n{_wrapped(pairs, 8)}\n    )"


def _rules(settings: Sequence[Declared]) -> str:
    rules = "".join(
        f"        when 'tenants_{setting.name}_check'\n"
        f"            then {_quoted(f'{setting.name} {setting.fault()}')}\n"
        for setting in settings
        if setting.fault()
    )
    return _function(
        "tenant_rule",
        "What a tenant's value must be, by the name of the constraint that it broke.",
        f"    select case p_constraint\n{rules}"
        "        else 'a value breaks the rule ' || p_constraint\n    end",
        argument="p_constraint text",
        returns="text",
    )


def _comment(setting: Declared) -> str:
    lines = textwrap.wrap(setting.about, _WIDTH - 20)
    parts = [f"{line} " for line in lines[:-1]] + lines[-1:]
    return (
        f"comment on column public.tenants.{setting.name} is\n"
        + "\n".join(map(_quoted, parts))
        + ";"
    )


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _wrapped(items: Iterable[str], indent: int) -> str:
    """Return the items with commas between them, in lines that are not too long."""
    lines = [""]
    for item in items:
        if lines[-1] and indent + len(lines[-1]) + len(item) + 3 > _WIDTH:
            lines.append("")
        lines[-1] += f"{', ' if lines[-1] else ''}{item}"
    return ",\n".join(" " * indent + line for line in lines)


def _row(setting: Declared) -> str:
    cells = (f"`{setting.name}`", _means(setting), _without(setting), _must(setting))
    return f"| {' | '.join(cells)} |\n"


def _means(setting: Declared) -> str:
    sentences = [setting.about]
    if setting.read_by == "admin":
        sentences.append("Only admins can read it")
    if setting.set_by == "deployment":
        sentences.append("Only the deployment can change it")
    return ". ".join(sentences).replace("|", r"\|")


def _without(setting: Declared) -> str:
    if setting.required:
        return "there is no tenant"
    if not setting.nullable:
        return f"`{_plain(setting.default)}`"
    if setting.otherwise:
        return setting.otherwise
    variable = setting.variable.upper()
    default = Settings.model_fields[setting.variable].default
    return f"`{variable}`" if default is None else f"`{variable}` ({_plain(default)})"


def _must(setting: Declared) -> str:
    if setting.kind is bool:
        return "be `true` or `false`"
    if setting.words:
        return f"be {' or '.join(f'`{word}`' for word in setting.words)}"
    if setting.deployment in ("most", "budget"):
        return f"{_bounds(setting)}, and at most `{setting.variable.upper()}`"
    return _bounds(setting)


def _bounds(setting: Declared) -> str:
    if setting.form == "key":
        return "have 6 to 500 letters, digits and signs of ASCII"
    if setting.form == "names":
        return f"be {setting.most} at most, of {setting.longest} characters each"
    if setting.form == "text" and setting.longest:
        return f"have {setting.longest:,} characters at most"
    return setting.fault().removeprefix("must ")


def _plain(value: object) -> str:
    """Return a value as JSON writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    return "[]" if value == () else str(value)
