//! The host behind the `pearlbed` command.
