"""Stored answers of a model for some atoms, and comparing what fastdp gives with them."""
