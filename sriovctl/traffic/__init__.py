"""Traffic between two pods: how it is measured, what the tools print, and ways side by side."""
