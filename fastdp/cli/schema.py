"""`fastdp schema`: the input file's schema for editors."""

from __future__ import annotations

import typer


def schema() -> None:
    """Print the JSON schema of the input file, for editors that complete and check TOML."""
    import json

    from fastdp.config.schema import Configuration

    typer.echo(json.dumps(Configuration.model_json_schema(), indent=2, ensure_ascii=False))
