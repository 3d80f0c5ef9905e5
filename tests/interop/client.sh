# What every client folder's `run` shares: where things are kept, how a missing tool is noticed, and how a suite is
# bounded in time. Sourced, not run. It prints nothing of its own but verdict lines:
#
#   ok <client> <version> (<n> checks, <seconds>s)
#   FAIL <client>: <check>: <reason>
#   SKIP <client>: <reason>
#
# A suite program prints its own `ok` or `FAIL` lines on stdout and whatever helps with a failure on stderr.

export AMQP_HOST="${AMQP_HOST:-127.0.0.1}"
export AMQP_PORT="${AMQP_PORT:-5672}"
export AMQP_URL="${AMQP_URL:-amqp://guest:guest@$AMQP_HOST:$AMQP_PORT/%2f}"
export AMQP_URL_AS_RABBITMQ="${AMQP_URL_AS_RABBITMQ:-$AMQP_URL}"
cache="${INTEROP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/leveret-interop}"
log="${INTEROP_LOG:-$(mktemp -d)}"
mkdir -p "$cache" "$log"

here=$(cd "$(dirname "$0")" && pwd)
failures=0

# Installs Debian packages, when this is a Debian where we may; says nothing otherwise, as `need` has the last word.
install_packages() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 0
    missing=
    for package; do
        dpkg -s "$package" >/dev/null 2>&1 || missing="$missing $package"
    done
    [ -z "$missing" ] && return 0
    export DEBIAN_FRONTEND=noninteractive
    # The package index of a fresh machine may be empty or stale: refresh it only when the first try fails.
    # shellcheck disable=SC2086
    {
        timeout 240 apt-get install -y --no-install-recommends $missing ||
            { timeout 120 apt-get update && timeout 240 apt-get install -y --no-install-recommends $missing; } || :
    } >>"$log/packages.log" 2>&1
}

# need <client> <tool> [package...]: true when the tool is there, after trying to install it; prints SKIP otherwise.
need() {
    need_client=$1 need_tool=$2
    shift 2
    command -v "$need_tool" >/dev/null || install_packages "$@"
    command -v "$need_tool" >/dev/null && return 0
    echo "SKIP $need_client: $need_tool is not installed"
    return 1
}

# need_tls <client>: true when the broker speaks TLS; prints SKIP otherwise.
need_tls() {
    [ -n "${AMQPS_PORT:-}" ] && return 0
    echo "SKIP $1: the broker has no port for TLS, or there is no openssl to make certificates with"
    return 1
}

# prepare <client> <seconds> <command...>: downloads or compiles; a failure is the client's verdict.
prepare() {
    prepare_client=$1 prepare_seconds=$2
    shift 2
    timeout -k 5 "$prepare_seconds" "$@" >>"$log/$prepare_client.log" 2>&1 && return 0
    echo "FAIL $prepare_client: install: $(tail -n 1 "$log/$prepare_client.log" | cut -c 1-200)"
    failures=1
    return 1
}

# suite <client> <seconds> <command...>: runs a suite; one which dies or hangs without a verdict still gets a line.
suite() {
    suite_client=$1 suite_seconds=$2
    shift 2
    suite_status=0
    verdict=$(timeout -k 5 "$suite_seconds" "$@" 2>>"$log/$suite_client.log") || suite_status=$?
    [ -z "$verdict" ] || printf '%s\n' "$verdict"
    case "$suite_status:$verdict" in
    0:*ok\ "$suite_client"*) return 0 ;;
    *:*FAIL\ *) ;;
    124:* | 137:*) echo "FAIL $suite_client: suite: no verdict within ${suite_seconds}s" ;;
    *) echo "FAIL $suite_client: suite: ended with status $suite_status and no verdict, see its log" ;;
    esac
    failures=1
}

finish() {
    exit "$failures"
}
