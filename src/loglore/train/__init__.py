"""Samples and a base model to a model version: continual pretraining and supervised fine-tuning.

`hyperparameters` is the contract with the user's JSON, `plan` turns samples into optimizer steps, `loss` and `trainer`
are the loop (a thin `transformers.Trainer`), `checkpoints` makes it crash-safe, `job` is the job `train`, `estimate`
says what it will cost before it starts, `prepare` builds the pretraining corpus.
"""
