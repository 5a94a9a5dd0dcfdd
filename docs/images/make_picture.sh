#!/bin/sh
# Makes run.svg beside this file: the live view of `make demo` in the middle of the run, captured
# from a real terminal of 80 x 24. Needs tmux and what `make setup` installs.
# PYTHON=/path/to/python uses another environment.
set -eu

cd "$(dirname "$0")/../.."
python=${PYTHON:-.venv/bin/python}
picture=docs/images/run.svg
scratch=$(mktemp -d)
socket="picture-$$"
trap 'tmux -L "$socket" kill-server 2>/dev/null || true; rm -rf "$scratch"' EXIT

tmux -L "$socket" -f /dev/null new-session -d -x 80 -y 24 \
    "$python orchestrator.py 'Build a todo list app with add/delete/complete' \
    --max-executors 3 --sim-speed 8 --work-dir $scratch/work --output-dir $scratch/out"

tries=0
until tmux -L "$socket" capture-pane -e -p > "$scratch/screen" 2>/dev/null && grep -q ' 4/9 tasks' "$scratch/screen"
do
    tries=$((tries + 1))
    [ "$tries" -lt 600 ] && tmux -L "$socket" has-session 2>/dev/null ||
        { echo "The run never showed 4/9 tasks. Run this again on an idle machine." >&2; exit 1; }
    sleep 0.1
done

"$python" - "$scratch/screen" "$picture" <<'PYTHON'
import io
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

screen, picture = map(Path, sys.argv[1:])
console = Console(record=True, width=80, file=io.StringIO(), force_terminal=True)
console.print(Text.from_ansi(screen.read_text(encoding="utf-8").rstrip()))
svg = console.export_svg(title="python3 orchestrator.py", unique_id="run")
# Fonts of the reader's machine; rich would have them fetched from elsewhere.
svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
svg = svg.replace("font-family: Fira Code, monospace", "font-family: ui-monospace, monospace")
svg = "\n".join(line.rstrip() for line in svg.splitlines() if line.strip()) + "\n"
picture.write_text(svg, encoding="utf-8")
PYTHON
echo "Wrote $picture"
