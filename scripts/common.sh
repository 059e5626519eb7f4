# Shared by the scripts: installing what is missing, and saying so.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
ROOT=$PWD
: "${RONGTONG_CACHE:=$HOME/.cache/rongtong}"
: "${CARGO_TARGET_DIR:=$RONGTONG_CACHE/target}"
export RONGTONG_CACHE CARGO_TARGET_DIR
export PATH="$HOME/.cargo/bin:$PATH"
export npm_config_fund=false npm_config_audit=false npm_config_update_notifier=false
mkdir -p "$RONGTONG_CACHE"

say() { printf '\033[1m== %s\033[0m\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else
        die "need root or sudo to install packages: $*"
    fi
}

# apt_need PACKAGE...: installs those that are not there.
apt_need() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} = 0 ] && return
    command -v apt-get >/dev/null || die "please install: ${missing[*]} (no apt-get here)"
    say "installing Debian packages: ${missing[*]}"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# at_least WANTED HAVE: version comparison.
at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n1)" = "$1" ]; }

need_rust() {
    local have
    have=$(rustc --version 2>/dev/null | awk '{print $2}') || true
    if [ -z "$have" ] && apt-cache show rustup >/dev/null 2>&1; then
        apt_need rustup
        say "installing the Rust toolchain (rustup default stable)"
        rustup default stable
        have=$(rustc --version | awk '{print $2}')
    fi
    [ -n "$have" ] || die "Rust is missing. Install rustup (https://rustup.rs), then run this again."
    at_least 1.95.0 "$have" || die "Rust $have is too old, 1.95 is needed: rustup update stable"
}

# True when Node is there and new enough for the console.
have_node() {
    local have
    have=$(node --version 2>/dev/null | tr -d v) || true
    [ -n "$have" ] && at_least 20.19.0 "$have" && command -v npm >/dev/null
}

need_node() {
    have_node && return
    if apt-cache policy nodejs 2>/dev/null | grep -qE 'Candidate: (2[2-9]|20\.(19|[2-9][0-9]))'; then
        apt_need nodejs npm
    fi
    have_node
}

# retry COMMAND...: registries are sometimes slow.
retry() {
    local n
    for n in 1 2 3; do "$@" && return; say "again ($n): $*"; sleep 3; done
    return 1
}

build_needs() {
    apt_need build-essential cmake nasm ca-certificates
    need_rust
}

# npm_install FOLDER: installs by the lock file when it changed.
npm_install() {
    local folder=$1 stamp="$1/node_modules/.stamp"
    if [ ! -f "$stamp" ] || ! cmp -s "$stamp" "$folder/package-lock.json"; then
        say "installing npm packages in $folder"
        (cd "$folder" && retry npm ci --loglevel=error)
        cp "$folder/package-lock.json" "$stamp"
    fi
}

# Builds the console unless it is newer than its sources.
build_console() {
    if ! need_node; then
        say "Node.js 20.19 or later is missing: building without the console (a page will say so)"
        return
    fi
    if [ -f console-web/dist/index.html ] &&
        [ -z "$(find console-web -path console-web/node_modules -prune -o -path console-web/dist -prune -o -type f -newer console-web/dist/index.html -print -quit)" ]; then
        return
    fi
    npm_install console-web
    say "building the console"
    (cd console-web && npm run --silent build)
}

cargo_fetch() {
    say "fetching crates"
    retry cargo fetch --locked --quiet
}

# The Python packages of tests/sdk, in $venv.
sdk_venv() {
    venv=$RONGTONG_CACHE/venv
    cmp -s "$venv/.stamp" tests/sdk/requirements.txt && return
    say "installing Python packages: $(tr '\n' ' ' < tests/sdk/requirements.txt)"
    rm -rf "$venv"
    python3 -m venv "$venv"
    retry "$venv/bin/pip" install --quiet --disable-pip-version-check -r tests/sdk/requirements.txt
    cp tests/sdk/requirements.txt "$venv/.stamp"
}
