"""The LLM providers, behind one small protocol."""
