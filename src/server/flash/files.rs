//! -o `ext_path`: opens the files of the flash tier for this process alone.
//!
//! It runs once, on the main thread before the server starts, so its errors are startup errors.

use crate::config::{Config, EX_BAD_VALUE, FlashPath, StartupError};
use crate::logging;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Seek as _, SeekFrom};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::time::Duration;

/// How often a lock is tried, [`PAUSE`] apart. Several tries are needed, since the kernel keeps the locks of a killed process
/// until its last reads are done.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(10);

/// Opens or creates the files of the flash tier, and locks them until this process and those forked from it have ended. A
/// file gets the length of its option and keeps its content; a block device has to be long enough.
///
/// # Errors
/// A file cannot be opened, or another server has locked it. The lines are memcached's, and the exit status is 1.
pub fn open_flash(config: &Config) -> Result<Vec<File>, StartupError> {
    let paths = config.flash.iter().flat_map(|tier| &tier.paths);
    paths.map(|path| open_one(path).map_err(|error| refusal(&error))).collect()
}

fn refusal(error: &io::Error) -> StartupError {
    let lines = vec![
        "Failed to initialize external storage: failed to open file".to_owned(),
        format!("extstore open: {}", logging::reason(error)),
    ];
    StartupError { lines, status: EX_BAD_VALUE }
}

fn open_one(FlashPath { path, bytes }: &FlashPath) -> io::Result<File> {
    // Opening a pipe would block without O_NONBLOCK.
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() {
        lock(&file)?;
        file.set_len(*bytes)?;
    } else if kind.is_block_device() {
        lock(&file)?;
        if (&file).seek(SeekFrom::End(0))? < *bytes {
            return Err(Errno::ENOSPC.into());
        }
    } else {
        return Err(Errno::EINVAL.into());
    }
    Ok(file)
}

/// Takes two locks on a file: the lock that memcached takes, so that neither server takes the other's file, and the lock that -e
/// takes (`process::memory_file`), so that no file is used for both. The locks belong to the open file: they survive a fork, and
/// end with the last descriptor.
fn lock(file: &File) -> io::Result<()> {
    for _ in 1..TRIES {
        match lock_once(file) {
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => std::thread::sleep(PAUSE),
            result => return result,
        }
    }
    Err(Errno::EAGAIN.into())
}

/// Tries once to take both locks.
///
/// # Errors
/// `EAGAIN`: another process has locked the file.
fn lock_once(file: &File) -> io::Result<()> {
    let whole = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    match fcntl(file, FcntlArg::F_OFD_SETLK(&whole)) {
        Err(Errno::EACCES) => return Err(Errno::EAGAIN.into()),
        result => result?,
    };
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => Errno::EAGAIN.into(),
        TryLockError::Error(error) => error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::Mode;
    use nix::unistd::{Pid, mkfifo};
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::{Path, PathBuf};

    const BYTES: u64 = 4 << 20;

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("memcrsd-{}-flash-{name}", Pid::this()))
    }

    fn opened(path: &Path, bytes: u64) -> Result<File, StartupError> {
        let path = FlashPath { path: path.to_str().unwrap().to_owned(), bytes };
        open_one(&path).map_err(|error| refusal(&error))
    }

    fn reason(opened: Result<File, StartupError>) -> String {
        let StartupError { lines, status } = opened.unwrap_err();
        assert_eq!((lines.len(), status), (2, 1));
        assert_eq!(lines[0], "Failed to initialize external storage: failed to open file");
        lines[1].strip_prefix("extstore open: ").unwrap().to_owned()
    }

    #[test]
    fn one_has_it_until_it_lets_go() {
        let path = path("held");
        let held = opened(&path, BYTES).unwrap();
        assert_eq!(held.metadata().unwrap().len(), BYTES);
        assert_eq!(held.metadata().unwrap().permissions().mode() & 0o777 & !0o022, 0o644);
        assert_eq!(reason(opened(&path, BYTES / 2)), "Resource temporarily unavailable");
        assert_eq!(held.metadata().unwrap().len(), BYTES, "it is left as it is");
        drop(held);
        fs::write(&path, "not empty").unwrap();
        opened(&path, BYTES).unwrap();
        assert!(fs::read(&path).unwrap().starts_with(b"not empty\0"));
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        assert_eq!(reason(opened(Path::new("/"), BYTES)), "Is a directory");
        assert_eq!(reason(opened(Path::new("/no/such/place"), BYTES)), "No such file or directory");
        assert_eq!(reason(opened(Path::new("/dev/null"), BYTES)), "Invalid argument");
        let pipe = path("pipe");
        mkfifo(&pipe, Mode::from_bits_truncate(0o600)).unwrap();
        assert_eq!(reason(opened(&pipe, BYTES)), "Invalid argument");
        fs::remove_file(&pipe).unwrap();
        let large = path("large");
        assert_eq!(reason(opened(&large, 1 << 62)), "File too large");
        fs::remove_file(&large).unwrap();
    }
}
