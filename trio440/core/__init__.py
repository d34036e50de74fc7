"""Channels with select, epoch timers and the ports: the layer that everything stands on."""
