//! Process setup: limits, daemonizing, privileges, password and certificate files, pid and port files.
//!
//! All of it runs on the main thread; all but [`Prepared::after_start`], [`Prepared::reload`] and [`Prepared::end`] before
//! the rings start. [`Prepared`] owns what one step leaves for a later one.
//!
//! ```text
//! prepare: certificates ─ look -u up ─ limits ─ (become -u, if it will own files) ─ memory file: open, lock
//!    the server looks into the memory file, and opens the files of the flash tier
//! Prepared::detach: fork ─ mlockall ─ password file
//!    the server restores its items, and binds its ports
//! Prepared::after_bind: become -u
//!    the server starts its rings
//! Prepared::after_start: pid file ─ port file ─ -o drop_privileges
//!    … it serves …
//! Prepared::end: remove the pid file
//! ```
//!
//! The user changes after the ports are bound, so that low ports can be used, but before files are created for that user
//! (`-s`, `-e`, `-o ext_path`): in systemd's usual sandbox root may not write to the user's directories, and the user's clients
//! cannot connect to a socket owned by root.
//!
//! [`Prepared::detach`] forks, so it must run before there are threads. Errors that occur before it are still reported
//! to whoever started the server.

mod files;
mod limits;
mod memory_file;
mod privileges;
mod user;

pub use files::{BoundPort, Transport};

use crate::auth::{UserFile, Users};
use crate::config::{Config, EX_BAD_VALUE, EX_USAGE, StartupError};
use crate::logging;
use crate::tls::Certificates;
use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::resource::RLIM_INFINITY;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

/// What the setup has prepared so far; owned by `main`, which calls the next steps in order.
#[derive(Debug)]
pub struct Prepared {
    /// Number of connections for which there are descriptors; at most -c.
    pub connections_max: u32,
    /// The users of the password file (-Y or -S), who may log in; no users before [`Prepared::detach`].
    pub users: Users,
    user_file: Option<UserFile>,
    /// The TLS certificates (-Z); `None` without TLS.
    pub certificates: Option<Arc<Certificates>>,
    /// The memory file (-e), open and locked; `None` without -e.
    pub memory_file: Option<File>,
    /// The user to become; `None` if the process keeps its user, or has already become the new one.
    user: Option<user::Identity>,
    /// The limit on locked memory, bytes; `RLIM_INFINITY` means no limit.
    lockable_bytes: u64,
}

/// Does the steps of the setup that come before [`Prepared::detach`], as `config` says.
///
/// # Errors
/// Root without -u, an unknown user, a limit that cannot be raised, or a memory file that cannot be opened or that another
/// process has locked. The message and the exit status are memcached's.
pub fn prepare(config: &Config) -> Result<Prepared, StartupError> {
    for warning in &config.warnings {
        complain(warning);
    }
    // First, because often only root may read the key.
    let certificates = certificates(config)?.map(Arc::new);
    let identity = user::to_become(config.user.as_deref())?;
    if config.core_dumps {
        limits::raise_core()?;
    }
    let connections_max = limits::raise_descriptors(config)?;
    let lockable_bytes = limits::raise_lockable();
    let mut prepared = Prepared {
        connections_max,
        users: Users::default(),
        user_file: None,
        certificates,
        memory_file: None,
        user: identity,
        lockable_bytes,
    };
    if config.socketpath.is_some() || config.memory_file.is_some() || config.flash.is_some() {
        prepared.become_user(config)?;
    }
    prepared.memory_file = config.memory_file.as_deref().map(memory_file::lock).transpose()?;
    Ok(prepared)
}

impl Prepared {
    /// Goes into the background, locks memory, and reads the password file: the steps before ports are bound. With -d this
    /// returns in the child; the parent has exited with status 0.
    ///
    /// # Errors
    /// The process cannot go into the background, or the password file cannot be read. The message and the exit status are
    /// memcached's.
    pub fn detach(&mut self, config: &Config) -> Result<(), StartupError> {
        if config.daemonize {
            nix::unistd::daemon(config.core_dumps, config.verbosity > 0).map_err(|errno| {
                StartupError::new(
                    EX_BAD_VALUE,
                    format!("failed to daemon() in order to daemonize: {}", logging::reason(&errno.into())),
                )
            })?;
        }
        if config.lock_memory {
            let keeps_rights = self.user.as_ref().is_none_or(user::Identity::is_root);
            let is_unlimited =
                self.lockable_bytes == RLIM_INFINITY || (keeps_rights && limits::locks_beyond_limits());
            lock_memory(is_unlimited);
        }
        (self.user_file, self.users) = users(config)?;
        Ok(())
    }

    /// Makes the process run as the user of -u; called once the ports are bound.
    ///
    /// # Errors
    /// The user cannot be changed. The exit status is 71.
    pub fn after_bind(&mut self, config: &Config) -> Result<(), StartupError> {
        self.become_user(config)
    }

    /// Writes the pid file and the port file, then forbids the process all system calls that it does not need any more (`-o
    /// drop_privileges`). Called once connections are accepted. A file that cannot be written is only reported.
    ///
    /// # Errors
    /// The kernel does not filter system calls. The exit status is 71.
    pub fn after_start(&self, config: &Config, ports: &[BoundPort]) -> Result<(), StartupError> {
        if let Some(path) = &config.pid_file {
            files::write_pid(Path::new(path), complain);
        }
        if let Some(path) = &config.port_file
            && let Err(error) = files::write_ports(Path::new(path), ports)
        {
            complain(&format!("Failed to write the port file \"{path}\": {}", logging::reason(&error)));
        }
        if config.drop_privileges {
            privileges::drop_privileges(config)
                .map_err(|error| StartupError::denied(format!("cannot drop privileges: {error}")))?;
        }
        Ok(())
    }

    /// Reads the password file and the certificates again (HUP). Returns the users of the file, or `None` if there is no file or
    /// it cannot be used; the old users then stay. New certificates are for later connections; if they cannot be used, the old
    /// ones stay.
    pub fn reload(&self) -> Option<Users> {
        if let Some(Err(error)) = self.certificates.as_ref().map(|certificates| certificates.refresh()) {
            complain(&error.to_string());
        }
        let users = self.user_file.as_ref()?.read();
        users.inspect_err(|error| complain(&error.to_string())).ok()
    }

    /// Removes the pid file of a daemon. To be called at a normal exit.
    pub fn end(&self, config: &Config) {
        if let Some(path) = config.pid_file.as_ref().filter(|_| config.daemonize)
            && let Err(error) = std::fs::remove_file(path)
        {
            complain(&format!("Could not remove the pid file {path}: {}", logging::reason(&error)));
        }
    }

    /// Makes the process run as the user of -u; does nothing if that has been done, or the process keeps its user.
    fn become_user(&mut self, config: &Config) -> Result<(), StartupError> {
        match self.user.take() {
            Some(identity) => identity.assume(config.core_dumps, complain),
            None => Ok(()),
        }
    }
}

/// Writes a line to standard error at any verbosity. If standard error is closed, the line is lost.
pub fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Loads the certificates of -Z; `None` without -Z.
fn certificates(config: &Config) -> Result<Option<Certificates>, StartupError> {
    Certificates::load(config).map_err(|error| StartupError::new(EX_USAGE, error.to_string()))
}

/// Reads the password file of -Y or -S, and returns it with its users; without these options, no file and no users.
fn users(config: &Config) -> Result<(Option<UserFile>, Users), StartupError> {
    let refusal = |line: String, last: Option<&str>| {
        let lines = [Some(line), last.map(str::to_owned)].into_iter().flatten().collect();
        StartupError { lines, status: EX_BAD_VALUE }
    };
    const SASL: Option<&str> = Some("Error initializing sasl.");
    let (file, last) = match (&config.auth_file, &config.sasl_pwdb) {
        (Some(path), _) => (UserFile::ascii(path), None),
        (None, Some(path)) if config.sasl => (UserFile::sasl(path), SASL),
        (None, None) if config.sasl => {
            let line = "Set MEMCACHED_SASL_PWDB to a password file with lines user:password.";
            return Err(refusal(line.to_owned(), SASL));
        }
        _ => return Ok((None, Users::default())),
    };
    match file.read() {
        Ok(users) => Ok((Some(file), users)),
        Err(error) => Err(refusal(error.to_string(), last)),
    }
}

/// Locks all memory, each page on first use. If that fails, memory stays unlocked, with a warning.
///
/// Locking immediately would populate the whole reserved address space, which is far larger than -m and counts against the limit
/// even so. If a limit applies, or will apply once root is dropped (`is_unlimited` is false), nothing is locked, because the
/// kernel would accept the lock now and refuse the memory later.
fn lock_memory(is_unlimited: bool) {
    let on_fault = MlockAllFlags::from_bits_retain(libc::MCL_ONFAULT);
    let locked = if is_unlimited {
        mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE | on_fault)
    } else {
        Err(nix::errno::Errno::ENOMEM)
    };
    if let Err(errno) = locked {
        complain(&format!("warning: -k invalid, mlockall() failed: {}", logging::reason(&errno.into())));
    }
}

#[cfg(test)]
mod tests;
