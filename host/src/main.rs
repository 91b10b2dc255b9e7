//! The `pearlbed` command.
fn main() {}
