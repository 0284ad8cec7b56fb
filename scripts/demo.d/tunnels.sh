# shellcheck shell=bash
# WireGuard between clients and gateways, the agents that watch it, and the
# traffic. Every client is a peer of both gateways with one key: one device,
# counted on two gateways, which is what defguard gets wrong.
# shellcheck disable=SC2154 # demo_dir, bin and world.sh's are the caller's

declare -A interface=(
    [gateway1]=hfgw1 [gateway2]=hfgw2
    [client1]=hfc1 [client2]=hfc2 [client3]=hfc3 [client4]=hfc4
)
declare -A tunnel=([gateway1]=10.66.0.1 [gateway2]=10.66.0.254)
declare -A owner=([client1]=alice [client2]=alice [client3]=bob [client4]=carol)

tunnels_count() { echo $((${#clients[@]} * ${#gateways[@]})); }
in_space() { ip netns exec "$(space "$1")" "${@:2}"; }
public_key() { cat "$demo_dir/key/$1.pub"; }

make_key() {
    (umask 077 && wg genkey >"$demo_dir/key/$1")
    wg pubkey <"$demo_dir/key/$1" >"$demo_dir/key/$1.pub"
}

# A wireguard-go interface in NAME's namespace.
interface_make() {
    local name=$1 ifname=${interface[$1]}
    make_key "$name"
    WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD=1 \
        spawn "wireguard-$name" "$name" wireguard-go -f "$ifname"
    for _ in $(seq 100); do
        [ -S "/var/run/wireguard/$ifname.sock" ] &&
            in_space "$name" ip link show "$ifname" >/dev/null 2>&1 && break
        sleep 0.05
    done
    in_space "$name" wg set "$ifname" private-key "$demo_dir/key/$name" \
        listen-port 51820 || die "wireguard-go does not run: $(tail -n 1 "$demo_dir/log/wireguard-$name")"
    ip -n "$(space "$name")" link set "$ifname" mtu 1420 up
}

# Through the API, as an operator would: what the cluster knows.
location_make() {
    api node1 POST /api/v1/network "$(jq -n --arg endpoint "${address[gateway1]}" \
        '{name: "demo", address: "10.66.0.1/24", endpoint: $endpoint, port: 51820,
          allowed_ips: "10.66.0.0/24", keepalive_interval: 0,
          peer_disconnect_threshold: 180, accept_unknown_peers: false}')" \
        >"$demo_dir/location" || die "the location could not be created"
    location=$(jq -r .id "$demo_dir/location")
    # Linearizable: node3 may not have applied what node1 has just answered.
    api node3 GET "/api/v1/network/$location/token?consistency=linearizable" | jq -r .token \
        >"$demo_dir/gateway-token"
}

device_make() {
    local answer
    # Any node takes a change, not only the leader.
    answer=$(api node2 POST "/api/v1/device/${owner[$1]}" \
        "$(jq -n --arg name "$1" --arg key "$(public_key "$1")" \
            '{name: $name, wireguard_pubkey: $key}')") ||
        die "the device $1 could not be created"
    tunnel[$1]=$(jq -r '.configs[0].address[0] | sub("/.*"; "")' <<<"$answer")
}

# A client's tunnels to both gateways. No persistent keepalive: at the end the
# counters must come to rest.
connect() {
    local client=$1 gateway c=${interface[$1]}
    ip -n "$(space "$client")" address add "${tunnel[$client]}/24" dev "$c"
    for gateway in "${gateways[@]}"; do
        in_space "$gateway" wg set "${interface[$gateway]}" \
            peer "$(public_key "$client")" allowed-ips "${tunnel[$client]}/32"
        in_space "$client" wg set "$c" peer "$(public_key "$gateway")" \
            allowed-ips "${tunnel[$gateway]}/32" \
            endpoint "${address[$gateway]}:51820"
        # A first packet: the handshake, and for the early ones a past that the
        # agents have not seen.
        in_space "$client" bash -c "echo hello >/dev/udp/${tunnel[$gateway]}/9"
    done
}

await_handshakes() {
    for _ in $(seq 200); do
        in_space "$1" wg show "${interface[$1]}" latest-handshakes |
            awk '$2 == 0 { missing = 1 } END { exit missing }' && return 0
        sleep 0.1
    done
    die "$1 does not reach the gateways through its tunnels"
}

client_join() {
    interface_make "$1"
    device_make "$1"
    connect "$1"
    await_handshakes "$1"
}

tunnels_make() {
    local name
    location_make
    for name in "${gateways[@]}"; do
        interface_make "$name"
        ip -n "$(space "$name")" address add "${tunnel[$name]}/24" dev "${interface[$name]}"
    done
    for name in "${early[@]}"; do client_join "$name"; done
}

# The one that joins late counts from zero, and so from its first byte.
tunnels_add_late() {
    local name
    for name in "${clients[@]}"; do
        [[ " ${early[*]} " == *" $name "* ]] || client_join "$name"
    done
}

# agents_start PERIOD
agents_start() {
    local name urls=
    for name in "${nodes[@]}"; do
        urls+=${urls:+,}http://${address[$name]}:50055
    done
    for name in "${gateways[@]}"; do
        DEFGUARD_TOKEN=$(cat "$demo_dir/gateway-token") \
            spawn "agent${name#gateway}" "$name" "$bin/holdfast-gateway" \
            --observe --userspace --ifname "${interface[$name]}" \
            --grpc-url "$urls" --stats-period "$1" --print-baseline
    done
    for name in "${gateways[@]}"; do
        for _ in $(seq 100); do
            [ "$(baseline "$name" | wc -l)" = "${#early[@]}" ] && continue 2
            sleep 0.1
        done
        die "the agent of $name does not observe: $(tail -n 1 "$demo_dir/log/agent${name#gateway}")"
    done
}

# What the agent of GATEWAY began with: "key upload download" a line.
baseline() {
    grep -h '^{"baseline"' "$demo_dir/log/agent${1#gateway}" 2>/dev/null |
        jq -r '.baseline | select(.from_zero | not) | "\(.public_key) \(.upload) \(.download)"'
}

traffic_start() {
    local client gateway number
    for client in "${clients[@]}"; do
        number=${client#client}
        for gateway in "${gateways[@]}"; do
            spawn "iperf-$gateway-$number" "$gateway" iperf3 --server --port $((5200 + number))
        done
        spawn "traffic-$number" "$client" scripts/demo.d/traffic \
            $((5200 + number)) "${tunnel[gateway1]}" "${tunnel[gateway2]}"
    done
}

traffic_stop() {
    local client gateway number
    for client in "${clients[@]}"; do
        number=${client#client}
        end TERM "traffic-$number"
        for gateway in "${gateways[@]}"; do end TERM "iperf-$gateway-$number"; done
    done
}
