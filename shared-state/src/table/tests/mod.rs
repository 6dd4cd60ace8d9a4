//! The parts against models of `std`, alone and together, and what a death leaves of a row.

mod arrays;
mod dirty;
mod find_keys;
mod ids;
mod index;
