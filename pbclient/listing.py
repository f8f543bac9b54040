"""What `pbclient providers` prints: who can be named, what each needs, whether it is ready here."""

from __future__ import annotations

import os

from providers import catalog
