//! The smallest useful provider.
