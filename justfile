# Tasks for people who work on pbclient; `just` alone lints, checks types and tests.

default: lint types test

lint:
    uv run ruff check .
    uv run ruff format --check .

types:
    uv run mypy

test *ARGS:
    uv run pytest {{ARGS}}

fix:
    uv run ruff check --fix .
    uv run ruff format .

docs:
    uv run python docs/write_cli.py

# The functions and modules to look at first when something should get smaller.
size:
    @wc -l providers/*.py cache/*.py runs/*.py pbclient/*.py | sort -n | tail -30
