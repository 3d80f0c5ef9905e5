# Starts a fresh broker for the client suites and ends it again. Sourced by tests/interop/run; it owns the broker's
# process, its data directory and its log, and knows nothing about clients.

READY_DEADLINE_S=20   # a broker that does not accept by then is broken
STOP_DEADLINE_S=10    # the same for SIGTERM

broker_pid=
broker_log=

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

broker_binary() {
    if [ -n "${LEVERET_BIN:-}" ]; then
        echo "$LEVERET_BIN"
        return
    fi
    (cd "$repository" && cargo build --release --bin leveret >&2) || return 1
    echo "${CARGO_TARGET_DIR:-$repository/target}/release/leveret"
}

# Sets broker_pid and AMQP_PORT.
start_broker() { # scratch-directory
    local binary management_port deadline
    binary=$(broker_binary) || { echo "FAIL broker: it does not build"; return 1; }
    [ -x "$binary" ] || { echo "FAIL broker: no program at $binary"; return 1; }
    AMQP_PORT=$(free_port)
    management_port=$(free_port)
    broker_log=$1/broker.log
    "$binary" --listen "127.0.0.1:$AMQP_PORT" --management-listen "127.0.0.1:$management_port" \
        --data-dir "$1/data" >"$broker_log" 2>&1 &
    broker_pid=$!
    deadline=$((SECONDS + READY_DEADLINE_S))
    until (exec 3<>"/dev/tcp/127.0.0.1/$AMQP_PORT") 2>/dev/null; do
        if ! kill -0 "$broker_pid" 2>/dev/null || [ "$SECONDS" -ge "$deadline" ]; then
            echo "FAIL broker: it does not accept connections; its log ends:"
            tail -n 20 "$broker_log"
            return 1
        fi
        sleep 0.05
    done
}

# A suite may be green although the broker died and was not needed any more, or caught a panic: neither is a pass.
check_broker() {
    local status=0
    if ! kill -0 "$broker_pid" 2>/dev/null; then
        echo "FAIL broker: it died while the suites ran"
        status=1
    fi
    if grep -n "panicked at" "$broker_log"; then
        echo "FAIL broker: its log has a panic"
        status=1
    fi
    if [ "$status" -ne 0 ]; then
        tail -n 20 "$broker_log"
    fi
    return "$status"
}

# SIGTERM must end it with status 0, in time.
stop_broker() {
    local deadline exit_status
    [ -n "$broker_pid" ] || return 0
    if kill -0 "$broker_pid" 2>/dev/null; then
        kill -TERM "$broker_pid"
        deadline=$((SECONDS + STOP_DEADLINE_S))
        while kill -0 "$broker_pid" 2>/dev/null && [ "$SECONDS" -lt "$deadline" ]; do sleep 0.05; done
        if kill -0 "$broker_pid" 2>/dev/null; then
            echo "FAIL broker: it was still there ${STOP_DEADLINE_S} s after SIGTERM"
            kill -KILL "$broker_pid"
        fi
    fi
    wait "$broker_pid"
    exit_status=$?
    broker_pid=
    if [ "$exit_status" -ne 0 ]; then
        echo "FAIL broker: exit status $exit_status"
        return 1
    fi
}
