"""Evolution API's REST, as far as HybridFlow uses it."""
