"""How each kind of variable is read: pure functions from its text to its value.

Each raises ValueError with the error and the fix, worded to follow the variable's name. None of
these texts contains a secret.
"""

import re
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from pydantic import SecretStr

from router.configuration.addresses import Allowed
from router.configuration.servers import named_place
from router.configuration.zones import zone_of

_LONGEST_SHOWN = 40
_SHORTEST_KEY = 32
_KEY_LIKE = re.compile(r"(sk|pk)[-_]|sbp?_|eyJ|gh[pousr]_|github_pat_|xox[abp]-|AKIA|Bearer ")
_HEADER_SAFE = re.compile(r"[\x21-\x7e]+")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,40}")
_SUPABASE_CURE = (
    "Copy the Project URL from the Supabase dashboard (Settings, API): https://xxx.supabase.co"
)


def shown(value: object) -> str:
    """Return the value for an error text, or only its length if it may be a misplaced secret."""
    text = str(value)
    if len(text) > _LONGEST_SHOWN or set(text) & set("@?") or _KEY_LIKE.match(text):
        return f"the value ({len(text)} characters)"
    return repr(text)


def read_url(text: str) -> str:
    """Return an http(s) URL without a slash at its end."""
    parts = _split(text)
    if parts.scheme not in ("http", "https"):
        raise ValueError(
            f"{shown(text)} is not an http URL. Write it in full, such as https://host.example"
        )
    if parts.username is not None or parts.password is not None:
        raise ValueError("the URL carries a user name or password. Leave them out")
    if parts.query or parts.fragment:
        raise ValueError("the URL goes on after its path. Leave out all from ? or # on")
    return text.rstrip("/")


def read_supabase_url(text: str) -> str:
    """Return the URL of a Supabase project, hosted or not, without a slash at its end."""
    if text.startswith(("postgres://", "postgresql://")):
        raise ValueError(
            "the value is the URL of a database, not of a project."
            f" Put it into DATABASE_URL. {_SUPABASE_CURE}"
        )
    try:
        url = read_url(text)
    except ValueError as error:
        raise ValueError(f"{error}. {_SUPABASE_CURE}") from None
    if urlsplit(url).path:
        raise ValueError(f"{shown(text)} has a path. {_SUPABASE_CURE}, and nothing behind it")
    return url


def read_database_url(secret: SecretStr) -> SecretStr:
    """Return the URL of a PostgreSQL server as asyncpg takes it; it may contain a password."""
    text = secret.get_secret_value()
    if "[YOUR-PASSWORD]" in text:
        raise ValueError("still has [YOUR-PASSWORD] in it. Put the database's password there")
    try:
        parts = urlsplit(text)
    except ValueError:
        raise ValueError(f"cannot be read as an address. {_ENCODE_CURE}") from None
    if parts.scheme not in ("postgres", "postgresql"):
        raise ValueError(
            "is not the URL of a PostgreSQL."
            " Write postgresql://user:password@host:5432/database (a project's https:// URL"
            " is SUPABASE_URL)"
        )
    if "@" in text and "@" not in parts.netloc:
        raise ValueError(f"has a user name or password that breaks the address. {_ENCODE_CURE}")
    return secret


_ENCODE_CURE = (
    "Percent-encode what is special in the password: %40 for @, %2F for /, %23 for #, %3F for ?"
)


def read_folder(text: str) -> Path:
    """Return the path of a folder; `~` is the user's home folder."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ValueError(f"{shown(text)} is not a path. Write it in full") from None


def read_bucket(text: str) -> str:
    """Return the name of a bucket of Supabase Storage."""
    if not _BUCKET.fullmatch(text):
        raise ValueError(
            f"{shown(text)} is not the name of a bucket."
            " Use small letters, digits and hyphens, such as received-media"
        )
    return text


def read_zone(text: str) -> str:
    """Return the name of a time zone."""
    try:
        return zone_of(text).key
    except ValueError as error:
        raise ValueError(f"{shown(text)} {error}") from None


def read_origins(text: str) -> tuple[str, ...]:
    """Return the origins of a comma list in the form that browsers send: no slash at the end."""
    return tuple(_origin(item) for item in _items(text))


def _origin(text: str) -> str:
    if text == "*":
        return text
    parts = _split(text)
    if not parts.scheme:
        raise ValueError(f"{shown(text)} lacks its protocol. Write https:// before it")
    if parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError(
            f"{shown(text)} is more than an origin."
            " Write protocol, host and port only, such as https://app.example"
        )
    return f"{parts.scheme}://{parts.netloc.lower()}"


def read_names(text: str) -> tuple[str, ...]:
    """Return the names of a comma list."""
    return tuple(_items(text))


def read_networks(text: str) -> tuple[str, ...]:
    """Return the networks of a comma list: 203.0.113.0/24, 2001:db8::/32, or one address."""
    return tuple(_network(item) for item in _items(text))


def _network(text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError:
        raise ValueError(
            f"{shown(text)} is not a network. Write 203.0.113.0/24, 2001:db8::/32 or one address"
        ) from None


def read_allowed_networks(text: str) -> tuple[str, ...]:
    """Return the networks and hosts of a comma list; an empty list for `none`."""
    items = _items(text)
    if items == ["none"]:
        return ()
    for item in items:
        try:
            Allowed.of([item])
        except ValueError:
            raise ValueError(
                f"{shown(item)} is neither a network nor a host."
                " Write 10.1.0.0/16, evolution or evolution:8080"
            ) from None
    return tuple(items)


def read_servers(text: str) -> tuple[str, ...]:
    """Return the URLs of a comma list, one for each Evolution server, no slash at the end."""
    servers = tuple(read_url(item) for item in _items(text))
    for server in servers:
        try:
            named_place(server)
        except ValueError as error:
            raise ValueError(f"{shown(server)} {error}") from None
    return servers


def read_secret(secret: SecretStr) -> SecretStr:
    """Return a secret that an HTTP header can carry."""
    if not _HEADER_SAFE.fullmatch(secret.get_secret_value()):
        raise ValueError(
            "has a space, a line break or a character that HTTP headers cannot carry."
            " Copy it again, without quotes or spaces"
        )
    return secret


def read_secrets(text: str) -> tuple[SecretStr, ...]:
    """Return the secrets of a comma list, the one in use first."""
    return tuple(_entry(number, item) for number, item in enumerate(_items(text), start=1))


def read_sealing_keys(text: str) -> tuple[SecretStr, ...]:
    """Return the encryption keys of a comma list, the one in use first."""
    keys = read_secrets(text)
    for number, key in enumerate(keys, start=1):
        if len(key.get_secret_value()) < _SHORTEST_KEY:
            raise ValueError(
                f"entry {number} is shorter than {_SHORTEST_KEY} characters."
                " Make one with: openssl rand -hex 32"
            )
    return keys


def read_api_keys(text: str) -> dict[str, SecretStr]:
    """Return the keys of a list `name:key,name2:key2`, by name."""
    keys: dict[str, SecretStr] = {}
    for number, item in enumerate(_items(text), start=1):
        name, colon, key = (part.strip() for part in item.partition(":"))
        if not (colon and key and _NAME.fullmatch(name)):
            raise ValueError(
                f"entry {number} is not name:key. Write API_KEYS=name:key,name2:key2,"
                " with names of up to 40 letters, digits, dots, dashes and underscores"
            )
        if name in keys:
            raise ValueError(f"entry {number} has the name of another. Give each key its own name")
        keys[name] = _entry(number, key)
    return keys


def _entry(number: int, text: str) -> SecretStr:
    try:
        return read_secret(SecretStr(text))
    except ValueError as error:
        raise ValueError(f"entry {number} {error}") from None


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _split(text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        port_is_legal = parts.port is None or parts.port > 0
    except ValueError:
        port_is_legal = False
    if not port_is_legal or re.search(r"[\s\x00-\x1f]", text):
        raise ValueError(f"{shown(text)} is not a URL. Check host, port and spaces")
    if parts.scheme and not parts.hostname:
        raise ValueError(
            f"{shown(text)} has no host. Write it in full, such as https://host.example"
        )
    return parts
