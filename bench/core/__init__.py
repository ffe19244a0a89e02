"""What every room speaks: records, protocols, clock, units, errors and the spec a user writes."""
