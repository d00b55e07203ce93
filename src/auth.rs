//! Users and passwords of clients: the files that hold them, and the check of a login. Knows no protocol.
//!
//! There are two files, each with memcached's grammar:
//!
//! - `-Y`: lines `user:password`, each under [`ASCII_LINE_BYTES_MAX`] bytes. Lines after the first [`ASCII_USERS_MAX`] are
//!   ignored. A line without a colon makes the file invalid, and so does an empty file.
//! - `MEMCACHED_SASL_PWDB`: lines `user:password` or `user:password:anything`. A line without a colon is ignored.
//!
//! A check compares the login with every entry, in a time that depends only on lengths. So the time of a reply reveals neither
//! the user names nor how much of a password was right.
//!
//! A [`Users`] value is never changed: `process` reads the file at start and on SIGHUP, and the main thread replaces the value in
//! `engine::Shared`, which all rings read under its lock.
//!
//! Source: memcached 1.6.45, `authfile.c` and `sasl_defs.c`.

use crate::limits::{ASCII_LINE_BYTES_MAX, ASCII_USERS_MAX};
use crate::logging;
use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;
use subtle::{Choice, ConstantTimeEq as _};

/// The reason why a password file cannot be used. Its text is memcached's message.
#[derive(Debug)]
pub enum UserFileError {
    /// The file of this path cannot be read.
    Unreadable(PathBuf, io::Error),
    /// A line of the file of this path is not `user:password` or is too long, or the file has no lines.
    Malformed(PathBuf),
}

impl fmt::Display for UserFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(path, error) => {
                let (path, reason) = (path.display(), logging::reason(error));
                write!(f, "Could not open authfile [{path}] for reading, error {reason}")
            }
            Self::Malformed(path) => {
                write!(f, "Authfile [{}] has a malformed entry. Should be 'user:password'", path.display())
            }
        }
    }
}

impl std::error::Error for UserFileError {}

/// The path and the grammar of a password file. The file is read at start and again on SIGHUP.
#[derive(Clone, Debug)]
pub struct UserFile {
    path: PathBuf,
    parse: fn(&[u8]) -> Option<Users>,
}

impl UserFile {
    /// Describes the file of `-Y`, in which every line must be `user:password`.
    pub fn ascii(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), parse: Users::ascii }
    }

    /// Describes the file of `MEMCACHED_SASL_PWDB`, in which lines without a colon are ignored.
    pub fn sasl(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), parse: |text| Some(Users::sasl(text)) }
    }

    /// Reads and parses the file as it is at this moment.
    ///
    /// # Errors
    /// The file cannot be read, or it is a `-Y` file that [`Users::ascii`] rejects.
    pub fn read(&self) -> Result<Users, UserFileError> {
        let text =
            fs::read(&self.path).map_err(|error| UserFileError::Unreadable(self.path.clone(), error))?;
        (self.parse)(&text).ok_or_else(|| UserFileError::Malformed(self.path.clone()))
    }
}

/// Users and their passwords. The default value has no users, so it allows no login.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Users {
    entries: Vec<Entry>,
}

/// Shows only the number of users, so that passwords stay out of logs.
impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users").field("count", &self.entries.len()).finish_non_exhaustive()
    }
}

#[derive(Clone, PartialEq, Eq)]
struct Entry {
    user: Vec<u8>,
    /// The text after the first colon of the line, up to a `\r` or NUL: the password. In a SASL file, a colon and more text may
    /// follow the password.
    rest: Vec<u8>,
    /// True for a SASL file. Then the part of `rest` before any of its colons is accepted as the password too.
    tokens: bool,
}

impl Users {
    /// Parses a `-Y` file. `None` if a line is not `user:password` or is too long, or if there is no line.
    pub fn ascii(text: &[u8]) -> Option<Self> {
        let entry = |line: &[u8]| (line.len() < ASCII_LINE_BYTES_MAX).then(|| Entry::parse(line, false))?;
        let entries: Vec<_> = lines(text).take(ASCII_USERS_MAX).map(entry).collect::<Option<_>>()?;
        (!entries.is_empty()).then_some(Self { entries })
    }

    /// Parses a SASL password file. Lines without a colon are ignored, and so are all lines of a user but the first.
    pub fn sasl(text: &[u8]) -> Self {
        let mut entries: Vec<Entry> = Vec::new();
        for entry in lines(text).filter_map(|line| Entry::parse(line, true)) {
            // A user's first line wins.
            if entries.iter().all(|known| known.user != entry.user) {
                entries.push(entry);
            }
        }
        Self { entries }
    }

    /// True if `user` may log in with `password`.
    pub fn allows(&self, user: &[u8], password: &[u8]) -> bool {
        self.entries
            .iter()
            .fold(Choice::from(0), |found, entry| {
                found | (entry.user.ct_eq(user) & entry.is_password(password))
            })
            .into()
    }
}

impl Entry {
    fn parse(line: &[u8], tokens: bool) -> Option<Self> {
        let colon = memchr::memchr(b':', line)?;
        let rest = &line[colon + 1..];
        let end = memchr::memchr2(b'\r', 0, rest).unwrap_or(rest.len());
        Some(Self { user: line[..colon].to_vec(), rest: rest[..end].to_vec(), tokens })
    }

    fn is_password(&self, password: &[u8]) -> Choice {
        let whole = self.rest.ct_eq(password);
        if !self.tokens || self.rest.get(password.len()) != Some(&b':') {
            return whole;
        }
        self.rest[..password.len()].ct_eq(password)
    }
}

/// Returns the lines of `text` without their line feeds. The last line may lack its line feed.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    text.split(|&byte| byte == b'\n').take(if text.is_empty() { 0 } else { usize::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_of_an_ascii_file() {
        let users = Users::ascii(b"foo:bar\nbaz:a:b\r\nlast:").unwrap();
        assert!(users.allows(b"foo", b"bar"));
        assert!(users.allows(b"baz", b"a:b"), "a password may contain colons");
        assert!(users.allows(b"last", b""));
        for (user, password) in [
            ("foo", "ba"),
            ("foo", "barr"),
            ("fo", "bar"),
            ("baz", "a"),
            ("", ""),
            ("foo", ""),
            ("baz", "bar"),
        ] {
            assert!(!users.allows(user.as_bytes(), password.as_bytes()), "{user}:{password}");
        }
    }

    #[test]
    fn invalid_ascii_files_are_rejected() {
        assert_eq!(Users::ascii(b"foo\n"), None);
        assert_eq!(Users::ascii(b"foo:bar\n\nbaz:x\n"), None);
        assert_eq!([Users::ascii(b""), Users::ascii(b"\n")], [None, None]);
        let line = |bytes: usize| [b"u:".as_slice(), &vec![b'p'; bytes - 2], b"\n"].concat();
        assert!(Users::ascii(&line(255)).is_some());
        assert_eq!(Users::ascii(&line(256)), None);
        let nine: Vec<u8> = (0..9).flat_map(|n| format!("u{n}:p\n").into_bytes()).collect();
        let users = Users::ascii(&[&nine, &b"spoiled\n"[..]].concat()).unwrap();
        assert!(users.allows(b"u7", b"p") && !users.allows(b"u8", b"p"));
    }

    #[test]
    fn users_of_a_sasl_file() {
        let users = Users::sasl(b"# nobody\nfoo:bar:plain\nfoo:second\r\nbaz:x\r\n");
        assert!(users.allows(b"foo", b"bar"));
        assert!(users.allows(b"foo", b"bar:plain"));
        assert!(users.allows(b"baz", b"x"));
        for (user, password) in
            [("foo", "second"), ("foo", "ba"), ("foo", ""), ("baz", "x\r"), ("# nobody", "")]
        {
            assert!(!users.allows(user.as_bytes(), password.as_bytes()), "{user}:{password}");
        }
    }

    #[test]
    fn file_errors_are_worded_as_by_memcached() {
        let path = std::env::temp_dir().join(format!("memcrsd-users-{}", std::process::id()));
        let name = path.display();
        fs::write(&path, "a:1:x\n").unwrap();
        assert!(UserFile::ascii(&path).read().unwrap().allows(b"a", b"1:x"));
        let users = UserFile::sasl(&path).read().unwrap();
        assert!(users.allows(b"a", b"1"));
        assert!(!format!("{users:?}").contains("1:x"), "passwords stay out of logs");
        fs::write(&path, "spoiled\n").unwrap();
        let error = UserFile::ascii(&path).read().unwrap_err().to_string();
        assert_eq!(error, format!("Authfile [{name}] has a malformed entry. Should be 'user:password'"));
        fs::remove_file(&path).unwrap();
        let error = UserFile::ascii(&path).read().unwrap_err().to_string();
        assert_eq!(
            error,
            format!("Could not open authfile [{name}] for reading, error No such file or directory")
        );
    }
}
