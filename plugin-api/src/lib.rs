//! The stable contract between pearlbed and mining providers.
