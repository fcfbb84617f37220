"""From a model's config.json and a device to bytes: weights, KV cache, what is left. Pure arithmetic."""
