"""Samples and a base model to a model version: continual pretraining, supervised fine-tuning, preference training.

`hyperparameters` is the contract with the user's JSON; `job` is the job `train`: `work` (what a stage has to do) from
`plan` (packed rows) or `pairs` (preference rows), `base` (the model made ready), `checks` and `forecast` before the
first step, the loop, `saving` behind a parity gate, `card` and lineage. The loop is a thin `transformers.Trainer`:
`trainer` with `loss` and `master`, `distributed` in several processes (`launch` starts them, `world` is what they agree
on, `sharding` is FSDP2, `deepspeed` a configuration), `preference` is TRL. `checkpoints` and `stopping` make it safe to
kill, `forgetting`, `throughput` and `tracking` tell what happened. `estimate` plans a recipe from declared shapes,
`memory` counts bytes. `prepare` builds the pretraining corpus.
"""
