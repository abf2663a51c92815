"""What sysfs shows of PFs, VFs and other PCI devices, and the events that say it has changed. Reads only."""
