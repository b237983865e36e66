//! Drivers of the Rust world, each over the engine.
