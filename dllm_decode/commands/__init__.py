"""The commands of `dllm-decode`, one file each; `dllm_decode.cli` puts them together."""
