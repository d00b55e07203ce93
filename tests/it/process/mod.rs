//! The server as a process: its command line, signals, sockets, connections and what operators see of it.

mod connections;
mod copy;
mod engines;
mod flash;
mod lifecycle;
mod operations;
mod privileges;
mod top;
mod unix;
