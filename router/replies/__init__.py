"""The content of replies: the prompt, the provider's answer, the parts to send."""
