//! Writes the files of the startup: the pid file (-P) and the port file (`MEMCACHED_PORT_FILENAME`). Called once, on the
//! main thread.
//!
//! Both are written under a temporary name and renamed, so a reader sees all or nothing.

use crate::logging;
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// How clients talk to a bound port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// The memcached protocols over TCP.
    Tcp,
    /// The memcached protocols over UDP.
    Udp,
    /// HTTP over TCP, for the metrics page.
    Metrics,
}

/// A port that the server has bound, for the port file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoundPort {
    /// How clients talk to the port.
    pub transport: Transport,
    /// The port's address as the kernel reports it (getsockname), with the number it chose for port 0.
    pub address: SocketAddr,
}

/// Writes the pid file. An error is given to `complain` and otherwise ignored.
pub(super) fn write_pid(path: &Path, complain: impl Fn(&str)) {
    if let Some(pid) = running(path) {
        complain(&format!("WARNING: The pid file contained the following (running) pid: {pid}"));
    }
    let written = beside(path, ".tmp");
    if let Err(error) = fs::write(&written, format!("{}\n", Pid::this())) {
        let (path, reason) = (written.display(), logging::reason(&error));
        complain(&format!("Could not open the pid file {path} for writing: {reason}"));
        return;
    }
    if let Err(error) = fs::rename(&written, path) {
        let (from, to, reason) = (written.display(), path.display(), logging::reason(&error));
        complain(&format!("Could not rename the pid file from {from} to {to}: {reason}"));
    }
}

/// The process that the pid file at `path` names; `None` if no such process runs.
fn running(path: &Path) -> Option<Pid> {
    let pid = fs::read_to_string(path).ok()?.trim().parse().ok().filter(|&pid| pid > 0).map(Pid::from_raw)?;
    // EPERM: the process runs as another user.
    matches!(kill(pid, None), Ok(()) | Err(Errno::EPERM)).then_some(pid)
}

/// Writes a line for each bound port in the form that memcached's test suite and init scripts read: `TCP INET: 11211`. These
/// look for `TCP` and `UDP` and skip other lines.
pub(super) fn write_ports(path: &Path, ports: &[BoundPort]) -> io::Result<()> {
    let mut text = String::new();
    for port in ports {
        let transport = match port.transport {
            Transport::Tcp => "TCP",
            Transport::Udp => "UDP",
            Transport::Metrics => "METRICS",
        };
        let family = if port.address.is_ipv4() { "INET" } else { "INET6" };
        let _ = writeln!(text, "{transport} {family}: {}", port.address.port());
    }
    let written = beside(path, ".lck");
    fs::write(&written, text)?;
    fs::rename(&written, path)
}

/// `path` with `suffix` appended.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    fn scratch(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("memcrsd-{}-{name}", Pid::this()));
        fs::create_dir_all(&directory).unwrap();
        directory
    }

    #[test]
    fn the_pid_file_holds_the_pid_and_warns_of_a_running_one() {
        let directory = scratch("pid");
        let path = directory.join("memcached.pid");
        let said = RefCell::new(Vec::new());
        let complain = |line: &str| said.borrow_mut().push(line.to_owned());
        write_pid(&path, complain);
        let pid = Pid::this();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{pid}\n"));
        assert!(said.borrow().is_empty());
        write_pid(&path, complain);
        let warning = format!("WARNING: The pid file contained the following (running) pid: {pid}");
        assert_eq!(*said.borrow(), [warning]);
        said.borrow_mut().clear();
        for stale in ["0\n", "-1\n", "2147483647\n", "garbage"] {
            fs::write(&path, stale).unwrap();
            write_pid(&path, complain);
            assert!(said.borrow().is_empty(), "{stale:?}: {said:?}");
        }
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "nothing is left beside it");
        write_pid(&directory.join("no/such/place"), complain);
        assert!(said.borrow()[0].starts_with("Could not open the pid file"));
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn the_port_file_names_every_port() {
        let directory = scratch("ports");
        let path = directory.join("ports");
        let port = |transport, address: &str| BoundPort { transport, address: address.parse().unwrap() };
        let ports = [
            port(Transport::Tcp, "[::1]:7"),
            port(Transport::Tcp, "127.0.0.1:11211"),
            port(Transport::Udp, "127.0.0.1:11212"),
            port(Transport::Metrics, "127.0.0.1:9150"),
        ];
        write_ports(&path, &ports).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, "TCP INET6: 7\nTCP INET: 11211\nUDP INET: 11212\nMETRICS INET: 9150\n");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "nothing is left beside it");
        fs::remove_dir_all(directory).unwrap();
    }
}
