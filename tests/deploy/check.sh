# Sourced by the tests here: a scratch directory that goes away, and words for a failure.
set -euo pipefail

source_dir=$1
build_dir=$2
scratch=$(mktemp -d /tmp/mdt-XXXXXX)
children=()
finish() {
  local status=$?
  [[ ${#children[@]} -eq 0 ]] || kill "${children[@]}" 2> /dev/null || true
  wait 2> /dev/null || true
  rm -rf -- "$scratch"
  exit "$status"
}
trap finish EXIT
trap 'exit 143' TERM INT

fail() {
  printf 'FAILED: %s\n' "$*" >&2
  exit 1
}

# A test that cannot be run here: ctest shows it as skipped.
skip() {
  printf 'SKIPPED: %s\n' "$*" >&2
  exit 77
}

# until_true SECONDS COMMAND...
until_true() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@" > /dev/null 2>&1; do
    [[ $SECONDS -lt $deadline ]] || fail "still not so: $*"
    sleep 0.05
  done
}
