# Sourced by the scripts of bench/: a 3-node cluster of the release build on
# loopback in a temporary directory, gone at its end.
#   cluster_start [FLAG …]   all nodes; sets $token, $targets, $leader (0…2)
#   node_start I [FLAG …]    one node, again; node_ready I waits for it
#   cluster_stop             all nodes, orderly
#   api ARGUMENTS            curl as admin; http_of I, grpc_of I: addresses
#   location_create [NAME], token_of ID, anonymous_mib I
#   fill I ARGUMENTS         holdfast-fill's history becomes node I's data, which
#                            is the only member of its cluster; its output: $filled
#   metric NAME I            a value from /metrics of node I
#   result NAME FILE         a value of holdfast-load's output
# shellcheck shell=bash disable=SC2034
set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
bin=${HOLDFAST_BIN:-$top/build/release/bin}
work=$(mktemp -d "${TMPDIR:-/tmp}/holdfast-bench-XXXXXX")
admin=bench-admin-token
pids=()
rival_pids=()
ports=()
port=$((12000 + RANDOM % 15000)) # below the ephemeral range

finish() {
    local status=$?
    for pid in "${pids[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
    # What bench/rivals.sh started; PostgreSQL takes its children along.
    for pid in "${rival_pids[@]}"; do kill -QUIT "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    if [ $status != 0 ]; then tail -n 20 "$work"/n*.log >&2 || true; fi
    rm -rf "$work"
    exit $status
}
trap finish EXIT
trap 'exit 1' INT TERM

if ! [ -x "$bin/holdfast-node" ] || ! [ -x "$bin/holdfast-load" ]; then
    echo "$0: no programs in $bin: cmake --preset release && cmake --build --preset release" >&2
    exit 1
fi

# Another free one into $port.
next_port() {
    port=$((port + 1))
    while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
        port=$((port + 1))
    done
}
pick_ports() {
    while [ ${#ports[@]} -lt 9 ]; do
        next_port
        ports+=("$port")
    done
}

http_of() { echo "http://127.0.0.1:${ports[$1 + 6]}"; }
grpc_of() { echo "127.0.0.1:${ports[$1 + 3]}"; }
api() { curl -fsS -m 5 -H "Authorization: Bearer $admin" "$@"; }
metric() {
    api "$(http_of "$2")/metrics" | awk -v name="$1" '$1 == name { print $2 }'
}
result() {
    awk -v name="$1" '$1 == name { print $2; found = 1; exit }
        END { if (!found) print "-" }' "$2"
}

node_start() {
    local i=$1
    shift
    : >"$work/n$((i + 1)).ready"
    "$bin/holdfast-node" --name "n$((i + 1))" --data-dir "$work/n$((i + 1))" \
        --peer-address "127.0.0.1:${ports[i]}" \
        --peer-bind "127.0.0.1:${ports[i]}" \
        --grpc-bind "$(grpc_of "$i")" --http-bind "127.0.0.1:${ports[i + 6]}" \
        --initial-peers "$peers" --admin-token "$admin" \
        --gateway-secret bench-secret "$@" \
        >>"$work/n$((i + 1)).ready" 2>>"$work/n$((i + 1)).log" &
    pids[i]=$!
}

node_ready() {
    for _ in $(seq "${2:-150}"); do
        grep -q '^ready ' "$work/n$(($1 + 1)).ready" && return
        sleep 0.2
    done
    echo "$0: node n$(($1 + 1)) is not ready" >&2
    return 1
}

find_leader() {
    local i
    for _ in $(seq 100); do
        for i in 0 1 2; do
            if api "$(http_of "$i")/metrics" 2>/dev/null |
                grep '^holdfast_raft_is_leader 1' >/dev/null; then
                leader=$i
                return
            fi
        done
        sleep 0.1
    done
    echo "$0: nobody leads" >&2
    return 1
}

cluster_stop() {
    kill -TERM "${pids[@]}"
    wait "${pids[@]}" || true
    pids=()
}

all_pids() { local IFS=,; echo "${pids[*]}"; }

fill() {
    local i=$1 name=n$(($1 + 1))
    shift
    filled=$work/fill-$name
    "$bin/holdfast-fill" "$work/filled" "$work/copy.mdb" "$@" \
        --admin "$(printf %s "$admin" | sha256sum | cut -d' ' -f1)" >"$filled"
    rm -r "$work/filled"
    "$bin/holdfastctl" snapshot restore "$work/copy.mdb" \
        --data-dir "$work/$name" \
        --member "$name=127.0.0.1:${ports[i]}" >/dev/null 2>&1
    rm "$work/copy.mdb"
}

location_create() { # NAME: its id into $location; returns when all nodes know it
    local i
    location=$(api -X POST -H 'Content-Type: application/json' \
        -d "{\"name\":\"${1:-bench}\",\"address\":\"10.64.0.1/10\",\"endpoint\":\"vpn.example.com\",\"port\":51820,\"allowed_ips\":\"10.64.0.0/10\",\"accept_unknown_peers\":true}" \
        "$(http_of 0)/api/v1/network" | jq -r .id)
    for i in "${!pids[@]}"; do
        until api "$(http_of "$i")/api/v1/network/$location" >/dev/null 2>&1; do
            sleep 0.05
        done
    done
}
token_of() { # ID: its gateways' token into $token
    token=$(api "$(http_of 0)/api/v1/network/$1/token" | jq -r .token)
}

anonymous_mib() { # I: memory of node I that is its own
    awk '/^RssAnon/ { print int($2 / 1024) }' "/proc/${pids[$1]}/status"
}

cluster_start() {
    pick_ports
    peers=n1=127.0.0.1:${ports[0]},n2=127.0.0.1:${ports[1]},n3=127.0.0.1:${ports[2]}
    local i
    for i in 0 1 2; do node_start "$i" "$@"; done
    for i in 0 1 2; do node_ready "$i"; done
    location_create
    token_of "$location"
    targets=$(grpc_of 0),$(grpc_of 1),$(grpc_of 2)
    find_leader
}
