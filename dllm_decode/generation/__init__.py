"""From prompts to answers: tables of rows, batches, a pool that keeps them full."""
