# shellcheck shell=bash
# What --once checks: reports go on after a kill, every node's buckets equal
# the interfaces' counters to the byte, and all replicas have one digest.
# shellcheck disable=SC2154 # demo_dir and the others' are the caller's

failures=()
resume_limit_ms=2000
rest_timeout_s=60 # WireGuard's last handshakes and keepalives take a while

now_ms() { date +%s%3N; }

# All bytes that NODE has counted.
total_on() {
    api "$1" GET "/api/v1/overview?location=$location&by=none" |
        jq '[.series[] | .upload + .download] | add // 0'
}

verdict_kill() {
    local leader=$1 survivor=$2 before now start
    before=$(total_on "$survivor")
    start=$(now_ms)
    end KILL "$leader"
    before=$(total_on "$survivor") # what came until now does not count
    while :; do
        now=$(total_on "$survivor" 2>/dev/null || echo 0)
        [ "$now" -gt "$before" ] && break
        [ $(($(now_ms) - start)) -lt 15000 ] || break
        sleep 0.05
    done
    local took=$(($(now_ms) - start))
    if [ "$now" -gt "$before" ] && [ "$took" -le "$resume_limit_ms" ]; then
        say "  new reports on $survivor after $took ms; $(cluster_line)"
    else
        say "  no new reports on $survivor for $took ms"
        failures+=("reports went on after $took ms only")
    fi
}

# "key upload download" a line: what the gateways' interfaces counted for each
# device since their agents began, over both gateways.
interface_bytes() {
    local gateway
    for gateway in "${gateways[@]}"; do
        in_space "$gateway" wg show "${interface[$gateway]}" transfer |
            awk '{ print $1, $3, $2 }'
        baseline "$gateway" | awk '{ print $1, -$2, -$3 }'
    done | awk '{ up[$1] += $2; down[$1] += $3 }
        END { for (key in up) printf "%s %.0f %.0f\n", key, up[key], down[key] }' | sort
}

# The same, from NODE's buckets.
bucket_bytes() {
    api "$1" GET "/api/v1/overview?location=$location&by=device&from=$demo_start_s" |
        jq -r '.series[] | [.key, ([.points[] | .upload? // 0] | add // 0),
                            ([.points[] | .download? // 0] | add // 0)] | join(" ")' | sort
}

# Waits until nothing moves on the interfaces and every node says the same.
wait_for_rest() {
    local deadline=$((SECONDS + rest_timeout_s)) before='' now name equal
    while [ $SECONDS -lt $deadline ]; do
        now=$(interface_bytes)
        if [ "$now" = "$before" ]; then
            equal=1
            for name in "${nodes[@]}"; do
                [ "$(bucket_bytes "$name")" = "$now" ] || equal=
            done
            [ -n "$equal" ] && return 0
        fi
        before=$now
        sleep 2
    done
    return 1
}

field() { awk -v key="$2" -v n="$3" '$1 == key { print $n; found = 1 } END { if (!found) print "-" }' <<<"$1"; }

verdict_totals() {
    local seen name client key way n verdict line
    local -A counted
    wait_for_rest || true
    seen=$(interface_bytes)
    for name in "${nodes[@]}"; do counted[$name]=$(bucket_bytes "$name"); done
    printf '\n  %-8s %-9s %14s' device direction interfaces
    printf ' %14s' "${nodes[@]}"
    printf '\n'
    for client in "${clients[@]}"; do
        key=$(public_key "$client")
        for way in upload download; do
            n=$([ $way = upload ] && echo 2 || echo 3)
            verdict=OK
            line=$(field "$seen" "$key" "$n")
            printf '  %-8s %-9s %14s' "$client" "$way" "$line"
            [[ $line =~ ^[1-9] ]] || verdict=FAILED
            for name in "${nodes[@]}"; do
                printf ' %14s' "$(field "${counted[$name]}" "$key" "$n")"
                [ "$(field "${counted[$name]}" "$key" "$n")" = "$line" ] || verdict=FAILED
            done
            printf '  %s\n' "$verdict"
            [ $verdict = OK ] || failures+=("$client $way")
        done
    done
}

verdict_digests() {
    local answer index name digest first=
    answer=$(api node1 POST /api/v1/digest) || { failures+=("no digest"); return 0; }
    index=$(jq -r .index <<<"$answer")
    printf '\n  digests at log index %s:' "$index"
    for name in "${nodes[@]}"; do
        digest=$(api "$name" GET "/api/v1/digest?index=$index" | jq -r .digest) || digest=none
        printf ' %s' "$digest"
        first=${first:-$digest}
        [ "$digest" = "$first" ] && [ "$digest" != none ] || failures+=("digest of $name")
    done
    printf '\n'
}

verdict_say() {
    if [ ${#failures[@]} -eq 0 ]; then
        say "  OK: every byte was counted once, on every node"
        return 0
    fi
    say "  FAILED: $(printf '%s; ' "${failures[@]}")"
    exit 1
}
