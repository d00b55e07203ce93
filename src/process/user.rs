//! -u: who the process becomes when it was started as root.

use super::denied;
use crate::config::{EX_NOUSER, EX_USAGE, Refusal};
use nix::errno::Errno;
use nix::unistd::{self, Gid, Uid, User};

/// A user to become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    name: String,
    uid: Uid,
    gid: Gid,
}

/// The user that `name` (-u) stands for; `None` where the process is not root's and -u means nothing.
pub(super) fn to_become(name: Option<&str>) -> Result<Option<Identity>, Refusal> {
    if !unistd::getuid().is_root() && !unistd::geteuid().is_root() {
        return Ok(None);
    }
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return Err(Refusal::new(EX_USAGE, "must add '-u root' to start as root"));
    };
    find(name).map(Some)
}

fn find(name: &str) -> Result<Identity, Refusal> {
    match User::from_name(name) {
        Ok(Some(user)) => Ok(Identity { name: user.name, uid: user.uid, gid: user.gid }),
        Ok(None) | Err(_) => Err(Refusal::new(EX_NOUSER, format!("can't find the user {name} to switch to"))),
    }
}

impl Identity {
    /// Becomes the user for good, in all threads, with its main group and no other.
    ///
    /// With `core_dumps` the process stays one the kernel dumps; a change of user ends that otherwise.
    pub(super) fn assume(self, core_dumps: bool, complain: impl Fn(&str)) -> Result<(), Refusal> {
        match unistd::setgroups(&[]) {
            Ok(()) => {}
            // Fewer rights than root's already: nothing to drop.
            Err(Errno::EPERM) => complain("failed to drop supplementary groups"),
            Err(_) => return Err(denied("failed to drop supplementary groups")),
        }
        unistd::setgid(self.gid)
            .and_then(|()| unistd::setuid(self.uid))
            .map_err(|_| denied(format!("failed to assume identity of user {}", self.name)))?;
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
    fn users_are_found_by_name() {
        let root = find("root").unwrap();
        assert_eq!((root.uid, root.gid), (Uid::from_raw(0), Gid::from_raw(0)));
        let refusal = find("no such user").unwrap_err();
        assert_eq!(refusal.lines, ["can't find the user no such user to switch to"]);
        assert_eq!(refusal.status, 67);
    }

    #[test]
    fn root_says_so() {
        let refused = to_become(None);
        if unistd::geteuid().is_root() {
            let refusal = refused.unwrap_err();
            assert_eq!(refusal.lines, ["must add '-u root' to start as root"]);
            assert_eq!(refusal.status, 64);
            assert_eq!(to_become(Some("")).unwrap_err().status, 64);
        } else {
            assert_eq!(refused, Ok(None));
            assert_eq!(to_become(Some("no such user")), Ok(None), "-u means nothing to others");
        }
    }
}
