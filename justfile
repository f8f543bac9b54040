# Tasks for people who work on pbclient; `just` alone checks and tests.

default: check test

# Lint, format, types, the order of the rooms, and sizes.
check:
    uv run ruff check .
    uv run ruff format --check .
    uv run mypy
    uv run pytest -n 0 tests/test_structure.py tests/test_size.py tests/test_docs.py

test *ARGS:
    uv run pytest {{ARGS}}

fix:
    uv run ruff check --fix .
    uv run ruff format .

# Write docs/cli.md and docs/conversations.md.
docs:
    uv run python docs/write_cli.py
    uv run python docs/write_conversations.py

# Write docs/speed.md: an hour of measurements.
bench:
    uv run python benchmarks/everything.py --write

# Write docs/soak.md: hours of faults and kills.
soak:
    uv run python benchmarks/soak.py --write

# The largest files, to look at first when something should get smaller.
size:
    @find providers cache runs pbclient -name '*.py' | xargs wc -l | sort -n | tail -30
