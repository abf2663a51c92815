"""Messages of rtnetlink: values to bytes and back. Pure."""
