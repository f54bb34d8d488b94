#!/usr/bin/env bash
# A Ray cluster for the length of one Slurm job, and a recipe on it:
#   sbatch --nodes 2 --gpus-per-node 8 deploy/slurm.sh recipes/llama-3.1-8b-cpt.yaml /shared/runs/cpt
# Sent again after a lost node or the end of its time, it goes on from the last checkpoint. The folder of runs must be on
# storage that all nodes see. Not run on a real Slurm cluster by us: a test reads it and Ray's options in it, no more.
#SBATCH --job-name=loglore
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --time=24:00:00
#SBATCH --requeue
set -euo pipefail

recipe=${1:?usage: sbatch deploy/slurm.sh RECIPE RUN_FOLDER}
run=${2:?usage: sbatch deploy/slurm.sh RECIPE RUN_FOLDER}
nodes=${SLURM_JOB_NUM_NODES:?started by sbatch}
gpus=${SLURM_GPUS_ON_NODE:-0}
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export RAY_USAGE_STATS_ENABLED=0
# Nodes of a large cluster take their time to start.
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300

shape=(--nodes "$nodes")
if [ "$gpus" -gt 0 ]; then shape+=(--gpus-per-node "$gpus"); fi

# Ray starts on every node, the command after `--` on the first one alone; Ray ends with it.
srun --kill-on-bad-exit=1 ray symmetric-run --address "$head:6379" --min-nodes "$nodes" \
  --num-cpus "${SLURM_CPUS_ON_NODE:-1}" --num-gpus "$gpus" -- \
  loglore run "$recipe" --out "$run" --executor ray --address http://127.0.0.1:8265 "${shape[@]}"
