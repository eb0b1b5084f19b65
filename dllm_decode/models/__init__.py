"""Model families: how a checkpoint folder becomes a denoiser. The families are plugins; see `load.load_denoiser`."""
