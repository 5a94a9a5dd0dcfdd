#!/usr/bin/env bash
# Builds the images that the tests run workers in, on the base image of the tests, and prints their
# names: parallel-orchestrator:latest and :slim. The engine's build cache makes a repeat take seconds.
set -euo pipefail

HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
NAME=parallel-orchestrator

"$HERE/docker_engine.sh" start >&2
base="$("$HERE/base_image.sh")"
# The host's network, because it is the one that reaches PyPI and npm wherever the tests run.
for option in "" --slim; do
  "$HERE/../../docker/build.sh" $option --base-image "$base" -- --quiet --network host >&2
done
echo "$NAME:latest"
echo "$NAME:slim"
