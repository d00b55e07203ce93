//! The user that a process started as root becomes (-u). A change of user holds for all threads and cannot be undone.

use crate::config::{EX_NOUSER, EX_USAGE, StartupError};
use nix::errno::Errno;
use nix::unistd::{self, Gid, Uid, User};
use std::fs;

/// The user that the process is to run as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    name: String,
    uid: Uid,
    gid: Gid,
}

/// Looks up the user `name` (-u). `None` if the process is not root; -u has no effect then.
pub(super) fn to_become(name: Option<&str>) -> Result<Option<Identity>, StartupError> {
    if !unistd::getuid().is_root() && !unistd::geteuid().is_root() {
        return Ok(None);
    }
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return Err(StartupError::new(EX_USAGE, "must add '-u root' to start as root"));
    };
    find(name).map(Some)
}

fn find(name: &str) -> Result<Identity, StartupError> {
    // For anything but files in nsswitch.conf a static glibc loads the system's shared libraries, and crashes if they are
    // of another version. So a static build reads the file itself.
    let found = if cfg!(target_feature = "crt-static") {
        fs::read_to_string("/etc/passwd").ok().and_then(|file| listed(&file, name))
    } else {
        let user = User::from_name(name).ok().flatten();
        user.map(|user| Identity { name: user.name, uid: user.uid, gid: user.gid })
    };
    found.ok_or_else(|| StartupError::new(EX_NOUSER, format!("can't find the user {name} to switch to")))
}

/// Finds the user `name` in the text of a passwd file. Source: passwd(5).
fn listed(file: &str, name: &str) -> Option<Identity> {
    let fields_of = |line: &str| {
        let mut fields = line.split(':');
        let (listed, _password) = (fields.next()?, fields.next()?);
        let (uid, gid) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        (listed == name).then(|| Identity {
            name: name.to_owned(),
            uid: Uid::from_raw(uid),
            gid: Gid::from_raw(gid),
        })
    };
    file.lines().find_map(fields_of)
}

impl Identity {
    /// True if the user is root, so that the process loses no rights.
    pub(super) fn is_root(&self) -> bool {
        self.uid.is_root()
    }

    /// Makes all threads of the process run as this user for good, with its primary group and no other group.
    ///
    /// A change of user makes a process undumpable; with `core_dumps` it is made dumpable again.
    pub(super) fn assume(self, core_dumps: bool, complain: impl Fn(&str)) -> Result<(), StartupError> {
        match unistd::setgroups(&[]) {
            Ok(()) => {}
            // Already less privileged than root: nothing to drop.
            Err(Errno::EPERM) => complain("failed to drop supplementary groups"),
            Err(_) => return Err(StartupError::denied("failed to drop supplementary groups")),
        }
        unistd::setgid(self.gid)
            .and_then(|()| unistd::setuid(self.uid))
            .map_err(|_| StartupError::denied(format!("failed to assume identity of user {}", self.name)))?;
        if core_dumps && nix::sys::prctl::set_dumpable(true).is_err() {
            complain("warning: core dumps stay off after the change of user");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_looked_up_by_name() {
        let root = find("root").unwrap();
        assert_eq!((root.uid, root.gid), (Uid::from_raw(0), Gid::from_raw(0)));
        let refusal = find("no such user").unwrap_err();
        assert_eq!(refusal.lines, ["can't find the user no such user to switch to"]);
        assert_eq!(refusal.status, 67);
    }

    #[test]
    fn a_static_build_reads_the_file_itself() {
        let file = "# comment\nroot:x:0:0:root:/root:/bin/sh\nbroken:x:y:0\nmemcache:x:11211:11212::/:\n";
        let memcache = listed(file, "memcache").unwrap();
        assert_eq!((memcache.uid, memcache.gid), (Uid::from_raw(11211), Gid::from_raw(11212)));
        for name in ["mem", "memcache:x", "broken", "# comment", "x"] {
            assert_eq!(listed(file, name), None, "{name}");
        }
        let here = fs::read_to_string("/etc/passwd").unwrap();
        assert_eq!(listed(&here, "nobody").ok_or(()), find("nobody").map_err(|_| ()));
    }

    #[test]
    fn root_without_a_user_is_refused() {
        let refused = to_become(None);
        if unistd::geteuid().is_root() {
            let refusal = refused.unwrap_err();
            assert_eq!(refusal.lines, ["must add '-u root' to start as root"]);
            assert_eq!(refusal.status, 64);
            assert_eq!(to_become(Some("")).unwrap_err().status, 64);
        } else {
            assert_eq!(refused, Ok(None));
            assert_eq!(to_become(Some("no such user")), Ok(None), "-u has no effect without root");
        }
    }
}
