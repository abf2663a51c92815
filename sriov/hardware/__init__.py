"""PFs, VFs and other PCI devices as sysfs shows them, and the events that report changes. Reads only."""
