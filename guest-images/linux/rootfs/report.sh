# For the workloads: `. /usr/lib/ftvmm/report.sh` defines how one says what came of it, on its last line.
# One that ends without a word has failed.
set -euo pipefail
name=${0##*/}

ok() {
    trap - EXIT
    echo "WORKLOAD $name: ok${*:+ $*}"
    exit 0
}

failed() {
    trap - EXIT
    echo "WORKLOAD $name: FAILED${*:+ $*}"
    exit 1
}

trap 'failed "status=$?"' EXIT

# The guest's clock in microseconds.
now() { echo "${EPOCHREALTIME/./}"; }

# Microseconds as seconds with two decimals.
seconds() { printf '%d.%02d' $(($1 / 1000000)) $(($1 / 10000 % 100)); }

# Stops a workload whose arguments make no sense: natural VALUE "what it is".
natural() {
    [[ $1 =~ ^[1-9][0-9]{0,6}$ ]] || failed "$2 must be a number from 1 to 9999999, not \"$1\""
}

# Waits until a server listens on a port of this machine: listening PORT PID-OF-THE-SERVER.
listening() {
    local attempt
    for attempt in {1..300}; do
        (exec 9<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return
        kill -0 "$2" 2>/dev/null || failed "the server of port $1 has ended"
        sleep 0.1
    done
    failed "nothing listens on port $1 after 30 seconds"
}

# Waits until Redis (port 6379) answers requests, as it does once it has read its file: redis_answers PID.
redis_answers() {
    listening 6379 "$1"
    while [ "$(redis-cli ping 2>&1)" != PONG ]; do
        kill -0 "$1" 2>/dev/null || failed "redis has ended"
        sleep 0.1
    done
}
