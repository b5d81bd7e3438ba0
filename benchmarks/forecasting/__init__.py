"""What ``make bench-forecast`` measures, one module a part."""
