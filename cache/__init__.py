"""Keep a JSON value under a digest, on disk, and make one flight per key. Knows nothing of models."""

from cache.compare import Difference, differences, nearest
from cache.errors import CacheError, CorruptEntry
from cache.keys import Json, canonical, digest, digest_of
from cache.locks import KeyLocks
from cache.store import MISS, Entry, Miss, Stats, Store

__all__ = [
    "MISS",
    "CacheError",
    "CorruptEntry",
    "Difference",
    "Entry",
    "Json",
    "KeyLocks",
    "Miss",
    "Stats",
    "Store",
    "canonical",
    "differences",
    "digest",
    "digest_of",
    "nearest",
]
