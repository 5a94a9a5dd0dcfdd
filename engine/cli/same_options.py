"""The options that make another command mean what this one does."""

from collections.abc import Iterator, Sequence

from config import LoadedSettings
from core.settings.options import Setting, settings_of

_OF_THE_MOMENT = frozenset(
    ("approve", "plan", "work_dir", "json", "quiet", "verbose", "debug", "watch", "no_color")
)


def same_options(loaded: LoadedSettings, command: str) -> list[str]:
    """What was given to this command, or to the run that it resumes, as options of `command`; what
    comes from the environment or a file holds there anyway."""
    return [
        word
        for setting in settings_of(loaded.declared, command)
        if _is_given(loaded, setting)
        for word in _words(setting, getattr(loaded.settings, setting.name))
    ]


def _is_given(loaded: LoadedSettings, setting: Setting) -> bool:
    origin = loaded.origin[setting.key]
    hidden = setting.secret or setting.sets or setting.key in _OF_THE_MOMENT
    return origin.startswith(("option ", "run ")) and not hidden


def _words(setting: Setting, value: object) -> Iterator[str]:
    if value == setting.default:
        return
    if isinstance(value, bool):
        yield setting.flag if value else setting.off
        return
    for one in value if isinstance(value, Sequence) and not isinstance(value, str) else (value,):
        yield from (setting.flag, f"{one:g}" if isinstance(one, float) else str(one))
