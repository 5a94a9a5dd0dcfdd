#!/usr/bin/env bash
# The images that the tests run workers in, on the base image of the tests: executor_image.sh [build | ready].
# `build` prints their names, parallel-orchestrator:latest and :slim; the engine's build cache makes a
# repeat take seconds. `ready` changes nothing.
set -euo pipefail

HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
IMAGES="parallel-orchestrator:latest parallel-orchestrator:slim"

build() {
  local base option
  "$HERE/docker_engine.sh" start >&2
  base="$("$HERE/base_image.sh")"
  # The host's network, because it is the one that reaches PyPI and npm wherever the tests run.
  for option in "" --slim; do
    "$HERE/../../docker/build.sh" $option --base-image "$base" -- --quiet --network host >&2
  done
  printf '%s\n' $IMAGES
}

ready() {
  local image
  "$HERE/docker_engine.sh" ready || return
  for image in $IMAGES; do
    docker image inspect "$image" >/dev/null 2>&1 \
      || { echo "The image $image was not found. Build it with tests/services/executor_image.sh." >&2; return 1; }
  done
}

case "${1:-build}" in
  build | start) build ;;
  ready) ready ;;
  *) echo "usage: ${0##*/} [build | ready]" >&2; exit 2 ;;
esac
