//! Floor 2: files → metadata and tensor table. Everything is checked against the length of the file before it is believed.
