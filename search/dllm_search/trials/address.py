"""Addresses of storages: how one is read, and how it may be shown. No password leaves this file.

Knows URLs; leaves drivers and outages to `storage`.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, quote_plus, unquote

from sqlalchemy.engine import URL, make_url

from dllm_decode.errors import ConfigError, DataError

HIDDEN = "***"


def shown_address(place: str | Path | None) -> str:
    """Return a storage's address as it may be printed.

    The password is left out, and so is every value of the query: drivers take passwords, tokens and key files there. An
    address that cannot be read, or that may hold a piece of a password, shows its scheme alone.
    """
    text = str(place)
    if "://" not in text:
        return text
    url = _parsed(text)
    if url is None or _is_torn(url):
        return f"{text.partition('://')[0]}://{HIDDEN}"
    query = "&".join(f"{name}={HIDDEN}" for name in url.query)
    return url.set(query={}).render_as_string(hide_password=True) + (f"?{query}" if query else "")


def check_address(text: str) -> None:
    """Refuse a database's URL that cannot be meant.

    Raises:
        ConfigError: It cannot be read, or an `@` of its password is not escaped.
        DataError: It names a SQLite file in a folder that is not there.
    """
    url = _parsed(text)
    if url is None:
        raise ConfigError(
            f"storage {shown_address(text)} is no database URL; it should look like "
            "postgresql://user:password@host:5432/name or sqlite:///file.db"
        )
    if _is_torn(url):
        raise ConfigError(
            f"storage {shown_address(text)}: the address has more than one @; write %40 for an @ in user or password, "
            "and %2F for a /"
        )
    if url.get_backend_name() == "sqlite" and url.database and not url.database.startswith((":", "file:")):
        folder = Path(url.database).parent
        if not folder.is_dir():
            raise DataError(f"storage {shown_address(text)}: there is no folder {folder}; make it first")


def without_secrets(message: str, place: str | Path | None) -> str:
    """Return a driver's message without what its storage's address hides."""
    text = str(place)
    if "://" not in text:
        return message
    message = message.replace(text, shown_address(text))
    url = _parsed(text)
    values = [] if url is None else [url.password, *url.normalized_query.values()]
    secrets = {one for value in values if value for one in ([value] if isinstance(value, str) else value)}
    written = {form for one in secrets for form in (one, quote(one), quote(one, safe=""), quote_plus(one))}
    for secret in sorted(written | {unquote(one) for one in secrets}, key=len, reverse=True):
        message = message.replace(secret, HIDDEN) if secret else message
    return message


def _parsed(text: str) -> URL | None:
    try:
        return make_url(text)
    except Exception:  # SQLAlchemy's own error, or whatever a port that is no number comes to
        return None


def _is_torn(url: URL) -> bool:
    """Return whether a piece of a password may stand where host and database are read."""
    return url.username is not None and "@" in f"{url.host or ''}{url.database or ''}"
