"""What hybrids are trained and judged on."""
