"""The KV cache as latents: bases from calibration statistics, and a cache that keeps latents only."""
