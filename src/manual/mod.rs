//! The manual, a page a module.
//!
//! The pages are Markdown files beside this one, so that they can be read in the repository as well. They link to each
//! other by reference (`[limits]`): in the repository the definitions at the foot of a page count, here those in front of it.
//! `tests/it/tree/tidy/manual.rs` holds their tables and links.

#![allow(clippy::doc_markdown, reason = "the pages name products, which are no code")]

macro_rules! pages {
    ($($name:ident $file:literal)*) => {
        $(
            /// [operations]: crate::manual::operations
            /// [migration]: crate::manual::migration
            /// [flash]: crate::manual::flash
            /// [differences]: crate::manual::differences
            /// [limits]: crate::manual::limits
            /// [faults]: crate::manual::faults
            /// [security]: crate::manual::security
            /// [performance]: crate::manual::performance
            /// [development]: crate::manual::development
            /// [changelog]: crate::manual::changelog
            ///
            #[doc = include_str!($file)]
            pub mod $name {}
        )*
    };
}

pages! {
    operations "operations.md"
    migration "migration.md"
    flash "flash.md"
    differences "differences.md"
    limits "limits.md"
    faults "faults.md"
    security "security.md"
    performance "performance.md"
    development "development.md"
    changelog "changelog.md"
}
