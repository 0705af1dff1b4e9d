"""The content of replies: the prompt, a provider's reply to it, the parts it is sent in."""
