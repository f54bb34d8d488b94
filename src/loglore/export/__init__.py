"""Model version → files other programs run: merged safetensors, GGUF, an Ollama Modelfile.

`merge` folds a LoRA adapter into its base, `gguf` runs llama.cpp's converter, `parity` proves that llama.cpp computes
what the Hugging Face model computes, `ollama` writes the Modelfile, `job` does all of it in one run folder.
"""
