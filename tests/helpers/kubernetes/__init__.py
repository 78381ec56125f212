"""Readers and rules of the Kubernetes manifests."""
