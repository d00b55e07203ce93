//! One store for all rings: what was acknowledged is seen everywhere, and histories are linearizable.

mod linearize;
mod rings;
