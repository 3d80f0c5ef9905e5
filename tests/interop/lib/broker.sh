# Starts fresh brokers for suites and ends them again. Sourced by tests/interop/run and .ci/load; it owns the brokers'
# processes, their data directories and their logs, and knows nothing about clients.

READY_DEADLINE_S=20   # a broker that does not accept by then is broken
STOP_DEADLINE_S=10    # the same for SIGTERM

broker_pid= # of the one started last
broker_pids=()
broker_logs=()

# One that the system gives to nobody by itself (on Linux those begin at 32768), so that it stays free for who was told of it.
free_port() {
    python3 -c '
import random, socket
while True:
    with socket.socket() as it:
        try:
            it.bind(("127.0.0.1", random.randrange(10000, 32768)))
        except OSError:
            continue
        print(it.getsockname()[1])
        break
'
}

broker_binary() {
    if [ -n "${LEVERET_BIN:-}" ]; then
        echo "$LEVERET_BIN"
        return
    fi
    (cd "$repository" && cargo build --release --bin leveret >&2) || return 1
    echo "${CARGO_TARGET_DIR:-$repository/target}/release/leveret"
}

# Sets broker_pid and broker_port. The settings are lines of its configuration file.
start_broker() { # scratch-directory name [settings]
    local directory=$1/$2 binary management_port broker_log deadline
    binary=$(broker_binary) || { echo "FAIL broker: it does not build"; return 1; }
    [ -x "$binary" ] || { echo "FAIL broker: no program at $binary"; return 1; }
    broker_port=$(free_port)
    management_port=$(free_port)
    mkdir -p "$directory"
    broker_log=$directory/broker.log
    printf '%s\n' "${3:-}" >"$directory/leveret.toml"
    "$binary" --config "$directory/leveret.toml" --listen "127.0.0.1:$broker_port" \
        --management-listen "127.0.0.1:$management_port" --prometheus-listen off --data-dir "$directory/data" >"$broker_log" 2>&1 &
    broker_pid=$!
    broker_pids+=("$broker_pid")
    broker_logs+=("$broker_log")
    deadline=$((SECONDS + READY_DEADLINE_S))
    until (exec 3<>"/dev/tcp/127.0.0.1/$broker_port") 2>/dev/null; do
        if ! kill -0 "$broker_pid" 2>/dev/null || [ "$SECONDS" -ge "$deadline" ]; then
            echo "FAIL broker: it does not accept connections; its log ends:"
            tail -n 20 "$broker_log"
            return 1
        fi
        sleep 0.05
    done
}

# A suite may be green although a broker died and was not needed any more, or caught a panic: neither is a pass.
check_brokers() {
    local index status=0
    for index in "${!broker_pids[@]}"; do
        if ! kill -0 "${broker_pids[index]}" 2>/dev/null; then
            echo "FAIL broker: it died while the suites ran; its log ends:"
            tail -n 20 "${broker_logs[index]}"
            status=1
        elif grep -n "panicked at" "${broker_logs[index]}"; then
            echo "FAIL broker: its log has a panic"
            status=1
        fi
    done
    return "$status"
}

# SIGTERM must end each with status 0, in time.
stop_brokers() {
    local pid deadline exit_status status=0
    [ "${#broker_pids[@]}" -eq 0 ] || kill -TERM "${broker_pids[@]}" 2>/dev/null
    deadline=$((SECONDS + STOP_DEADLINE_S))
    for pid in "${broker_pids[@]}"; do
        while kill -0 "$pid" 2>/dev/null && [ "$SECONDS" -lt "$deadline" ]; do sleep 0.05; done
        if kill -0 "$pid" 2>/dev/null; then
            echo "FAIL broker: it was still there ${STOP_DEADLINE_S} s after SIGTERM"
            kill -KILL "$pid"
        fi
        exit_status=0
        wait "$pid" || exit_status=$?
        if [ "$exit_status" -ne 0 ]; then
            echo "FAIL broker: exit status $exit_status"
            status=1
        fi
    done
    broker_pids=()
    return "$status"
}
