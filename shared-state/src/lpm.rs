//! To be filled by its own change: see `DESIGN.md`.
