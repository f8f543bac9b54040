"""What `pbclient cache` says: of the store as a whole, and of why one request missed."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cache import MISS, Entry, Store, nearest
from pbclient.errors import InputError
from pbclient.plan import default_cache_dir
