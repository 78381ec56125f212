"""Damage to bytes, to JSON, and to the file itself, drawn from a seed."""

from __future__ import annotations

import bz2
import gzip
import json
import os
import shutil
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa

Bytes = bytes | bytearray

DEEP, HUGE = "@deep@", "@huge@"
WRITTEN = {f'"{DEEP}"': "[" * 3000 + "]" * 3000, f'"{HUGE}"': "1e400"}
"""What json.dumps cannot write, by the string that stands for it."""

HOSTILE: tuple[Any, ...] = (
    *(None, True, 0, -1, 1.5, "", " ", [], {}, [[]], {"a": 1}, [None], "a", "\x00", "\ud800", "../../x", "/", "-"),
    *(float("nan"), float("inf"), -float("inf"), 2**31, 2**63, -(2**63) - 1, 10**30, int("9" * 4000), 1e308, 5e-324),
    *("x" * 10_000, ["a"] * 1_000, "é\u200b\u202e", "1e400", "NaN", "0x10", DEEP, HUGE),
)


def text_of(value: Any) -> str:
    """Return JSON, with what json.dumps cannot write."""
    text = json.dumps(value)
    for placeholder, written in WRITTEN.items():
        text = text.replace(placeholder, written)
    return text


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all values inside of a JSON value, itself included."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, one in inner for place in places(one, (*path, key)))]


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """Return a JSON value with another one at a path."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = changed(value[path[0]], path[1:], new)
    return copy


def json_damage(rng: Random, value: Any) -> str:
    """Return JSON whose form is right and whose content is not: values replaced, taken out, moved or doubled."""
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        every = places(value)
        path = rng.choice(every)
        way = rng.random()
        if way < 0.7 or not path:
            value = changed(value, path, rng.choice(HOSTILE))
        elif way < 0.85:
            *front, last = path
            holder = value
            for key in front:
                holder = holder[key]
            shorter = {k: v for k, v in holder.items() if k != last} if isinstance(holder, dict) else holder[:last]
            value = changed(value, tuple(front), shorter)
        else:
            other = value
            for key in rng.choice(every):
                other = other[key]
            value = changed(value, path, other)
    text = text_of(value)
    if rng.random() < 0.1 and '": ' in text:
        start = text.index('"')
        stop = text.index(": ", start)
        text = text[:start] + text[start:stop] + ": [], " + text[start:]
    return text


def byte_damage(rng: Random, data: Bytes) -> bytes:
    """Return bytes with pieces flipped, cut, doubled, moved, zeroed or put in."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        size = len(found)
        at = rng.randrange(size) if size else 0
        stop = min(size, at + rng.choice((1, 1, 2, 8, 64, 1024)))
        way = rng.randrange(8)
        if way == 0 and size:
            found[at] ^= 1 << rng.randrange(8)
        elif way == 1:
            del found[at:]
        elif way == 2:
            del found[at:stop]
        elif way == 3:
            found[at:at] = found[at:stop]
        elif way == 4:
            found[at:stop] = bytes(stop - at)
        elif way == 5:
            found[at:at] = rng.randbytes(rng.choice((1, 4, 100)))
        elif way == 6:
            found[at:stop] = b"\xff" * (stop - at)
        else:
            found[at:at] = rng.choice((b"\x00", b'"', b"\n", b"\r", b"{", b"[", b"\xef\xbb\xbf", b"\xc3", b"9" * 5000))
    return bytes(found)


def file_damage(rng: Random, path: Path) -> None:
    """Put something else in the place of a file: nothing, a folder, a pipe, a link to nowhere, no rights, no bytes."""
    path.unlink()
    way = rng.randrange(7)
    if way == 0:
        path.mkdir()
    elif way == 1:
        os.mkfifo(path)
    elif way == 2:
        path.symlink_to("/nonexistent/file")
    elif way == 3:
        path.symlink_to(path.name)
    elif way == 4:
        path.write_bytes(b"")
    elif way == 5:
        path.write_bytes(bytes(1000))
    # else: gone


def damage_file(rng: Random, path: Path) -> None:
    """Damage a file in one of all ways; a link to a template becomes a file of its own."""
    data = path.read_bytes()
    if rng.random() < 0.07:
        file_damage(rng, path)
        return
    path.unlink()
    if path.suffix in (".json", ".jsonl") and rng.random() < 0.7:
        try:
            path.write_bytes(json_damage(rng, json.loads(data)).encode("utf-8", "surrogatepass"))
            return
        except (ValueError, RecursionError):  # it was damaged before
            pass
    if rng.random() < 0.05:
        data = data.decode("utf-8", "replace").encode(rng.choice(("utf-16", "utf-32", "utf-8-sig")), "replace")
    path.write_bytes(byte_damage(rng, data))


def linked(source: Path, target: Path) -> Path:
    """Return a copy of a folder whose files are links to the same content: damage unlinks a file before it writes."""
    shutil.copytree(source, target, copy_function=os.link)
    return target


def compressed(how: str, data: bytes) -> bytes:
    """Return data as a suffix says: `.gz`, `.bz2`, `.zst` or nothing."""
    if how == ".gz":
        return gzip.compress(data, 1, mtime=0)
    if how == ".bz2":
        return bz2.compress(data, 1)
    if how == ".zst":
        return bytes(pa.Codec("zstd").compress(data, asbytes=True))
    return data
