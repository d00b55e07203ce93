//! Being a daemon, as far as no connection is involved: limits, the background, the user, the files a start leaves.
//!
//! ```text
//! prepare: certificates ─ who -u is ─ limits ─ (user, if files are made in its name) ─ fork ─ mlockall ─ users and passwords
//!    the server binds its ports
//! Prepared::after_bind: user
//!    the server starts its rings
//! Prepared::after_start: pid file ─ port file
//!    … serves …
//! Prepared::end: pid file
//! ```
//!
//! The user is changed after the ports are bound, so that low ones may be asked for; but before anything is made in the
//! file system in its name (`-s`, `-e`): under systemd's usual sandbox root has no right to write in the user's
//! directories, and a socket of root's would shut the user's clients out.
//!
//! [`prepare`] forks, so it runs before there is any thread.

mod files;
mod limits;
mod user;

pub use files::{BoundPort, Transport};

use crate::auth::{UserFile, Users};
use crate::config::{Config, EX_BAD_VALUE, EX_OSERR, EX_USAGE, Refusal};
use crate::log;
use crate::tls::Certificates;
use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::resource::RLIM_INFINITY;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

/// A process that is ready to bind its ports.
#[derive(Debug)]
pub struct Prepared {
    /// Connections there are descriptors for; at most -c.
    pub connections_max: u32,
    /// Who may log in, with -Y or -S.
    pub users: Users,
    user_file: Option<UserFile>,
    /// What connections are encrypted with (-Z).
    pub certificates: Option<Arc<Certificates>>,
    /// The user still to become.
    user: Option<user::Identity>,
}

/// Makes the process what `config` wants it to be, up to the binding of ports.
///
/// With -d this returns in the child; the parent has exited with status 0.
///
/// # Errors
/// memcached's line and exit status: root without -u, an unknown user, a limit that cannot be raised, a file of users
/// that cannot be read.
pub fn prepare(config: &Config) -> Result<Prepared, Refusal> {
    for warning in &config.warnings {
        complain(warning);
    }
    // Here, because keys are often root's alone.
    let certificates = certificates(config)?.map(Arc::new);
    let identity = user::to_become(config.user.as_deref())?;
    if config.core_dumps {
        limits::raise_core()?;
    }
    let connections_max = limits::raise_descriptors(config)?;
    let lockable_bytes = limits::raise_lockable();
    let mut prepared =
        Prepared { connections_max, users: Users::default(), user_file: None, certificates, user: identity };
    if config.socketpath.is_some() || config.memory_file.is_some() {
        prepared.become_user(config)?;
    }
    if config.daemonize {
        nix::unistd::daemon(config.core_dumps, config.verbosity > 0).map_err(|errno| {
            Refusal::new(
                EX_BAD_VALUE,
                format!("failed to daemon() in order to daemonize: {}", log::reason(&errno.into())),
            )
        })?;
    }
    if config.lock_memory {
        let keeps_rights = prepared.user.as_ref().is_none_or(user::Identity::is_root);
        let is_unlimited = lockable_bytes == RLIM_INFINITY || (keeps_rights && limits::locks_beyond_limits());
        lock_memory(is_unlimited);
    }
    let (user_file, users) = users(config)?;
    Ok(Prepared { users, user_file, ..prepared })
}

impl Prepared {
    /// The step that waits for the ports: leaves root behind.
    ///
    /// # Errors
    /// Exit status 71 when the user cannot be changed.
    pub fn after_bind(&mut self, config: &Config) -> Result<(), Refusal> {
        self.become_user(config)
    }

    /// The steps that wait until connections are accepted: writes the pid file and the port file. Files that cannot be
    /// written are complained about and stop nothing.
    pub fn after_start(&self, config: &Config, ports: &[BoundPort]) {
        if let Some(path) = &config.pid_file {
            files::write_pid(Path::new(path), complain);
        }
        if let Some(path) = &config.port_file
            && let Err(error) = files::write_ports(Path::new(path), ports)
        {
            complain(&format!("Failed to write the port file \"{path}\": {}", log::reason(&error)));
        }
    }

    /// Reads the file of users again (HUP); `None` where there is none, or it cannot be used and the old users stay. Reads
    /// the certificates again, too, for connections to come; where they cannot be used the old ones stay.
    pub fn reload(&self) -> Option<Users> {
        if let Some(Err(error)) = self.certificates.as_ref().map(|certificates| certificates.refresh()) {
            complain(&error.to_string());
        }
        let users = self.user_file.as_ref()?.read();
        users.inspect_err(|error| complain(&error.to_string())).ok()
    }

    /// What a normal end undoes: the pid file of a daemon goes.
    pub fn end(&self, config: &Config) {
        if let Some(path) = config.pid_file.as_ref().filter(|_| config.daemonize)
            && let Err(error) = std::fs::remove_file(path)
        {
            complain(&format!("Could not remove the pid file {path}: {}", log::reason(&error)));
        }
    }

    /// Leaves root behind, once.
    fn become_user(&mut self, config: &Config) -> Result<(), Refusal> {
        match self.user.take() {
            Some(identity) => identity.assume(config.core_dumps, complain),
            None => Ok(()),
        }
    }
}

/// Writes a line to standard error, whatever the verbosity; without a standard error it is lost.
pub fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// What connections are encrypted with, by -Z.
fn certificates(config: &Config) -> Result<Option<Certificates>, Refusal> {
    Certificates::load(config).map_err(|error| Refusal::new(EX_USAGE, error.to_string()))
}

/// The file of those who may log in, by -Y or -S, and what it holds.
fn users(config: &Config) -> Result<(Option<UserFile>, Users), Refusal> {
    let refusal = |line: String, last: Option<&str>| {
        let lines = [Some(line), last.map(str::to_owned)].into_iter().flatten().collect();
        Refusal { lines, status: EX_BAD_VALUE }
    };
    const SASL: Option<&str> = Some("Error initializing sasl.");
    let (file, last) = match (&config.auth_file, &config.sasl_pwdb) {
        (Some(path), _) => (UserFile::ascii(path), None),
        (None, Some(path)) if config.sasl => (UserFile::sasl(path), SASL),
        (None, None) if config.sasl => {
            let line = "MEMCACHED_SASL_PWDB names no file of users and passwords.";
            return Err(refusal(line.to_owned(), SASL));
        }
        _ => return Ok((None, Users::default())),
    };
    match file.read() {
        Ok(users) => Ok((Some(file), users)),
        Err(error) => Err(refusal(error.to_string(), last)),
    }
}

/// Locks all memory, from the moment it is first used; what cannot be locked stays unlocked, with a warning.
///
/// Memory that is only reserved is not to be locked: that would bring all of it in, which is far more than -m.
/// It still counts against a limit; so under one that will hold once root is left nothing is locked, because the kernel
/// would take the lock now and refuse the memory later.
fn lock_memory(is_unlimited: bool) {
    let on_fault = MlockAllFlags::from_bits_retain(libc::MCL_ONFAULT);
    let locked = if is_unlimited {
        mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE | on_fault)
    } else {
        Err(nix::errno::Errno::ENOMEM)
    };
    if let Err(errno) = locked {
        complain(&format!("warning: -k invalid, mlockall() failed: {}", log::reason(&errno.into())));
    }
}

/// The refusal of something the operating system denied.
fn denied(line: impl Into<String>) -> Refusal {
    Refusal::new(EX_OSERR, line)
}

#[cfg(test)]
mod tests;
