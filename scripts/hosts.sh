#!/usr/bin/env bash
# "Hosts" on one machine: network namespaces with an address each, joined by a bridge, in which mpirun starts ranks as on
# machines of their own. For trying out what several machines do: speed over a slow link, a host that goes away. Needs
# root, iproute2 and Open MPI.
#
#   scripts/hosts.sh up N [RATE]     makes N hosts; RATE, as tc writes it (1gbit), limits what each sends
#   scripts/hosts.sh mpirun ARG...   mpirun on host 0, one rank a host
#   scripts/hosts.sh cut I           cuts the cable of host I
#   scripts/hosts.sh join I          plugs it in again
#   scripts/hosts.sh bytes           bytes that each host has sent so far
#   scripts/hosts.sh down            ends what runs in them and removes them
#   scripts/hosts.sh agent ADDRESS COMMAND...   what mpirun calls in place of ssh
set -euo pipefail

readonly PREFIX=${DLCM_HOSTS:-dlcm} # of the names of namespaces and links, at most eight letters
readonly NETWORK=10.83.0

usage() {
  sed -n '/^# "Hosts"/,/^set/ { /^set/d; s/^# \{0,1\}//; p }' "$0" >&2
  exit 2
}

hosts() { ip netns list | awk -v prefix="$PREFIX" '$1 ~ "^" prefix "[0-9]+$" { print substr($1, length(prefix) + 1) }' | sort -n; }

# Runs a command as if on host $1: in its network, under its name.
on_host() {
  local host=$1
  shift
  exec ip netns exec "$PREFIX$host" unshare --uts sh -c 'hostname "$0" && exec "$@"' "host$host" "$@"
}

up() {
  local count=$1 rate=${2:-}
  ip link add "${PREFIX}br" type bridge
  ip link set "${PREFIX}br" up
  for ((host = 0; host < count; host++)); do
    ip netns add "$PREFIX$host"
    ip link add "${PREFIX}v$host" type veth peer name eth0 netns "$PREFIX$host"
    ip link set "${PREFIX}v$host" master "${PREFIX}br" up
    ip -n "$PREFIX$host" address add "$NETWORK.$((host + 1))/24" dev eth0
    ip -n "$PREFIX$host" link set eth0 up
    ip -n "$PREFIX$host" link set lo up
    # Seconds, not a quarter of an hour, until TCP gives up a host that does not answer.
    ip netns exec "$PREFIX$host" sh -c 'echo 4 >/proc/sys/net/ipv4/tcp_retries2'
    if [[ -n $rate ]]; then
      ip netns exec "$PREFIX$host" tc qdisc add dev eth0 root tbf rate "$rate" burst 256kb latency 50ms
    fi
  done
}

down() {
  local host
  for host in $(hosts); do
    ip netns pids "$PREFIX$host" | xargs -r kill -KILL 2>/dev/null || true
    # A namespace lives on while a connection of its dead processes does; its cable need not.
    ip link delete "${PREFIX}v$host" 2>/dev/null || true
    ip netns delete "$PREFIX$host"
  done
  ip link delete "${PREFIX}br" 2>/dev/null || true
}

# Returns when the host is reached again: the kernel takes up to some seconds to notice a carrier. Before, what still runs
# there must have found out that it is alone: a daemon of mpirun that ends later takes the next one's files with it.
join() {
  for ((attempt = 0; attempt < 300; attempt++)); do
    if [[ -z $(ip netns pids "$PREFIX$1") ]]; then break; fi
    sleep 0.1
  done
  ip link set "${PREFIX}v$1" up
  for ((attempt = 0; attempt < 100; attempt++)); do
    if reaches 0 "$1" && reaches "$1" 0; then return; fi
    sleep 0.1
  done
  echo "host$1 is still cut off 10 s after its cable was plugged in" >&2
  return 1
}

# Whether host $1 gets an answer of host $2, which has no service on port 9 and says so.
reaches() {
  [[ $(timeout 1 ip netns exec "$PREFIX$1" bash -c "</dev/tcp/$NETWORK.$(($2 + 1))/9" 2>&1) == *refused* ]]
}

run_mpirun() {
  local host list=()
  for host in $(hosts); do list+=("$NETWORK.$((host + 1)):1"); done
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
  # Hosts share no memory.
  on_host 0 mpirun --host "$(IFS=,; echo "${list[*]}")" --map-by node --bind-to none \
    --mca plm rsh --mca plm_rsh_agent "$(realpath "$0") agent" --mca plm_rsh_no_tree_spawn 1 \
    --mca btl self,tcp --mca btl_tcp_if_include "$NETWORK.0/24" --mca oob_tcp_if_include "$NETWORK.0/24" \
    --mca oob_tcp_keepalive_time 4 --mca oob_tcp_keepalive_intvl 2 --mca oob_tcp_keepalive_probes 3 "$@"
}

case ${1:-} in
  up) [[ $# -ge 2 ]] || usage; up "$2" "${3:-}" ;;
  mpirun) shift; run_mpirun "$@" ;;
  cut) ip link set "${PREFIX}v$2" down ;;
  join) join "$2" ;;
  bytes) for host in $(hosts); do
    echo "host$host $(ip netns exec "$PREFIX$host" cat /sys/class/net/eth0/statistics/tx_bytes)"
  done ;;
  down) down ;;
  agent)
    shift
    address=$1
    shift
    on_host $((${address##*.} - 1)) sh -c "$*"
    ;;
  *) usage ;;
esac
