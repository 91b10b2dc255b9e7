//! The provider for CPUs.
