"""Phases as data through one engine on Lightning Fabric."""
