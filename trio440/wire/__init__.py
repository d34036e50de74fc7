"""What goes over the wire, as text and bytes: codecs and framing, without any I/O."""
