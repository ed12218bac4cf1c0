#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# How fast ranks add and gather when a network of a given rate lies between them: each rank in a network namespace of its
# own, joined by a bridge whose links are shaped both ways. As root; makes nothing that outlives it.
#
#   bench/collectives_net.sh BUILD_DIR RANKS GBITS [MILLIONS of elements, 16]
#   bench/collectives_net.sh BUILD_DIR RANKS GBITS -- COMMAND...     any program under mpirun over that network
set -eu

build=$(realpath "$1") ranks=$2 gbits=$3
shift 3
if [ "${1:-}" = -- ]; then
    shift
else
    set -- "$build/bench/bench_collectives" "${1:-16}" 3
fi
net=paco$$
agent=$(mktemp /tmp/paco-net.XXXXXX)

clean() {
    for i in $(seq 0 $((ranks - 1))); do ip netns del "$net-$i" 2>/dev/null || true; done
    ip link del "$net" 2>/dev/null || true
    rm -f "$agent"
}
trap clean EXIT INT TERM

ip link add "$net" type bridge
ip addr add 10.213.0.254/24 dev "$net"
ip link set "$net" up
hosts=
for i in $(seq 0 $((ranks - 1))); do
    ip netns add "$net-$i"
    ip link add "$net-v$i" type veth peer name eth0 netns "$net-$i"
    ip link set "$net-v$i" master "$net" up
    ip -n "$net-$i" addr add "10.213.0.$((i + 1))/24" dev eth0
    ip -n "$net-$i" link set eth0 up
    ip -n "$net-$i" link set lo up
    # Out of the rank and into it; a queue of 10 ms, as a switch might have.
    tc qdisc add dev "$net-v$i" root tbf rate "${gbits}gbit" burst 1mb latency 10ms
    tc -n "$net-$i" qdisc add dev eth0 root tbf rate "${gbits}gbit" burst 1mb latency 10ms
    hosts="$hosts${hosts:+,}10.213.0.$((i + 1))"
done

# What mpirun calls in place of ssh: the namespace of an address, with a host name of its own.
cat > "$agent" <<END
#!/bin/sh
i=\$((\${1##*.} - 1))
shift
exec ip netns exec "$net-\$i" unshare --uts sh -c "hostname rank\$i; \$*"
END
chmod +x "$agent"

export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
echo "$ranks ranks, $gbits Gbit/s each way"
mpirun --mca plm_rsh_agent "$agent" --mca oob_tcp_if_include 10.213.0.0/24 --mca btl self,tcp \
    --mca btl_tcp_if_include 10.213.0.0/24 --bind-to none --host "$hosts" -n "$ranks" -x PACO_MODULES="$build" "$@"
