#!/bin/sh
# Makes the pictures of a terminal beside this file, each captured from a real one in which a
# simulated run takes place. Needs tmux and what `make setup` installs.
#   run.svg       the live view of `make demo` in the middle of the run
#   repaired.svg  the end of a run in which a mistake is found and repaired
# BIN=/path/to/bin uses the python3 of another environment.
set -eu

cd "$(dirname "$0")/../.."
PATH="${BIN:-$PWD/.venv/bin}:$PATH"
export PATH
scratch=$(mktemp -d)
socket="picture-$$"
end() {
    tmux -L "$socket" kill-server 2>/dev/null || true
    until rm -rf "$scratch" 2>/dev/null; do sleep 0.2; done # the run may still write
}
trap end EXIT

picture() { # name, columns of the terminal, what it waits for, options of the run
    name=$1 columns=$2 awaited=$3
    shift 3
    mkdir "$scratch/$name"
    ln -s "$PWD/orchestrator.py" "$scratch/$name"
    tmux -L "$socket" -f /dev/null new-session -d -s "$name" -x "$columns" -y 24 -c "$scratch/$name" \
        "PATH='$PATH' python3 orchestrator.py 'Build a todo list app with add/delete/complete' \
        --max-executors 3 --output-dir todo $*; sleep 9"
    tries=0
    until tmux -L "$socket" capture-pane -t "$name" -e -p > "$scratch/screen" 2>/dev/null &&
        grep -q "$awaited" "$scratch/screen"
    do
        tries=$((tries + 1))
        [ "$tries" -lt 3000 ] && tmux -L "$socket" has-session -t "$name" 2>/dev/null ||
            { echo "The run never showed '$awaited'. Run this again on an idle machine." >&2; exit 1; }
        sleep 0.1
    done
    sed "s|$scratch/$name|/home/ada|g" "$scratch/screen" > "$scratch/shown"
    python3 - "$name" "$columns" "$scratch/shown" "docs/images/$name.svg" <<'PYTHON'
import io
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

name, columns = sys.argv[1], int(sys.argv[2])
screen, picture = map(Path, sys.argv[3:])
console = Console(record=True, width=columns, file=io.StringIO(), force_terminal=True)
console.print(Text.from_ansi(screen.read_text(encoding="utf-8").strip("\n")), end="\n\n")
svg = console.export_svg(title="python3 orchestrator.py", unique_id=name)
# Fonts of the reader's machine; rich would have them fetched from elsewhere.
svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
svg = svg.replace("font-family: Fira Code, monospace", "font-family: ui-monospace, monospace")
svg = "\n".join(line.rstrip() for line in svg.splitlines() if line.strip()) + "\n"
picture.write_text(svg, encoding="utf-8")
PYTHON
    echo "Wrote docs/images/$name.svg"
}

picture run 80 ' 4/9 tasks' --sim-speed 8
picture repaired 96 '  start  ' --sim-faults mismatch=1,rate_limit=0.2 --sim-seed 2
