//! Opens and locks the memory file (-e) for this process alone. Runs once, before the process goes into the background; what
//! is in the file is the store's business.

use crate::config::StartupError;
use crate::logging;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;

/// Opens or creates `path`, and locks it until this process and those forked from it have ended. Writes nothing.
///
/// # Errors
/// The file cannot be opened (memcached's line), or another process has locked it (a line of our own). The exit status is 71.
pub(super) fn lock(path: &str) -> Result<File, StartupError> {
    // Opening a pipe would block without O_NONBLOCK. The mode is memcached's, but for the right to execute.
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path);
    let file = opened.map_err(|error| {
        StartupError::denied(format!("failed to open file for mmap: {} (-e {path})", logging::reason(&error)))
    })?;
    // The lock belongs to the open file: it survives a fork, and ends with the last descriptor.
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StartupError::denied(format!(
            "failed to lock the memory file {path}: another server uses it"
        ))),
        Err(TryLockError::Error(error)) => Err(StartupError::denied(format!(
            "failed to lock the memory file {path}: {}",
            logging::reason(&error)
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::unistd::Pid;
    use std::fs;

    #[test]
    fn one_has_it_until_it_lets_go() {
        let path = std::env::temp_dir().join(format!("memcrsd-{}-memory-file", Pid::this()));
        let name = path.to_str().unwrap();
        fs::write(&path, "not empty").unwrap();
        let held = lock(name).unwrap();
        let refusal = lock(name).unwrap_err();
        assert_eq!(refusal.lines, [format!("failed to lock the memory file {name}: another server uses it")]);
        assert_eq!(refusal.status, 71);
        drop(held);
        lock(name).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"not empty", "it is left as it is");
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn what_cannot_be_opened_is_named() {
        let refusal = lock("/").unwrap_err();
        assert_eq!(refusal.lines, ["failed to open file for mmap: Is a directory (-e /)"]);
        let refusal = lock("/no/such/place").unwrap_err();
        assert_eq!(
            refusal.lines,
            ["failed to open file for mmap: No such file or directory (-e /no/such/place)"]
        );
        assert_eq!(lock("").unwrap_err().status, 71);
    }
}
