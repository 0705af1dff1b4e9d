"""The way in: verify a webhook of Evolution API, parse it, record it, answer; repair gaps."""
