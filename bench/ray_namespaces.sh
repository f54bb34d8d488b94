#!/usr/bin/env bash
# Nodes as on machines of their own: `ray start` in network namespaces on one bridge, jobs sent from outside. Run as root:
#   bench/ray_namespaces.sh RECIPE OUT NODES [HEAD|NODE: what is killed after the first checkpoint]
# RECIPE is run with --nodes NODES; everything that it started is ended at the end.
set -euo pipefail
recipe=$1 out=$2 nodes=$3 victim=${4:-}
bin=$(dirname "$(command -v ray)")
export PATH="$bin:$PATH" RAY_USAGE_STATS_ENABLED=0 RAY_AUTH_MODE=disabled

finish() { # also what an earlier run left that was killed before it could
  { ip netns list | grep -o '^ll[0-9]*' || true; } | while read -r name; do
    ip netns pids "$name" | xargs -r kill -9 2>/dev/null || true
    ip link del "llv${name#ll}" 2>/dev/null || true
    ip netns del "$name" || true
  done
  ip link del llbridge 2>/dev/null || true
}
finish
trap finish EXIT

bridge() {
  ip link add llbridge type bridge
  ip addr add 10.77.0.1/24 dev llbridge
  ip link set llbridge up
}
bridge
start() { # NUMBER ARGUMENTS: a node in its namespace
  ip netns add "ll$1"
  ip link add "llv$1" type veth peer name eth0 netns "ll$1"
  ip link set "llv$1" master llbridge up
  ip -n "ll$1" link set lo up
  ip -n "ll$1" addr add "10.77.0.1$1/24" dev eth0
  ip -n "ll$1" link set eth0 up
  ip netns exec "ll$1" ray start --node-ip-address "10.77.0.1$1" --num-cpus 1 --num-gpus 0 \
    --object-store-memory 150000000 "${@:2}" >/dev/null
}
head() { start 1 --head --port 6379 --dashboard-host 10.77.0.11; }
head
for number in $(seq 2 "$nodes"); do start "$number" --address 10.77.0.11:6379; done
run() { loglore run "$recipe" --out "$out" --executor ray --address http://10.77.0.11:8265 --nodes "$nodes"; }
if [ -z "$victim" ]; then run; exit; fi

run & running=$!
until grep -qs '"event": "checkpoint"' "$out"/*/events.jsonl; do kill -0 "$running" && sleep 0.2; done
if [ "$victim" = NODE ]; then
  ip netns pids "ll$nodes" | xargs kill -9 || true
  wait "$running"
else
  ip netns pids ll1 | xargs kill -9 || true
  wait "$running" && exit 1 || echo "exit status $? after the head was killed"
  finish
  bridge
  head
  for number in $(seq 2 "$nodes"); do start "$number" --address 10.77.0.11:6379; done
  run
fi
