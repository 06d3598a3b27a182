//! Tests of the journal's formats.
