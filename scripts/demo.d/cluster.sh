# shellcheck shell=bash
# The demo's three nodes: start, kill, ask.
# shellcheck disable=SC2154 # demo_dir, bin and world.sh's are the caller's

node_address() { echo "${address[$1]}"; }

# api NODE METHOD PATH [BODY]: the answer's JSON; fails on a status above 399.
api() {
    local body=()
    [ $# -lt 4 ] || body=(-H 'Content-Type: application/json' --data "$4")
    curl -fsS --max-time 5 --noproxy '*' -X "$2" "${body[@]}" \
        -H "Authorization: Bearer $(cat "$demo_dir/admin-token")" \
        "http://${address[$1]}:8000$3"
}

peer_list() {
    local name list=
    for name in "${nodes[@]}"; do
        list+=${list:+,}$name=${address[$name]}:7600
    done
    echo "$list"
}

node_start() {
    spawn "$1" "$1" "$bin/holdfast-node" --name "$1" \
        --data-dir "$demo_dir/data/$1" --insecure \
        --peer-address "${address[$1]}:7600" --initial-peers "$(peer_list)" \
        --peer-bind 0.0.0.0:7600 --grpc-bind 0.0.0.0:50055 \
        --http-bind 0.0.0.0:8000 \
        --admin-token "$(cat "$demo_dir/admin-token")"
}

node_is_ready() {
    curl -fsS -o /dev/null --max-time 1 --noproxy '*' \
        "http://${address[$1]}:8000/readyz" 2>/dev/null
}

cluster_wait_ready() {
    local name
    for name in "$@"; do
        for _ in $(seq 300); do
            node_is_ready "$name" && continue 2
            is_running "$name" || {
                tail -n 5 "$demo_dir/log/$name" >&2
                die "$name has ended"
            }
            sleep 0.1
        done
        die "$name is not ready after 30 s"
    done
}

cluster_start() {
    local name
    head -c 32 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=\n' \
        >"$demo_dir/admin-token"
    for name in "${nodes[@]}"; do node_start "$name"; done
    cluster_wait_ready "${nodes[@]}"
    for _ in $(seq 100); do
        cluster_leader >/dev/null && return 0
        sleep 0.1
    done
    die "the nodes elect no leader"
}

# Who leads, as far as any living node knows.
cluster_leader() {
    local name leader
    for name in "${nodes[@]}"; do
        is_running "$name" || continue
        leader=$(api "$name" GET /api/v1/cluster 2>/dev/null | jq -r '.leader // empty') || continue
        [ -n "$leader" ] && is_running "$leader" && echo "$leader" && return 0
    done
    return 1
}

cluster_other() {
    local name
    for name in "${nodes[@]}"; do
        [ "$name" = "$1" ] || { is_running "$name" && echo "$name" && return 0; }
    done
    return 1
}

cluster_line() {
    local name line=
    for name in "${nodes[@]}"; do
        line+="$name $(is_running "$name" && echo up || echo down)  "
    done
    echo "${line}leader: $(cluster_leader || echo none)"
}

# What those that are left can do.
cluster_outlook() {
    local name left=()
    for name in "${nodes[@]}"; do
        is_running "$name" && left+=("$name")
    done
    case ${#left[@]} in
    0) echo "no node is left" ;;
    1) echo "${left[0]} alone is no majority: it answers reads, and reports wait" ;;
    *) echo "${left[*]} go on" ;;
    esac
}

operator_kill() {
    local name=$1
    [ "$name" != leader ] || name=$(cluster_leader) || die "there is no leader"
    [[ " ${nodes[*]} " == *" $name "* ]] || die "$name is no node"
    is_running "$name" || die "$name is not running"
    end KILL "$name"
    say "$name is killed; $(cluster_outlook)"
}

operator_start() {
    [[ " ${nodes[*]} " == *" $1 "* ]] || die "$1 is no node"
    is_running "$1" && die "$1 is running"
    cluster_other "$1" >/dev/null || {
        node_start "$1"
        say "$1 is started; alone it is no majority, start another"
        return 0
    }
    node_start "$1"
    cluster_wait_ready "$1"
    cluster_line
}
