"""Where entries live: RAM now, disks behind it."""
