//! The handle by which other programs hold a traffic process.
