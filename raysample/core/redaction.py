"""Credentials: their patterns in addresses, settings and texts, and the same data with credentials masked.

The single home of these patterns: terminal, logs, errors, report, stored configurations and MLflow all use it.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Mapping
from types import TracebackType
from typing import Any
from urllib.parse import unquote_plus

MASK = "***"
"""The replacement for a credential."""

# Whole words of a key's name: `X-Amz-Security-Token` has `token`, `max_tokens` and `tokenizer` have not.
_WORDS = {"password", "passwd", "passphrase", "pwd", "pw", "pass", "secret", "token", "sig", "signature", "sas", "jwt"}
_WORDS |= {"credential", "credentials", "apikey", "authorization", "auth", "bearer", "passcode"}
_PAIRS: tuple[str, ...] = ("apikey", "accesskey", "accountkey", "sharedkey", "privatekey", "secretkey", "sessionkey")
_PAIRS += ("accesstoken", "password", "passwd", "authtoken", "clientsecret", "sessiontoken", "accesskeyid")

_WEB = ("http", "https", "ws", "wss", "git", "git+https")
_ADDRESS = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:)?//[^\s<>\"'`]+")
_WHOLE = re.compile(
    r"\A\s*(?:[A-Za-z][A-Za-z0-9+.-]*:)+(?://)?[^\s/]*[@?;#&].*\Z|\A\s*(?:[A-Za-z][A-Za-z0-9+.-]*:)?//.*\Z", re.S
)
_QUOTED = r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'"
# A password with quotes or spaces in it, which end an address in running text; what stands behind a port is none.
_LONG = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^\s/@:\"']*:(?!\s|\d+(?:[/?#:\"',\s]|$))[^\n]{1,256}?@")
# Words that are no more than words in running text, where no quotes or signs make settings of them.
_EVERYDAY = {"pass", "auth", "token", "pw", "sig", "bearer", "sas", "credential", "credentials", "signature"}
_SETTING = re.compile(
    rf"(?P<key>[A-Za-z][A-Za-z0-9_.%-]*)(?P<between>[\"']?\s*[=:]\s*(?:(?:Bearer|Basic)\s+)?)"
    rf"(?P<value>{_QUOTED}|[^\s&,;\"'<>)\]}}]+)"
)


def is_secret(key: str) -> bool:
    """Return whether a setting or query parameter of this name holds a credential."""
    name = unquote_plus(key)
    words = [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]
    joined = "".join(words)
    return bool(_WORDS & set(words)) or any(pair in joined for pair in _PAIRS)


def redact(text: str) -> str:
    """Return a text with the credentials of addresses and settings masked."""
    # A library may quote the credentials of the address without its scheme: `bucket name 'key:secret@bucket'`.
    quoted = {f"{found}@" for match in _ADDRESS.finditer(text) if (found := _userinfo(*_split(match[0])[::2])[1])}
    if _WHOLE.match(text):  # an address with signs that end one in running text
        text = redact_address(text)
    text = _ADDRESS.sub(lambda match: redact_address(match[0]), text)
    text = _LONG.sub(rf"\g<1>{MASK}@", text)
    for credential in quoted:
        text = text.replace(credential, f"{MASK}@")
    return _SETTING.sub(_without_value, text)


def redact_address(address: str) -> str:
    """Return one address with its credentials masked: user and password, and values of secret query parameters."""
    scheme, slashes, rest = address.rpartition("//") if "//" not in address else _split(address)
    start, found = _userinfo(scheme, rest)
    if found is not None:
        rest = rest[:start] + MASK + rest[start + len(found) :]
    head, sign, tail = _at_query(rest)
    return scheme + slashes + head + sign + _without_values(tail)


def credentials(address: str) -> str:
    """Return a description of the credential in an address, for a message; empty if there is none."""
    scheme, _, rest = _split(address) if "//" in address else ("", "", address)
    _, found = _userinfo(scheme, rest)
    if found is not None:
        return "a password" if ":" in found else "a token"
    for piece in re.split(r"[&;#?]", _at_query(rest)[2]):
        key, equals, value = piece.partition("=")
        if equals and value and is_secret(key):
            return f"a credential ({unquote_plus(key)})"
    return ""


def redacted(value: Any, key: str = "") -> Any:
    """Return plain data with credentials masked: in addresses and texts, and under keys that name one."""
    if isinstance(value, Mapping):
        return {name: redacted(inner, str(name)) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(inner, key) for inner in value]
    if not isinstance(value, str):
        return value
    return MASK if value and is_secret(key) else redact(value)


def is_masked(address: str) -> bool:
    """Return whether credentials were masked in an address."""
    return f"{MASK}@" in address or f"={MASK}" in address


class RedactingFormatter(logging.Formatter):
    """Formats log records, and the exceptions in them, with credentials masked."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return redact(super().format(record))


def watch_logs() -> None:
    """Mask credentials in log records that no other handler prints (Python's handler of last resort)."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(RedactingFormatter())


def print_exception(kind: type[BaseException], error: BaseException, at: TracebackType | None) -> None:
    """Print an exception with its traceback, as `sys.excepthook` does, with credentials masked."""
    sys.stderr.write(redact("".join(traceback.format_exception(kind, error, at))))


def _split(address: str) -> tuple[str, str, str]:
    """Split an address into scheme, `//` and the rest."""
    scheme, slashes, rest = address.partition("//")
    return scheme, slashes, rest


def _userinfo(scheme: str, rest: str) -> tuple[int, str | None]:
    """Return the position of user and password in the part after `//`, and their text; None if there are none.

    A password may contain every character, as people write them: `@`, `/`, `?`. But `host:8080/path@x` has a port.
    """
    user, colon, after = rest.partition(":")
    if colon and not re.search(r"[/?#@]", user) and "@" in after and not re.match(r"\d+(?:[/?#]|$)", after):
        return 0, rest.rpartition("@")[0] if "?" not in rest.rpartition("@")[0] else _before_last_at(rest)
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" not in authority:
        return 0, None
    found = authority.rpartition("@")[0]
    plain = scheme.rstrip(":").lower() not in _WEB and ":" not in found
    return 0, None if plain or not found else found


def _before_last_at(rest: str) -> str:
    """Return the text before the last `@` of the authority, or of the whole if only that explains the `?`."""
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    return authority.rpartition("@")[0] if "@" in authority else rest.rpartition("@")[0]


def _at_query(rest: str) -> tuple[str, str, str]:
    """Split an address at the start of its parameters: `?`, `#`, or `;` as in JDBC."""
    match = re.search(r"[?#;&]", rest)
    return (rest, "", "") if match is None else (rest[: match.start()], match[0], rest[match.end() :])


def _without_values(query: str) -> str:
    """Mask the secret values in a query string."""
    pieces = re.split(r"([&;#?])", query)
    return "".join(_without_own_value(piece) for piece in pieces)


def _without_own_value(piece: str) -> str:
    """Mask the value of one `key=value` piece if it is secret or an address with credentials."""
    key, equals, value = piece.partition("=")
    if not equals or not value:
        return piece
    plain = unquote_plus(value)
    hidden = is_secret(key) or unquote_plus(key).lower() == "key" or ("//" in plain and credentials(plain))
    return f"{key}={MASK}" if hidden else piece


def _without_value(match: re.Match[str]) -> str:
    """Return a matched setting with its value masked if its key names a credential."""
    key, value = match["key"], match["value"]
    if not is_secret(key) or value.startswith(("//", MASK)) or (":" in match["between"] and _is_everyday(match)):
        return match[0]
    quote = value[0] if value[0] in "\"'" and len(value) > 1 else ""
    return f"{key}{match['between']}{quote}{MASK}{quote}"


def _is_everyday(match: re.Match[str]) -> bool:
    """Return whether `word: value` may be a sentence: no quotes, and a word that need not name a credential."""
    words = {word.lower() for word in re.split(r"[^A-Za-z]+", match["key"])}
    return match["between"][0] not in "\"'" and words <= _EVERYDAY | {word for word in words if not is_secret(word)}
