//! Floor 2: arithmetic on slices, chosen once at run time for the instruction set.
