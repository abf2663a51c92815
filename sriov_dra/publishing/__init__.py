"""ResourceSlices of this node: what they say of its devices, and which of them have to be written."""
