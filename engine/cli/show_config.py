"""--show-config: every setting with its value, and where that came from."""

import json

import click

from config import LoadedSettings
from core.errors import UsageError
from core.settings.layers import in_words, plain


def show_config(loaded: LoadedSettings) -> int:
    """Every setting, and what is wrong with them; gives the exit code."""
    click.echo(render_settings(loaded, as_json=loaded.settings.json_lines))
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    for error in loaded.errors:
        click.echo(f"error: {error}", err=True)
    return UsageError.exit_code if loaded.errors else 0


def render_settings(loaded: LoadedSettings, *, as_json: bool = False) -> str:
    """Secrets are masked."""
    shown = {s.key: plain(getattr(loaded.settings, s.name)) for s in loaded.declared}
    if as_json:
        both = {k: {"value": v, "origin": loaded.origin[k]} for k, v in shown.items()}
        return json.dumps(both, indent=2)
    rows = [(k, in_words(v), loaded.origin[k]) for k, v in shown.items()]
    width, value_width = (max(len(row[n]) for row in rows) for n in (0, 1))
    return "\n".join(f"{k:{width}}  {v:{value_width}}  {o}" for k, v, o in rows)
