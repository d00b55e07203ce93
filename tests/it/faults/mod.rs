//! Hostile clients, failing system calls, failing operations and stuck rings: the server keeps its promises to everyone else.

mod abuse;
mod completions;
mod flash;
mod hang;
mod held;
mod injection;
mod injector;
pub(crate) mod kernel;
mod memory;
mod stops;
mod tier;
mod uploads;
mod watchdog;
