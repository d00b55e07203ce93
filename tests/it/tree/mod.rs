//! The tree itself: house rules, and the fuzzers' seeds replayed.

mod corpus;
mod tidy;
