"""Files by URI: JSON manifests and Parquet shards, written atomically, and fingerprints of content.

A path without a scheme is local.
"""

from raysample.core.storage.files import (
    read_json,
    read_parquet,
    write_file,
    write_json,
    write_new,
    write_parquet,
    write_parquet_pieces,
    write_text,
)
from raysample.core.storage.fingerprints import file_sha256, fingerprint, sha256
from raysample.core.storage.locations import (
    absolute,
    check_regular,
    exists,
    filesystem,
    folders,
    is_local,
    is_special_file,
    join,
    list_files,
    remove,
)
from raysample.core.storage.whole_folders import localise, patiently, whole_folder

__all__ = [
    "absolute",
    "check_regular",
    "exists",
    "file_sha256",
    "filesystem",
    "fingerprint",
    "folders",
    "is_local",
    "is_special_file",
    "join",
    "list_files",
    "localise",
    "patiently",
    "read_json",
    "read_parquet",
    "remove",
    "sha256",
    "whole_folder",
    "write_file",
    "write_json",
    "write_new",
    "write_parquet",
    "write_parquet_pieces",
    "write_text",
]
