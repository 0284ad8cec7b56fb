# shellcheck shell=bash
# The demo's namespaces and processes. A bridge in a namespace of its own joins
# them; one veth gives the host an address on it, so that a browser reaches the
# nodes. Nothing else of the host is touched. Everything goes with
# world_destroy, which needs no memory but the names.
# shellcheck disable=SC2154 # demo_dir is the caller's

net=198.18.213 # a range that is reserved for tests (RFC 2544)
host_link=hfdemo-host
nodes=(node1 node2 node3)
gateways=(gateway1 gateway2)
clients=(client1 client2 client3 client4)
# shellcheck disable=SC2034 # demo.d/tunnels.sh uses it
early=(client1 client2 client3) # client4 joins while the agents watch

declare -A address=(
    [host]=$net.1
    [node1]=$net.11 [node2]=$net.12 [node3]=$net.13
    [gateway1]=$net.21 [gateway2]=$net.22
    [client1]=$net.31 [client2]=$net.32 [client3]=$net.33 [client4]=$net.34
)

space() { echo "hfdemo-$1"; }
world_members() { printf '%s\n' "${nodes[@]}" "${gateways[@]}" "${clients[@]}"; }
world_spaces() { world_members | tr '\n' ' '; }
world_is_there() { ip netns list | grep -q "^$(space net)\b"; }

# When a process began, which tells it from a later one with its number.
began() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20; }

# Another run of this script that still lives.
demo_is_other() {
    local pid start
    [ -r "$demo_dir/pid/demo" ] && read -r pid start <"$demo_dir/pid/demo" || return 1
    [ "$pid" != $$ ] && [ "$(began "$pid")" = "$start" ]
}

demo_end_other() {
    demo_is_other || return 0
    local pid
    read -r pid _ <"$demo_dir/pid/demo"
    kill -TERM "$pid" 2>/dev/null || return 0
    for _ in $(seq 100); do
        [ -d "/proc/$pid" ] || return 0
        sleep 0.1
    done
}

# Makes a namespace NAME with an address on the bridge.
member_make() {
    local name=$1 ns link
    ns=$(space "$name")
    link=hf-$name
    ip netns add "$ns"
    ip -n "$(space net)" link add "$link" type veth peer name eth0 netns "$ns"
    ip -n "$(space net)" link set "$link" master bridge up
    ip -n "$ns" link set lo up
    ip netns exec "$ns" sysctl -qw net.ipv6.conf.all.disable_ipv6=1 \
        net.ipv6.conf.default.disable_ipv6=1 2>/dev/null || true
    ip -n "$ns" address add "${address[$name]}/24" dev eth0
    ip -n "$ns" link set eth0 up
}

world_make() {
    ip -4 route show to match "${address[host]}" | grep -q "^$net" &&
        die "$net.0/24 is in use on this host"
    install -d -m 700 "$demo_dir"
    install -d "$demo_dir/pid" "$demo_dir/log" "$demo_dir/data" "$demo_dir/key"
    echo "$$ $(began $$)" >"$demo_dir/pid/demo"
    [ -c /dev/net/tun ] || {
        modprobe tun 2>/dev/null || true
        [ -c /dev/net/tun ] || { mkdir -p /dev/net && mknod /dev/net/tun c 10 200; } ||
            die "there is no /dev/net/tun for wireguard-go"
    }
    ip netns add "$(space net)"
    ip -n "$(space net)" link add bridge type bridge
    ip -n "$(space net)" link set bridge up
    ip -n "$(space net)" link add hf-host type veth peer name "$host_link" netns $$
    ip -n "$(space net)" link set hf-host master bridge up
    ip address add "${address[host]}/24" dev "$host_link"
    ip link set "$host_link" up
    local name
    while read -r name; do member_make "$name"; done < <(world_members)
}

# spawn LABEL MEMBER COMMAND…: runs it in the member's namespace and host name,
# as a process group of its own, logging to log/LABEL.
spawn() {
    local label=$1 member=$2
    shift 2
    # shellcheck disable=SC2016 # expanded inside
    setsid ip netns exec "$(space "$member")" unshare --uts sh -c \
        'echo "$0" >/proc/sys/kernel/hostname; exec "$@"' "$member" "$@" \
        >>"$demo_dir/log/$label" 2>&1 </dev/null &
    echo $! >"$demo_dir/pid/$label"
    disown
}

pid_of() { cat "$demo_dir/pid/$1" 2>/dev/null; }
is_running() { [ -d "/proc/$(pid_of "$1" || echo none)" ]; }

# end SIGNAL LABEL: the process and its children; waits until it is gone.
end() {
    local pid
    pid=$(pid_of "$2") || return 0
    kill "-$1" -- "-$pid" 2>/dev/null || true
    for _ in $(seq 100); do
        [ -d "/proc/$pid" ] || break
        sleep 0.05
    done
    rm -f "$demo_dir/pid/$2"
}

world_destroy() {
    local name ns pid
    for name in net $(world_spaces); do
        ns=$(space "$name")
        # Whatever lives in a namespace of ours is ours.
        for pid in $(ip netns pids "$ns" 2>/dev/null); do
            kill -KILL "$pid" 2>/dev/null || true
        done
        ip netns delete "$ns" 2>/dev/null || true
    done
    ip link delete "$host_link" 2>/dev/null || true
    rm -f /var/run/wireguard/hfgw[12].sock /var/run/wireguard/hfc[1-4].sock
    rmdir /var/run/wireguard 2>/dev/null || true # if wireguard-go made it for us
    rm -rf "$demo_dir"
}

# What a failed run leaves for reading.
keep_logs() {
    [ -d "$demo_dir/log" ] || return 0
    local kept=$demo_dir-failed
    rm -rf "$kept"
    cp -r "$demo_dir/log" "$kept"
    printf 'demo: the logs are kept in %s\n' "$kept" >&2
}
