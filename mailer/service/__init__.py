"""The running thing: what connects the store to the relays, and an operator's wishes to the store."""
