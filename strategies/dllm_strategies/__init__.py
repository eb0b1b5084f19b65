"""The reference strategies of `dllm_decode`, every part a plugin through the same hooks as a third party's."""
