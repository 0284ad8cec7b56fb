# Sourced after bench/cluster.sh: what others use instead of us, from Debian's
# packages (installed when they are missing), on loopback with their data in
# $work, durable as they ship.
#   etcd_start         3 nodes: $etcd_endpoints
#   postgres_start     a primary and a synchronous standby: $postgres
#   victoria_start     one node: $victoria
#   rivals_stop        whatever runs; $rival_pids, rival_pid_list
# shellcheck shell=bash disable=SC2034,SC2154

# Only the programs are wanted: a service that the installation started stops.
install_once() { # PROGRAM PACKAGE SERVICE
    [ -n "$(program "$1")" ] && return
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq >/dev/null
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y \
        --no-install-recommends "$2" >/dev/null
    as_root service "$3" stop >/dev/null 2>&1 || true
}
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# Debian keeps PostgreSQL's programs out of PATH.
program() {
    local found
    found=$(compgen -G "/usr/lib/postgresql/*/bin/$1" | sort -V | tail -n 1)
    echo "${found:-$(command -v "$1" || true)}"
}

rival_pid_list() { local IFS=,; echo "${rival_pids[*]}"; }

rivals_stop() {
    [ ${#rival_pids[@]} = 0 ] && return
    local pid
    for pid in "${rival_pids[@]}"; do kill -QUIT "$pid" 2>/dev/null || true; done
    for pid in "${rival_pids[@]}"; do
        while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
    done
    rival_pids=()
}

until_it_answers() { # COMMAND …
    for _ in $(seq 150); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.2
    done
    echo "$0: no answer: $*" >&2
    return 1
}

# --- etcd --------------------------------------------------------------------

etcd_start() {
    install_once etcd etcd-server etcd
    local i peers_of_etcd='' client=() peer=()
    etcd_endpoints=''
    for i in 0 1 2; do
        next_port && client[i]=$port
        next_port && peer[i]=$port
        peers_of_etcd+=${peers_of_etcd:+,}e$i=http://127.0.0.1:${peer[i]}
        etcd_endpoints+=${etcd_endpoints:+,}127.0.0.1:${client[i]}
    done
    for i in 0 1 2; do
        etcd --name "e$i" --data-dir "$work/etcd$i" \
            --listen-client-urls "http://127.0.0.1:${client[i]}" \
            --advertise-client-urls "http://127.0.0.1:${client[i]}" \
            --listen-peer-urls "http://127.0.0.1:${peer[i]}" \
            --initial-advertise-peer-urls "http://127.0.0.1:${peer[i]}" \
            --initial-cluster "$peers_of_etcd" --initial-cluster-state new \
            --quota-backend-bytes 8589934592 --log-level error \
            --logger zap >>"$work/etcd.log" 2>&1 &
        rival_pids+=($!)
    done
    for i in 0 1 2; do
        until_it_answers curl -fsS -m 1 "http://127.0.0.1:${client[i]}/health"
    done
}

# --- PostgreSQL --------------------------------------------------------------

# It refuses to run as root.
as_postgres() {
    if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi
}

postgres_node() { # DIRECTORY PORT
    cat >>"$1/postgresql.auto.conf" <<CONF
listen_addresses = '127.0.0.1'
port = $2
unix_socket_directories = ''
shared_buffers = 2GB
max_wal_size = 8GB
max_connections = 100
CONF
    (cd / && as_postgres "$(program pg_ctl)" -D "$1" \
        -l "$1/log" -w -t 60 start >/dev/null)
    rival_pids+=("$(head -n 1 "$1/postmaster.pid")")
}

standby_is_synchronous() {
    "$(program psql)" -XAtc "SELECT sync_state FROM pg_stat_replication" \
        "$postgres" | grep -qx sync
}

postgres_start() {
    install_once initdb postgresql postgresql
    if ! [ -x "$bin/holdfast-postgres-load" ]; then
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y \
            libpq-dev >/dev/null
        (cd "$top" && cmake --preset release &&
            cmake --build --preset release --target holdfast-postgres-load) >&2
    fi
    local d=$work/postgres
    mkdir "$d"
    # The whole way to it, for another user.
    chmod 711 "$work"
    [ "$(id -u)" != 0 ] || chown postgres "$d"
    next_port
    local primary=$port
    as_postgres "$(program initdb)" -D "$d/p" -U postgres -A trust -E UTF8 \
        --locale=C.UTF-8 >/dev/null
    postgres_node "$d/p" "$primary"
    postgres="host=127.0.0.1 port=$primary user=postgres dbname=postgres"
    next_port
    as_postgres "$(program pg_basebackup)" -d "$postgres application_name=s" \
        -D "$d/s" -R -X stream -c fast
    postgres_node "$d/s" "$port"
    local psql
    psql=$(program psql)
    "$psql" -Xqc "ALTER SYSTEM SET synchronous_standby_names = 's'" "$postgres"
    "$psql" -Xqc "SELECT pg_reload_conf()" "$postgres" >/dev/null
    # Asked anew each time: a substitution's output could be read only once.
    until_it_answers standby_is_synchronous
}

# --- VictoriaMetrics ---------------------------------------------------------

victoria_start() {
    install_once victoria-metrics victoria-metrics victoria-metrics
    next_port
    victoria=127.0.0.1:$port
    victoria-metrics -storageDataPath "$work/victoria" \
        -httpListenAddr "$victoria" -retentionPeriod 10y \
        -search.latencyOffset 0s -loggerLevel ERROR \
        >>"$work/victoria.log" 2>&1 &
    rival_pids+=($!)
    until_it_answers curl -fsS -m 1 "http://$victoria/health"
}
